"""Numbers that tell whether embeddings collapse."""

from typing import Any

from keras import ops

from keras_vicregl.losses.statistics import float32


def collapse_monitors(z: Any) -> tuple[Any, Any]:
    """Spread and mean correlation of a batch of vectors.

    Args:
        z: float tensor `(B, D)`, B and D at least 2.

    Returns:
        Two float32 scalars: the mean over channels of the unbiased standard
        deviation of the l2-normalised vectors (0 when collapsed to a point,
        about `1 / sqrt(D)` when spread), and the mean over pairs of different
        channels of their correlation.

    Example:

    >>> import numpy as np
    >>> std, _ = collapse_monitors(np.ones((4, 3)))
    >>> float(std)
    0.0
    """
    z = float32(z)
    size, channels = z.shape[-2:]
    if size is None:
        size = ops.cast(ops.shape(z)[-2], "float32")
    freedom = size - 1.0
    unit = z / ops.maximum(ops.norm(z, axis=-1, keepdims=True), 1e-12)
    spread = ops.mean(_deviation(unit, freedom))
    standard = z - ops.mean(z, axis=0)
    standard = standard / (_deviation(z, freedom) + 1e-5)
    # The sum of all entries of standard^T standard, without forming it.
    everything = ops.sum(ops.square(ops.sum(standard, axis=1)))
    diagonal = ops.sum(ops.square(standard))
    pairs = channels * (channels - 1) or 1
    return spread, (everything - diagonal) / (freedom * pairs)


def _deviation(z: Any, freedom: Any) -> Any:
    centred = z - ops.mean(z, axis=0)
    return ops.sqrt(ops.sum(ops.square(centred), axis=0) / freedom)
