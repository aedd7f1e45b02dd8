"""Arithmetic on NumPy arrays and TensorFlow tensors in one code.

What is drawn for a view has to be the same number in tf.data, and where only
NumPy is at hand. `namespace` gives the functions of an array's own library
under NumPy's names; what the two call differently is here.
"""

from typing import Any

import numpy as np


def namespace(array: Any) -> Any:
    """`numpy`, or `tensorflow.experimental.numpy` for a tensor."""
    if isinstance(array, (np.ndarray, np.generic)):
        return np
    import tensorflow.experimental.numpy as tensorflow_numpy

    return tensorflow_numpy


def cast(array: Any, dtype: str) -> Any:
    """The array in another dtype."""
    if namespace(array) is np:
        return array.astype(dtype)
    from keras_vicregl._tensorflow import tf

    return tf.cast(array, dtype)


def bits_of(integers: Any) -> Any:
    """The bits of int64 numbers as uint64."""
    if namespace(integers) is np:
        return integers.view("uint64")
    from keras_vicregl._tensorflow import tf

    return tf.bitcast(integers, tf.uint64)


def shift_right(bits: Any, count: int) -> Any:
    """Unsigned integers, shifted by `count` bits."""
    if namespace(bits) is np:
        return bits >> np.uint64(count)
    from keras_vicregl._tensorflow import tf

    return tf.bitwise.right_shift(bits, tf.constant(count, bits.dtype))


def round_to_even(array: Any) -> Any:
    """The nearest whole numbers, halves to the even one, as `round`."""
    if namespace(array) is np:
        return np.round(array)
    from keras_vicregl._tensorflow import tf

    return tf.round(array)
