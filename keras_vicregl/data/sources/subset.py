"""Some of the examples of a source, and the labels of all."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_vicregl.data.decoding.forms import Form
from keras_vicregl.data.sources.array_rows import rows_of
from keras_vicregl.data.sources.arrays import ArraySource
from keras_vicregl.data.sources.image_source import ImageSource
from keras_vicregl.data.sources.tfds_source import StreamSource
from keras_vicregl.views.keys import NO_LABEL

if TYPE_CHECKING:
    import tensorflow as tf


def labels_of(source: ImageSource) -> np.ndarray:
    """The labels of all examples, without decoding any image.

    Args:
        source: What `load` returns.

    Returns:
        (N,) int32, in the order of the source.

    Raises:
        ValueError: If it has no labels.

    Example:

    >>> from keras_vicregl.data import load
    >>> labels_of(load("digit_scenes", count=8)).shape
    (8,)
    """
    if source.num_classes is None:
        raise ValueError(f"Labels are needed, which {source!r} has not.")
    return source._all_labels()


def labelled(source: ImageSource) -> ImageSource:
    """The source of the examples that have a label: all but those with -1.

    Raises:
        ValueError: If there are none.
    """
    rows = np.flatnonzero(labels_of(source) != NO_LABEL)
    if len(rows) == len(source):
        return source
    if not rows.size:
        raise ValueError(
            f"Labels are needed: those of {source!r} are all {NO_LABEL}."
        )
    return subset(source, rows)


def subset(
    source: ImageSource, indices: np.ndarray, *, cache: bool = False
) -> ImageSource:
    """A source of some of the examples of another one.

    Nothing is decoded for the others. A stream (TFDS) is still read from end to
    end, unless `cache` is set.

    Args:
        source: What `load` returns.
        indices: (n,) integers below N, sorted, each once.
        cache: Whether to keep the chosen examples of a stream in memory, as
            contents of files, after they have been read once.

    Returns:
        A source of n examples.

    Raises:
        ValueError: If indices are not as said.

    Example:

    >>> from keras_vicregl.data import load
    >>> subset(load("digit_scenes", count=8), np.arange(0, 8, 2))
    <ImageSource 4 of digit_scenes/train: 4 images, 10 classes, masks>
    """
    indices = np.asarray(indices)
    if (
        indices.ndim != 1
        or not np.issubdtype(indices.dtype, np.integer)
        or not indices.size
        or indices[0] < 0
        or indices[-1] >= len(source)
        or (np.diff(indices) <= 0).any()
    ):
        raise ValueError(
            f"indices must be whole numbers of 0 to {len(source) - 1}, at "
            f"least one, rising. Received: {indices!r}"
        )
    name = f"{len(indices)} of {source.name}"
    if isinstance(source, ArraySource):
        return ArraySource(
            {k: rows_of(v, indices) for k, v in source._arrays.items()},
            name,
            source.num_classes,
            source.class_names,
            source.box_class_names,
            source.ignore_label,
        )
    facts = {
        "num_classes": source.num_classes,
        "class_names": source.class_names,
        "has_masks": source.has_masks,
        "has_boxes": source.has_boxes,
        "box_class_names": source.box_class_names,
        "mask_labels": source.mask_labels,
        "ignore_label": source.ignore_label,
        "on_error": source.on_error,
    }
    if isinstance(source, StreamSource):
        stream = _chosen(source._stream, indices, len(source))
        facts |= source._form()._asdict()
        return StreamSource(name, stream, len(indices), cache, **facts)
    return SomeOf(source, indices.astype(np.int64), name, **facts)


class SomeOf(ImageSource):
    """Examples of a source that can be read in any order."""

    def __init__(
        self, source: ImageSource, indices: np.ndarray, name: str, **facts: Any
    ) -> None:
        super().__init__(name, len(indices), **facts)
        self._source = source
        self._indices = indices
        self._is_decoded = source._is_decoded
        self._is_batched = source._is_batched
        self._looked_at = source._looked_at
        self.time_limit = source.time_limit
        self._known_form = source._known_form

    def _form(self) -> Form:
        return self._source._form()

    def _of_channels(self, channels: int) -> SomeOf:
        other = copy.copy(self)
        other._source = self._source._of_channels(channels)
        return other

    def _as_asked_for(self, example: dict[str, Any]) -> dict[str, Any]:
        return self._source._as_asked_for(example)

    def _reader(self) -> Callable[[Any, Any], dict]:
        from keras_vicregl._tensorflow import tf

        read = self._source._reader()
        indices = tf.constant(self._indices)
        return lambda index, element: read(tf.gather(indices, index), element)

    @property
    def _has_example(self) -> bool:
        return self._source._has_example

    def example(self, index: int) -> dict[str, np.ndarray]:
        """See `ImageSource.example`."""
        return self._source.example(int(self._indices[index]))

    def _for_views(self, index: int) -> dict[str, np.ndarray]:
        return self._source._for_views(int(self._indices[index]))

    def _size_of(self, index: int) -> tuple[int, int] | None:
        return self._source._size_of(int(self._indices[index]))

    def _all_labels(self) -> np.ndarray:
        return self._source._all_labels()[self._indices]

    def _renumbered(
        self, table: np.ndarray, class_names: Sequence[str]
    ) -> SomeOf:
        other = self._with_class_names(class_names)
        other._source = self._source._renumbered(table, class_names)
        return other

    def _name_of(self, index: int, element: Mapping[str, Any]) -> str:
        return self._source._name_of(int(self._indices[index]), element)


def _chosen(
    stream: tf.data.Dataset, indices: np.ndarray, count: int
) -> tf.data.Dataset:
    from keras_vicregl._tensorflow import tf

    wanted = np.zeros(count, bool)
    wanted[indices] = True
    with tf.device("cpu"):
        wanted = tf.constant(wanted)
        return (
            stream.enumerate()
            .filter(lambda index, example: wanted[index])
            .map(lambda index, example: example)
            .apply(tf.data.experimental.assert_cardinality(len(indices)))
        )
