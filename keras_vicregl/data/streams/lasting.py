"""One iterator of tf.data for all epochs of a run.

An iterator optimises and instantiates all functions of its graph anew, half a
second of the processor's time, and has nothing ready when it begins. So the
iterator that makes batches goes on from epoch to epoch, as that of Python's
engine does, and what `fit` iterates over, once an epoch, only hands them out.
"""

from __future__ import annotations

import atexit
import re
import threading
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import tensorflow as tf

    from keras_vicregl.data.streams.epochs import Position

_alive: weakref.WeakSet = weakref.WeakSet()
# What comes after the sentence in an error of a function that Python ran.
_AFTER = re.compile(r"\n+Traceback \(most recent call last\).*", re.DOTALL)
_BEFORE = re.compile(r"^(\{\{.*?\}\}\s*)?(\w*Error: )?")


class Beginning:
    """Where an iterator that lasts begins: like a `Position` that never ends.

    Args:
        fixed: Whether all its epochs are the same.
    """

    def __init__(self, fixed: bool) -> None:
        self.here = (0, 0)
        self.fixed = fixed

    def positions(self) -> tf.data.Dataset:
        """Epoch and step, (2,) int64, at which each of its epochs begins."""
        from keras_vicregl._tensorflow import tf

        def begin() -> np.ndarray:
            return np.array(self.here, np.int64)

        def of_epoch(first: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
            later = tf.stack([first[0] + count, tf.zeros((), tf.int64)])
            return tf.where(count == 0, first, later)

        first = tf.data.Dataset.from_tensors(0).map(
            lambda _: tf.ensure_shape(
                tf.numpy_function(begin, [], tf.int64), (2,)
            )
        )
        if self.fixed:
            return first.repeat()
        return first.flat_map(
            lambda first: tf.data.Dataset.counter().map(
                lambda count: of_epoch(first, count)
            )
        )


def one_epoch_each(
    batches: tf.data.Dataset,
    beginning: Beginning,
    position: Position,
    steps: int,
) -> tf.data.Dataset:
    """The batches of one epoch, those of another in each iteration.

    Args:
        batches: Of all epochs from `beginning` on, tensors and no others.
        beginning: Where they begin.
        position: Where an iteration begins.
        steps: Batches in an epoch.
    """
    from keras_vicregl._tensorflow import tf

    spec = batches.element_spec
    flat = tf.nest.flatten(spec)
    lasting = _Lasting(batches, beginning, steps)
    # TensorFlow never forgets a function that a graph calls.
    known = weakref.ref(lasting)

    def made_at(epoch: tf.Tensor, step: tf.Tensor) -> list[tf.Tensor]:
        alive = known()
        if alive is None:
            raise RuntimeError("The data set of these batches was let go.")
        return alive.batch_at(epoch, step)

    def batch_at(epoch: tf.Tensor, step: tf.Tensor) -> Any:
        # Not a `numpy_function`, which would copy.
        made = tf.py_function(
            made_at, [epoch, step], [each.dtype for each in flat]
        )
        made = [
            tf.ensure_shape(value, each.shape)
            for value, each in zip(made, flat, strict=True)
        ]
        return tf.nest.pack_sequence_as(spec, made)

    def one_epoch(begin: tf.Tensor) -> tf.data.Dataset:
        number, first = begin[0], begin[1]
        return tf.data.Dataset.range(first, steps).map(
            lambda step: batch_at(number, step)
        )

    epochs = position.begun().flat_map(one_epoch)
    epochs._lasting = lasting  # as long as there is a data set made of it
    return epochs


class _Lasting:
    """The iterator, begun anew where another batch than the next is wanted."""

    def __init__(
        self, batches: tf.data.Dataset, beginning: Beginning, steps: int
    ) -> None:
        self._batches = batches
        self._beginning = beginning
        self._steps = steps
        self._lock = threading.Lock()
        self._iterator: Any = None
        self._next: tuple[int, int] | None = None
        _alive.add(self)

    def batch_at(self, epoch: tf.Tensor, step: tf.Tensor) -> list[tf.Tensor]:
        """The tensors of a batch.

        Raises:
            ValueError: What an InvalidArgumentError of TensorFlow's said.
        """
        from keras_vicregl._tensorflow import tf

        here = int(epoch), int(step)
        with self._lock, tf.device("cpu"):
            try:
                if here != self._next:
                    self.end()
                    self._beginning.here = here
                    self._iterator = iter(self._batches)
                batch = next(self._iterator)
            except tf.errors.InvalidArgumentError as error:
                self.end()
                raise ValueError(_sentence(error.message)) from None
            except BaseException:
                self.end()
                raise
            self._next = self._after(*here)
        return tf.nest.flatten(batch)

    def end(self) -> None:
        """Lets go of the iterator, which ends its threads."""
        self._iterator = self._next = None

    def _after(self, epoch: int, step: int) -> tuple[int, int]:
        if step + 1 < self._steps:
            return epoch, step + 1
        return (epoch if self._beginning.fixed else epoch + 1), 0


def _sentence(message: str) -> str:
    """What an error says, without the places in a graph and in Python."""
    return _BEFORE.sub("", _AFTER.sub("", message))


@atexit.register
def _end_all() -> None:
    """Python cannot be called by threads of TensorFlow's when it has ended."""
    for each in list(_alive):
        each.end()
