"""Images that are files, read in any order."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from keras_vicregl.data.decoding.formats import readable
from keras_vicregl.data.decoding.forms import RGB
from keras_vicregl.data.sources.image_source import ImageSource
from keras_vicregl.data.streams.ahead import within
from keras_vicregl.data.streams.unreadable import Reason, reason_of
from keras_vicregl.views.keys import IMAGES, LABELS, MASKS

if TYPE_CHECKING:
    import numpy as np
    import tensorflow as tf

Path = str | os.PathLike


class FileSource(ImageSource):
    """Pictures of 8 bits, which are RGB or, asked for one channel, grey.

    Args:
        name: See `ImageSource`.
        paths: One an image.
        labels: (N,) int32, or None.
        masks: Paths, one an image, or None.
        cache: False, True, or the folder of a cache.
        **facts: Further arguments of `ImageSource`.
    """

    _is_decoded = False
    _looked_at = 256

    def __init__(
        self,
        name: str,
        paths: Sequence[str],
        labels: np.ndarray | None = None,
        masks: Sequence[str] | None = None,
        cache: bool | Path = False,
        **facts: Any,
    ) -> None:
        facts = {**RGB._asdict(), **facts}
        super().__init__(name, len(paths), has_masks=masks is not None, **facts)
        self._paths = paths
        self._labels = labels
        self._masks = masks
        self._cache = None
        if cache is not False:
            from keras_vicregl.data.sources.file_cache import FileCache

            folder = None if cache is True else cache
            self._cache = FileCache(folder, [*paths, *(masks or ())])

    def _reader(self) -> Callable[[Any, Any], dict]:
        from keras_vicregl._tensorflow import tf

        if self._cache is not None:
            self._cache.table()
        paths = tf.constant([os.fsencode(path) for path in self._paths])
        labels = None if self._labels is None else tf.constant(self._labels)
        masks = None
        if self._masks is not None:
            masks = tf.constant([os.fsencode(path) for path in self._masks])

        def read(index: tf.Tensor, element: Any) -> dict:
            example = {IMAGES: self._read(paths[index], index)}
            if labels is not None:
                example[LABELS] = labels[index]
            if masks is not None:
                number = index + len(self)
                example[MASKS] = self._read(masks[index], number)
            return example

        return read

    def _read(self, path: tf.Tensor, number: tf.Tensor) -> tf.Tensor:
        from keras_vicregl._tensorflow import tf

        if self._cache is None:
            return tf.io.read_file(path)
        return self._cache.read(path, number)

    def example(self, index: int) -> dict[str, np.ndarray]:
        """See `ImageSource.example`."""
        return self._decoded(index, with_mask=True)

    def _for_views(self, index: int) -> dict[str, np.ndarray]:
        return self._decoded(index, with_mask=False)

    def _decoded(self, index: int, with_mask: bool) -> dict[str, np.ndarray]:
        from keras_vicregl.data.decoding import pillow

        example = {IMAGES: self._contents(self._paths[index], index)}
        if self._labels is not None:
            example[LABELS] = self._labels[index]
        if with_mask and self._masks is not None:
            number = index + len(self)
            example[MASKS] = self._contents(self._masks[index], number)
        example = pillow.decode_example(
            example,
            self.mask_labels,
            lambda largest: self._dark.tell(index, {}, largest),
        )
        return self._as_asked_for(example)

    def _mask_reason(self, index: int) -> Reason | None:
        if self._masks is None:
            return None
        try:
            image = self._decoded(index, with_mask=False)[IMAGES]
        except Exception:  # it is the image's fault
            return None
        try:
            self._checked_mask(index, image)
        except Exception as error:
            return reason_of(error, f"the mask {readable(self._masks[index])}")
        return None

    def _checked_mask(self, index: int, image: np.ndarray) -> np.ndarray:
        """The mask (H, W, 1) of an image (H, W, C)."""
        from keras_vicregl.data.decoding import pillow

        masks = cast("Sequence[str]", self._masks)
        data = self._contents(masks[index], index + len(self))
        mask = pillow.decode_mask(data, self.mask_labels)
        pillow.check_size(mask, image)
        return mask

    def _contents(self, path: str, number: int) -> bytes:
        if self._cache is not None:
            return self._cache.contents(path, number)
        with open(path, "rb") as file:
            return file.read()

    def _size_of(self, index: int) -> tuple[int, int] | None:
        from keras_vicregl.data.decoding import pillow

        path: str | bytes = self._paths[index]
        if self._cache is not None:
            path = self._cache.kept(index) or path
        try:
            return within(pillow.size_of, path, self.time_limit)
        except TimeoutError as error:
            self._note_late(index, error)
            return None

    def _all_labels(self) -> np.ndarray:
        return self._labels

    def _renumbered(
        self, table: np.ndarray, class_names: Sequence[str]
    ) -> FileSource:
        other = self._with_class_names(class_names)
        other._labels = table[self._labels]
        return other

    def _name_of(self, index: int, element: Mapping[str, Any]) -> str:
        return readable(self._paths[index])
