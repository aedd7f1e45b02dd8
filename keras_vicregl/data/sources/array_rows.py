"""Rows of large arrays, read when they are wanted.

An array may be a memory-mapped file: it is neither copied nor made a constant
of TensorFlow.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_vicregl.views.values import unmasked

if TYPE_CHECKING:
    import tensorflow as tf

# Arrays up to this many bytes may be copied.
_SMALL = 2**20


class ArrayRows:
    """Some rows of an array, in the place of a copy of them.

    They are in the byte order of the machine, whatever that of the array is.

    Args:
        array: (N, ...).
        indices: (n,) integers below N.
    """

    def __init__(self, array: Any, indices: np.ndarray) -> None:
        self._array = array
        self._indices = indices
        self.shape = (len(indices), *array.shape[1:])
        self.dtype = array.dtype.newbyteorder("=")
        self.ndim = len(self.shape)
        self.nbytes = int(np.prod(self.shape)) * self.dtype.itemsize

    def __len__(self) -> int:
        return len(self._indices)

    def take(self, rows: Any) -> np.ndarray:
        """A copy of some of them."""
        return take(self._array, self._indices[rows]).astype(
            self.dtype, copy=False
        )

    def __getitem__(self, rows: Any) -> np.ndarray:
        found = self._array[self._indices[rows]]
        return found.astype(self.dtype, copy=False)

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return np.asarray(self[:], dtype)


def native(array: Any, name: str = "the array") -> Any:
    """An array in the byte order of the machine, not copied as a whole.

    Files may have another one, TIFF and FITS often.

    Raises:
        ValueError: if something in it is masked.
    """
    if isinstance(array, ArrayRows):
        return array
    array = unmasked(array, name)
    if array.dtype.isnative or not array.ndim:
        return array
    return ArrayRows(array, np.arange(len(array)))


def rows_of(array: Any, indices: np.ndarray) -> Any:
    """Some rows of an array, which are copied only where that is little.

    Args:
        array: (N, ...).
        indices: (n,) integers below N, rising.
    """
    steps = np.unique(np.diff(indices))
    if len(steps) <= 1:
        step = int(steps[0]) if len(steps) else 1
        return array[int(indices[0]) : int(indices[-1]) + 1 : step]
    if array.nbytes <= _SMALL:
        return array[indices]
    return ArrayRows(array, indices)


def row_reader(
    arrays: Mapping[str, Any],
) -> Callable[[tf.Tensor], dict[str, tf.Tensor]]:
    """A function from indices, (...) int64, to rows (..., *) of all arrays.

    To be called eagerly: small arrays become constants outside the graph. Of
    large ones the rows are read from the array.
    """
    from keras_vicregl._tensorflow import tf

    large = {k: v for k, v in arrays.items() if _is_large(v)}
    small = {
        key: tf.convert_to_tensor(np.asarray(value))
        for key, value in arrays.items()
        if key not in large
    }

    def read(index: tf.Tensor) -> dict[str, tf.Tensor]:
        rows = {key: tf.gather(value, index) for key, value in small.items()}
        for key, array in large.items():
            row = tf.numpy_function(
                functools.partial(take, array),
                [index],
                tf.as_dtype(array.dtype),
            )
            shape = tf.TensorShape(array.shape[1:])
            rows[key] = tf.ensure_shape(row, index.shape.concatenate(shape))
        return {key: rows[key] for key in arrays}

    return read


def take(array: Any, index: Any) -> np.ndarray:
    """A copy of a row, or of several."""
    if isinstance(array, ArrayRows):
        return array.take(index)
    # Never a view.
    if array.flags.c_contiguous:
        return np.take(array, index, axis=0)  # quicker than an index
    # Of others that would copy the whole array first.
    return np.array(array[index], order="C")


def _is_large(array: Any) -> bool:
    # Numbers and truth values: text has no size that TensorFlow knows.
    return array.nbytes > _SMALL and array.dtype.kind in "biufc"
