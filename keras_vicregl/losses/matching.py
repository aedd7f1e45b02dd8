"""Nearest neighbours between the positions of two views, and the best of them.

Distances are constants: no gradient flows through them or through the choice.
Of equal distances the one with the lowest index wins, on every backend.
"""

from typing import Any

from keras import ops

from keras_vicregl.losses.statistics import float32
from keras_vicregl.precision import matmul


def location_distances(p: Any, q: Any) -> Any:
    """Squared distances between positions in the source image.

    The differences are formed directly: expanding the square into a matrix
    product loses so many digits at pixel coordinates that other matches win.

    Args:
        p: `(..., S, 2)` tensor of positions in pixels.
        q: `(..., T, 2)` tensor of positions in pixels.

    Returns:
        `(..., S, T)` float32 tensor in squared pixels.
    """
    p = ops.stop_gradient(float32(p))[..., :, None, :]
    q = ops.stop_gradient(float32(q))[..., None, :, :]
    difference = ops.square(p - q)
    return difference[..., 0] + difference[..., 1]


def feature_distances(a: Any, b: Any) -> Any:
    """Squared L2 distances between local embeddings, by one batched product.

    Args:
        a: `(..., S, C)` tensor of local embeddings.
        b: `(..., T, C)` tensor of local embeddings.

    Returns:
        `(..., S, T)` float32 tensor; rounding can make it slightly negative.
    """
    a = ops.stop_gradient(float32(a))
    b = ops.stop_gradient(float32(b))
    products = matmul(a, ops.swapaxes(b, -1, -2))
    a_squared = ops.sum(ops.square(a), axis=-1)[..., :, None]
    b_squared = ops.sum(ops.square(b), axis=-1)[..., None, :]
    return a_squared + b_squared - 2.0 * products


def nearest(distances: Any) -> tuple[Any, Any]:
    """Each query's nearest neighbour.

    Args:
        distances: `(..., S, T)` tensor, queries on the last axis but one.

    Returns:
        Two `(..., S)` tensors: int32 indices into the T candidates, and the
        distances to them.
    """
    return ops.argmin(distances, axis=-1), ops.min(distances, axis=-1)


def closest(distances: Any, k: int) -> Any:
    """The `k` queries with the smallest distances, in raster order.

    Raster order matters: statistics are taken per slot over the batch, so
    which match stands in which slot changes the loss.

    Args:
        distances: `(..., S)` tensor of each query's distance.
        k: how many to choose, at most S.

    Returns:
        `(..., k)` int32 tensor of query indices, ascending.

    Example:

    >>> import numpy as np
    >>> ops.convert_to_numpy(closest(np.array([3.0, 1.0, 2.0, 1.0]), 2))
    array([1, 3], dtype=int32)
    """
    # A stable sort rather than `top_k`, which breaks ties at will in PyTorch.
    return ops.sort(ops.argsort(distances, axis=-1)[..., :k], axis=-1)


def match(distances: Any, k: int | None = None) -> tuple[Any, Any, Any]:
    """Pairs each query with its nearest neighbour and keeps the k best pairs.

    Args:
        distances: `(..., S, T)` tensor of distances from S queries to T
            candidates.
        k: how many pairs to keep; `None`, or anything from S on, keeps all.

    Returns:
        Three `(..., k)` tensors, in raster order of the queries: int32 indices
        of queries and of their neighbours, and the distances between them.

    Example:

    >>> import numpy as np
    >>> queries, neighbours, _ = match(np.array([[5.0, 4.0], [1.0, 2.0]]), 1)
    >>> int(queries[0]), int(neighbours[0])
    (1, 0)
    """
    neighbours, values = nearest(distances)
    size = values.shape[-1]
    if k is None or k >= size:
        queries = ops.broadcast_to(
            ops.arange(size, dtype="int32"), ops.shape(values)
        )
        return queries, neighbours, values
    return best_pairs(neighbours, values, k)


def best_pairs(neighbours: Any, distances: Any, k: int) -> tuple[Any, Any, Any]:
    """The `k` closest of the pairs that `nearest` found, in raster order.

    Args:
        neighbours: `(..., S)` int32 tensor, each query's nearest neighbour.
        distances: `(..., S)` tensor of the distances to them.
        k: how many pairs to keep, at most S.

    Returns:
        As `match`.
    """
    queries = closest(distances, k)
    return (
        queries,
        ops.take_along_axis(neighbours, queries, axis=-1),
        ops.take_along_axis(distances, queries, axis=-1),
    )
