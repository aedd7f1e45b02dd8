"""Numbers that tell whether embeddings collapse."""

from typing import Any

from keras import ops

from keras_vicregl.distribution.collectives import replica_sum
from keras_vicregl.losses.statistics import batch_size, batch_variance, float32


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
    channels = z.shape[-1]
    unit = z / ops.maximum(ops.norm(z, axis=-1, keepdims=True), 1e-12)
    spread = ops.mean(ops.sqrt(batch_variance(unit)[1]))
    centred, variance = batch_variance(z)
    standard = centred / (ops.sqrt(variance) + 1e-5)
    # The sum of all entries of standard^T standard, without forming it.
    everything = ops.sum(ops.square(ops.sum(standard, axis=1)))
    diagonal = ops.sum(ops.square(standard))
    pairs = channels * (channels - 1) or 1
    correlated = replica_sum(everything - diagonal)
    return spread, correlated / ((batch_size(z) - 1) * pairs)
