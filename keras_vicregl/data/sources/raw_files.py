"""Files whose images have any channels and depth, read in Python.

TIFF, `.npy`, PNG of 16 bits, and whatever a function reads. Both engines have
the same arrays: tf.data calls Python for them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import numpy as np

from keras_vicregl.data.decoding import raw
from keras_vicregl.data.decoding.forms import (
    Form,
    as_image,
    converted,
    with_channels,
)
from keras_vicregl.data.sources.array_cache import ArrayCache
from keras_vicregl.data.sources.file_source import FileSource
from keras_vicregl.data.sources.image_source import ImageSource
from keras_vicregl.views.keys import IMAGES, LABELS, MASKS

Read = Callable[[str], Any]


class RawFileSource(FileSource):
    """Images of files as they are: (H, W, C) of uint8, uint16 or float32.

    Args:
        name: See `ImageSource`.
        paths: One an image.
        labels: (N,) int32, or None.
        masks: Paths, one an image, or None.
        cache: False, True, or the folder of a cache.
        form: Of all images.
        read: From a path to an array; None reads what `data.decoding.raw` does.
        pages: See `load`.
        no_data: See `load`.
        numbers: Where pages are examples, which one each image is.
        **facts: Further arguments of `ImageSource`.
    """

    _is_decoded = True

    def __init__(
        self,
        name: str,
        paths: Sequence[str],
        labels: np.ndarray | None = None,
        masks: Sequence[str] | None = None,
        cache: Any = False,
        *,
        form: Form,
        read: Read | None = None,
        pages: str | None = None,
        no_data: float | None = None,
        numbers: Sequence[int] | None = None,
        **facts: Any,
    ) -> None:
        facts |= form._asdict()
        # The contents of files are those of masks alone.
        of_masks = False if masks is None else cache
        super().__init__(name, paths, labels, masks, of_masks, **facts)
        self._read_file = read
        self._pages = pages
        self._no_data = no_data
        self._numbers = numbers
        self._looked_at = 16 if read is not None else self._looked_at
        self._arrays_kept = None
        if cache is not False:
            how = getattr(read, "__qualname__", type(read).__name__)
            how += "" if no_data is None else f" no_data={no_data}"
            self._arrays_kept = ArrayCache(
                None if cache is True else cache,
                [*paths, f"{how} {pages} {form}"],
            )

    def _reader(self) -> Callable[[Any, Any], dict]:
        return ImageSource._reader(self)

    def _decoded(self, index: int, with_mask: bool) -> dict[str, np.ndarray]:
        if self._arrays_kept is None:
            image = self._image(index)
        else:
            image = self._arrays_kept.get(index, lambda: self._image(index))
        example = {IMAGES: image}
        if self._labels is not None:
            example[LABELS] = self._labels[index]
        if with_mask and self._masks is not None:
            example[MASKS] = self._checked_mask(index, image)
        return example

    def _image(self, index: int) -> np.ndarray:
        if self._read_file is None:
            page = None if self._numbers is None else self._numbers[index]
            image = raw.read(
                self._paths[index], self._pages, page, self._no_data
            )
        else:
            image = read_by(self._read_file, self._paths[index])
        found = Form(image.shape[-1], image.dtype.name)
        wanted = Form(cast("int", self.channels), cast("str", self.dtype))
        try:
            fits = converted(found, wanted.channels) == wanted
        except ValueError:
            fits = False
        if not fits:
            raise ValueError(
                f"it has {found}, and the other images of {self.name} {wanted}"
            )
        return with_channels(image, wanted.channels)

    def _size_of(self, index: int) -> tuple[int, int] | None:
        if self._read_file is not None:
            return ImageSource._size_of(self, index)
        try:
            return raw.header_of(self._paths[index], self._pages).size
        except (OSError, ValueError):  # its turn comes
            return None

    def _name_of(self, index: int, element: Mapping[str, Any]) -> str:
        name = super()._name_of(index, element)
        if self._numbers is None:
            return name
        return f"{name}, page {self._numbers[index]}"


def read_by(read: Read, path: str) -> np.ndarray:
    """An image (H, W, C) that a function reads from a path.

    Raises:
        ValueError: If it returns none.
    """
    return as_image(read(path), "what `read` returns")
