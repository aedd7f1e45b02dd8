"""Files of 16 bits whose values fill a small part of them: told of once."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import tensorflow as tf


class DarkFiles:
    """Warns of the first of the files of a source that are hardly lit.

    Pictures of 10, 12 or 14 bits are often stored as they are in files of 16,
    of which the upper 8 bits are taken.

    Args:
        name: From index and element (of arrays) to the file's name.
    """

    def __init__(self, name: Callable[[int, Any], str]) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._told = False

    def note(
        self, index: tf.Tensor, element: Any, largest: tf.Tensor
    ) -> tf.Tensor:
        """An operation that warns, the first time; 0, int64."""
        from keras_vicregl._tensorflow import tf

        flat = tf.nest.flatten(element)

        def tell(
            index: np.int64, largest: np.int32, *values: np.ndarray
        ) -> np.int64:
            found = tf.nest.pack_sequence_as(element, values)
            self.tell(int(index), found, int(largest))
            return np.int64(0)

        return tf.numpy_function(tell, [index, largest, *flat], tf.int64)

    def tell(self, index: int, element: Any, largest: int) -> None:
        """Warn of a file with that largest value, the first time."""
        with self._lock:
            new, self._told = not self._told, True
        if not new:
            return
        warnings.warn(
            f"{self._name(index, element)} has 16 bits a channel, but no value "
            f"above {largest} of 65535. Of 16 bits the upper 8 are taken, in "
            f"which no more than {largest // 256 + 1} of 256 grey values "
            f"remain. Scale its values up to 65535, here by "
            f"{65535 / largest:.3g}, or save it in 8 bits. (Other such files "
            "are not told of.)",
            stacklevel=1,
        )
