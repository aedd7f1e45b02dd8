"""The product of two matrices in full precision, whatever the backend."""

from typing import Any

from keras import ops

from keras_vicregl.precision.backends.running import backend


def matmul(a: Any, b: Any) -> Any:
    """`keras.ops.matmul` of float32, in float32 on accelerators too.

    So are the products of its gradients. See `keras_vicregl.precision`.

    Args:
        a: float32 tensor `(..., n, k)`.
        b: float32 tensor `(..., k, m)`; leading axes broadcast with those of
            `a`.

    Returns:
        A float32 tensor `(..., n, m)`.

    Raises:
        Exception: one of the backend, if the shapes do not fit.

    Example:

    >>> import numpy as np
    >>> from keras import ops
    >>> rows = ops.convert_to_tensor(np.array([[1.0, 2.0]], "float32"))
    >>> float(matmul(rows, ops.transpose(rows))[0, 0])
    5.0
    """
    return backend.matmul(ops.convert_to_tensor(a), ops.convert_to_tensor(b))
