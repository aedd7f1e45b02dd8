"""Variance, covariance and invariance penalties of VICReg, in their cheap form.

Everything here takes embeddings as `(..., B, C)`: the batch is the last axis
but one, channels are the last, and any leading axes are *slots*. A slot is one
place of a set of local embeddings (the k-th chosen match of every image, say);
its statistics run over the batch alone. Global embeddings `(B, D)` have none.

The sums over the batch that the whole library needs are in this module only.
The batch is that of all devices: in each replica of a model `B` is its share,
and sums go over all shares (`keras_vicregl.distribution`). Of the products,
which are nearly all the work, each replica computes its share.
"""

from typing import Any

from keras import ops

from keras_vicregl.distribution.collectives import (
    replica_count,
    replica_gather,
    replica_mean,
    replica_sum,
)
from keras_vicregl.precision import matmul

EPSILON = 1e-4


def invariance_loss(x: Any, y: Any) -> Any:
    """Mean squared error between paired embeddings (`s(Z, Z')`, VICReg).

    Args:
        x: float tensor of any shape `(..., B, C)`.
        y: float tensor that broadcasts against `x`.

    Returns:
        A float32 scalar, not multiplied by any coefficient.

    Example:

    >>> import numpy as np
    >>> float(invariance_loss(np.zeros((4, 2)), np.full((4, 2), 3.0)))
    9.0
    """
    return replica_mean(mean_squared_error(x, y))


def variance_loss(x: Any, epsilon: float = EPSILON) -> Any:
    """Hinge on the standard deviation of every channel (`v(Z)`, VICReg).

    `mean over slots and channels of relu(1 - sqrt(var + epsilon))`, the
    unbiased variance being taken over the batch.

    Args:
        x: float tensor `(..., B, C)` of embeddings, B at least 2.
        epsilon: added to the variance before the root.

    Returns:
        A float32 scalar.

    Raises:
        ValueError: if the batch is known to hold fewer than two samples.

    Example:

    >>> import numpy as np
    >>> round(float(variance_loss(np.zeros((8, 3)))), 4)
    0.99
    """
    deviation = ops.sqrt(batch_variance(x)[1] + epsilon)
    return ops.mean(ops.relu(1.0 - deviation))


def covariance_loss(x: Any) -> Any:
    """Mean square of what channels share with each other (`c(Z)`, VICReg).

    `mean over slots of sum_{d != e} Cov_de^2 / C`, the unbiased covariance
    being taken over the batch. See `variance_covariance` for how.

    Args:
        x: float tensor `(..., B, C)` of embeddings, B at least 2.

    Returns:
        A float32 scalar.

    Raises:
        ValueError: if the batch is known to hold fewer than two samples.

    Example:

    >>> import numpy as np
    >>> float(covariance_loss(np.array([[-1.0, -1.0], [1.0, 1.0]])))
    4.0
    """
    return ops.mean(variance_covariance(x)[1])


def variance_covariance(
    x: Any, mask: Any = None, epsilon: float = EPSILON
) -> tuple[Any, Any]:
    """Variance and covariance penalties of every slot, in one go.

    With `X` the centred `(B, C)` samples of a slot,
    `sum_{d != e} Cov_de^2 = ||X X^T||_F^2 / (B - 1)^2 - sum_d var_d^2`, so a
    `B x B` product can stand for the `C x C` one: whichever is smaller is
    formed. The gradient is written out, because automatic differentiation of
    `||X X^T||^2` would multiply by both halves of a symmetric matrix.

    Of several replicas each forms its rows of the `B x B` product, with the
    samples of all, or its summand of the `C x C` one.

    Args:
        x: float tensor `(..., B, C)` of embeddings, B at least 2.
        mask: optional `(..., B)` tensor of 0 and 1, constant; samples with 0
            leave their slot's statistics.
        epsilon: added to the variance before the root.

    Returns:
        Two float32 tensors of the leading shape of `x`: per slot,
        `mean_d relu(1 - sqrt(var_d + epsilon))` and `sum_{d != e} Cov_de^2 /
        C`. Slots in which `mask` leaves fewer than two samples are 0 in both.

    Raises:
        ValueError: if the batch is known to hold fewer than two samples.
    """
    x = float32(x)
    of = Penalties(x, mask, epsilon)

    @ops.custom_gradient
    def penalties(x: Any) -> Any:
        both, kept = of.forward(x)

        def gradient(*args: Any, upstream: Any = None) -> Any:
            if upstream is None:
                (upstream,) = args
            # A replica's samples bear upon the result of every replica.
            return of.gradient(x, kept, replica_sum(upstream))

        return both, gradient

    both = penalties(x)
    return both[0], both[1]


class Penalties:
    """Both penalties of samples of one shape, and their gradient.

    The samples are not kept from one to the other, nor copies of them: who asks
    for the gradient has them, or can make them again.

    Args:
        x: samples `(..., B, C)`, of which the shape is looked at.
        mask: see `variance_covariance`.
        epsilon: added to the variance before the root.
    """

    def __init__(self, x: Any, mask: Any, epsilon: float) -> None:
        size, self._channels = batch_size(x), x.shape[-1]
        self._epsilon = epsilon
        # A batch size unknown while tracing is taken to be the smaller of the
        # two.
        self._by_samples = not isinstance(size, int) or size < self._channels
        size = ops.cast(size, "float32")
        if mask is None:
            self._weights, self._valid, self._freedom = None, 1.0, size - 1.0
            self._freedom_1 = self._freedom_2 = self._freedom
            return
        mask = float32(mask)
        count = replica_sum(ops.sum(mask, axis=-1))
        self._weights = mask[..., None]
        self._count = ops.maximum(count, 1.0)[..., None, None]
        self._valid = ops.cast(count >= 2.0, "float32")
        self._freedom = ops.maximum(count - 1.0, 1.0)
        # One trailing axis to divide (..., C), two to divide (..., B, C).
        self._freedom_1 = self._freedom[..., None]
        self._freedom_2 = self._freedom[..., None, None]

    def _mean(self, x: Any) -> Any:
        if self._weights is None:
            return _batch_mean(x)
        total = ops.sum(x * self._weights, axis=-2, keepdims=True)
        return replica_sum(total) / self._count

    def _centre(self, x: Any, mean: Any) -> Any:
        return x - mean if self._weights is None else (x - mean) * self._weights

    def forward(self, x: Any) -> tuple[Any, Any]:
        """The penalties `(2, ...)`, and what their gradient needs."""
        mean = self._mean(x)
        centred = self._centre(x, mean)
        variance = replica_sum(ops.sum(ops.square(centred), axis=-2))
        variance = variance / self._freedom_1
        deviation = ops.sqrt(variance + self._epsilon)
        everyone = None
        if self._by_samples:
            if replica_count() > 1:
                everyone = replica_gather(centred, axis=-2)
            others = centred if everyone is None else everyone
            product = matmul(centred, ops.swapaxes(others, -1, -2))
            squares = replica_sum(ops.sum(ops.square(product), axis=(-2, -1)))
        else:
            product = matmul(ops.swapaxes(centred, -1, -2), centred)
            product = replica_sum(product)
            squares = ops.sum(ops.square(product), axis=(-2, -1))
        squares = squares / ops.square(self._freedom)
        hinge = ops.mean(ops.relu(1.0 - deviation), axis=-1)
        shared = squares - ops.sum(ops.square(variance), axis=-1)
        both = ops.stack([hinge, shared / self._channels]) * self._valid
        return both, (mean, variance, product, everyone)

    def gradient(self, x: Any, kept: Any, upstream: Any) -> Any:
        """The gradient `(..., B, C)`.

        Args:
            x: the samples.
            kept: what `forward` said is needed.
            upstream: `(2, ...)`, of the penalties, summed over all replicas.
        """
        mean, variance, product, everyone = kept
        deviation = ops.sqrt(variance + self._epsilon)
        scale = upstream * (self._valid / self._channels)
        to_hinge, to_shared = scale[0][..., None], scale[1][..., None]
        per_slot = 4.0 * to_shared[..., None] / ops.square(self._freedom_2)
        # On the product, the smaller of the two.
        scaled = per_slot * product
        centred = self._centre(x, mean)
        if self._by_samples:
            others = centred if everyone is None else everyone
            through_product = matmul(scaled, others)
        else:
            through_product = matmul(centred, scaled)
        active = ops.cast(deviation < 1.0, "float32")
        per_channel = 4.0 * to_shared * variance
        per_channel = per_channel + to_hinge * active / deviation
        per_channel = (per_channel / self._freedom_1)[..., None, :]
        # Both parts sum to zero over the batch: centring is its own gradient.
        return through_product - per_channel * centred


def float32(x: Any) -> Any:
    """Casts to float32, in which all of the objective is computed."""
    return ops.cast(ops.convert_to_tensor(x), "float32")


def mean_squared_error(x: Any, y: Any) -> Any:
    """That of this replica's share of the batch alone."""
    return ops.mean(ops.square(float32(x) - float32(y)))


def batch_variance(x: Any) -> tuple[Any, Any]:
    """Deviations from the mean over the batch, and their unbiased variance.

    Args:
        x: float tensor `(..., B, C)`.

    Returns:
        Float32 tensors `(..., B, C)` and `(..., C)`.
    """
    x = float32(x)
    freedom = batch_size(x) - 1
    centred = x - _batch_mean(x)
    squares = replica_sum(ops.sum(ops.square(centred), axis=-2))
    return centred, squares / freedom


def _batch_mean(x: Any) -> Any:
    return replica_mean(ops.mean(x, axis=-2, keepdims=True))


def batch_size(x: Any) -> Any:
    """Samples of `(..., B, C)` on all replicas, 2 or more.

    An integer, or a float32 scalar where it is not known yet.
    """
    batch = ops.shape(x)[-2]
    if not isinstance(batch, int):
        return ops.cast(batch, "float32") * replica_count()
    batch *= replica_count()
    if batch < 2:
        raise ValueError(
            "The variance over a batch needs at least 2 samples, but the "
            f"embeddings have a batch of {batch} (shape {tuple(x.shape)}). "
            "Use a larger batch and `drop_remainder=True`."
        )
    return batch
