"""Examples that cannot be read: found, noted and told of once an epoch.

TensorFlow stops at an error, and has no `try` in a graph. Here it is a small
data set for each batch; Python is called only when something has failed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_vicregl.data.streams.unreadable import Reason, Unreadable

if TYPE_CHECKING:
    import tensorflow as tf

# What TensorFlow says of the place in the graph, of no use to anyone here.
_PLACE = re.compile(r"\{\{.*?\}\}\s*|\s*\[\[.*?\]\]|\s*\[Op:.*?\]( name: ?)?")

Make = Callable[[Any, Any], Any]


class Failures(Unreadable):
    """What could not be read in tf.data, of one data set.

    Args:
        what: Name of the data set.
        total: Examples in it.
        on_error: `"raise"` or `"skip"`.
        name: From index and element (of arrays) to the example's name.
        make: What failed, from index and element (of tensors): tried once more
            to learn the reason.
        structure: Of the elements, which come here flat.
        told: See `Unreadable`.
        of_mask: From index to the reason, where the example's mask is at fault.
    """

    def __init__(
        self,
        what: str,
        total: int,
        on_error: str,
        name: Callable[[int, Any], str],
        make: Make,
        structure: Any,
        told: set[str] | None = None,
        of_mask: Callable[[int], Reason | None] = lambda index: None,
    ) -> None:
        super().__init__(what, total, on_error, told)
        self._of_mask = of_mask
        self._name = name
        self._make = make
        self._structure = structure

    def note(self, indices: np.ndarray, *elements: np.ndarray) -> np.int64:
        """Note the failed examples of a group; returns 0.

        Raises:
            ValueError: If `on_error="raise"`.
        """
        for row, index in enumerate(indices.tolist()):
            reason = self._reasons.get(index)
            if reason is None:
                element = self._element([each[row] for each in elements])
                reason = self._reason(index, element)
            self.add(index, reason)
        return np.int64(0)

    def _element(self, flat: list) -> Any:
        from keras_vicregl._tensorflow import tf

        return tf.nest.pack_sequence_as(self._structure, flat)

    def _reason(self, index: int, element: Any) -> Reason:
        from keras_vicregl._tensorflow import tf

        if reason := self._of_mask(index):
            return reason
        name = self._name(index, element)
        try:
            with tf.device("cpu"):
                self._make(
                    tf.constant(index, tf.int64),
                    tf.nest.map_structure(tf.constant, element),
                )
        except Exception as error:
            text = getattr(error, "message", None) or str(error)
            return Reason(name, _short(text, name))
        return Reason(name, "an error that did not occur again")


def readable(group: Any, make: Make, failures: Failures) -> tf.data.Dataset:
    """The examples of a group that can be made, in order.

    Args:
        group: Pair of indices (B,) int64 and a dictionary of elements (B, ...).
        make: Function of an index and an element, in a graph.
        failures: Takes note of the others.

    Returns:
        Pairs of the place in the group, int32, and what `make` returned.
    """
    from keras_vicregl._tensorflow import tf

    size = tf.shape(group[0])[0]
    made = _made(group, make)

    def note_gap(expected: tf.Tensor, here: Any) -> Any:
        slot, example = here

        def note() -> tf.Tensor:
            missed = tf.nest.map_structure(lambda x: x[expected:slot], group)
            return tf.numpy_function(
                failures.note, tf.nest.flatten(missed), tf.int64
            )

        noted = tf.cond(slot > expected, note, lambda: tf.constant(0, tf.int64))
        with tf.control_dependencies([noted]):
            return slot + 1, (tf.identity(slot), example)

    end = tf.data.Dataset.from_tensors((size, _no_rows(made.element_spec[1])))
    return (
        made.concatenate(end)
        .scan(tf.constant(0), note_gap)
        .filter(lambda slot, _: slot < size)
    )


def _made(group: Any, make: Make) -> tf.data.Dataset:
    """What `readable` returns, without taking note of the others."""
    from keras_vicregl._tensorflow import tf

    places = tf.range(tf.shape(group[0])[0])
    made = tf.data.Dataset.from_tensor_slices((places, *group)).map(
        lambda slot, index, element: (slot, make(index, element)),
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    )
    return made.ignore_errors()


def full_batch(
    group: Any,
    make: Make,
    failures: Failures,
    size: int | None,
    shapes: Callable[[Any], Any] | None = None,
) -> tf.data.Dataset:
    """A group as one batch: in the place of what cannot be made, another one.

    It is the one before it in the same batch, and the last one if there is
    none before it: so that batches have one size, an epoch has one length, and
    no position depends on what could be read.

    Args:
        group: See `readable`.
        make: See `readable`.
        failures: Takes note of what cannot be made.
        size: Of the group, where it is always the same.
        shapes: To which what `make` returns is padded, from its spec. None: it
            is not.
    """
    from keras_vicregl._tensorflow import tf

    places = tf.range(tf.shape(group[0])[0])
    count = tf.size(places, tf.int64)
    # Not `readable`: a function for each image takes a part of its time.
    made = _made(group, make)
    if shapes is None:
        made = made.batch(count)
    else:
        made = made.padded_batch(count, ((), shapes(made.element_spec[1])))
    nothing = tf.data.Dataset.from_tensors(_no_rows(made.element_spec))

    def fill(slots: tf.Tensor, examples: Any) -> Any:
        count = tf.shape(slots)[0]

        def another() -> Any:
            is_made = tf.reduce_any(places[:, None] == slots, axis=1)
            missed = tf.boolean_mask(places, ~is_made)
            noted = tf.numpy_function(
                failures.note,
                [tf.gather(x, missed) for x in tf.nest.flatten(group)],
                tf.int64,
            )
            with tf.control_dependencies([noted]):
                left = tf.cond(count == 0, none, lambda: tf.identity(noted))
            with tf.control_dependencies([left]):
                before = tf.searchsorted(slots, places, side="right") - 1
                rows = tf.where(before < 0, count - 1, before)
                return tf.nest.map_structure(
                    lambda x: tf.gather(x, rows), examples
                )

        def none() -> tf.Tensor:
            return tf.numpy_function(failures.none_in_batch, [], tf.int64)

        filled = tf.cond(count < tf.size(places), another, lambda: examples)
        return tf.nest.map_structure(
            lambda x: tf.ensure_shape(x, (size, *x.shape[1:])), filled
        )

    return made.concatenate(nothing).take(1).map(fill)


def _no_rows(spec: Any) -> Any:
    """Tensors of a spec, of no elements along the axes that are not known."""
    from keras_vicregl._tensorflow import tf

    return tf.nest.map_structure(
        lambda x: tf.zeros([n or 0 for n in x.shape], x.dtype), spec
    )


def _short(text: str, name: str) -> str:
    """The line of an error's message that says what is wrong."""
    lines = [line for line in _PLACE.sub("", text).splitlines() if line.strip()]
    if not lines:
        return "an error without a message"
    # TensorFlow says first where in its graph it was.
    line = lines[-1 if lines[0].startswith("Graph execution error") else 0]
    return line.strip().removeprefix(f"{name}; ").rstrip(".")[:200]
