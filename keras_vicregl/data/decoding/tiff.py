"""TIFF files, by tifffile: strips, tiles, planes, BigTIFF, several pages.

Values are as they are stored, whatever a viewer would make of them; only
palettes become RGB. Smaller copies of a page (pyramids, previews) and masks of
transparency are no pages.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from keras_vicregl._installed import missing

_PALETTE = 3  # how pixels are to be understood
_GDAL_NODATA = 42113


def is_available() -> bool:
    """Whether tifffile is installed."""
    return not missing("tifffile")


class Pages(NamedTuple):
    """What is in a file.

    Attributes:
        count: Pages.
        size: Height and width of the first.
        channels: Of each.
        dtype: Of NumPy, native.
    """

    count: int  # type: ignore[assignment]  # not the method of tuples
    size: tuple[int, int]
    channels: int
    dtype: np.dtype


def pages_of(path: str) -> Pages:
    """What a file's header tells.

    Raises:
        ValueError: If it is none that can be read.
    """
    with _opened(path) as file:
        pages, count = _pages(file)
        page = pages[0]
        _check_codec(page)
        if _is_palette(page):
            return Pages(count, _size(page), 3, np.dtype("uint8"))
        if page.dtype is None:
            raise ValueError(
                f"a TIFF file of {page.bitspersample} bits of a kind without "
                "a name"
            )
        dtype = np.dtype(page.dtype).newbyteorder("=")
        return Pages(count, _size(page), _samples(page), dtype)


def read(
    path: str, page: int | None = None, no_data: float | None = None
) -> np.ndarray:
    """Values of one page, or of all as channels.

    Args:
        path: The file.
        page: Its number. None: all, one after the other.
        no_data: What pixels become that are marked as no data. None: there may
            be none but such as are 0 already.

    Returns:
        (H, W, C).

    Raises:
        ValueError: If it cannot be read, has pixels without data, or pages
            differ.
    """
    with _opened(path) as file:
        pages, count = _pages(file)
        if len(pages) < count:  # one page says where all are
            stack = file.series[0].asarray(maxworkers=1)
            stack = stack.reshape(count, *pages[0].shape)
            images = [_channels_last(pages[0], each) for each in stack]
            images = images if page is None else [images[page]]
        else:
            chosen = pages if page is None else [pages[page]]
            images = [_values(each) for each in chosen]
        marked = _mark_of_no_data(pages[0])
    if marked is not None:
        images = [_filled(image, marked, no_data) for image in images]
    kinds = {(image.shape, image.dtype.name) for image in images}
    if len(kinds) > 1:
        told = " and ".join(f"{dtype} of shape {s}" for s, dtype in kinds)
        raise ValueError(
            f"its pages differ, {told}: they cannot be channels of one image"
        )
    return images[0] if len(images) == 1 else np.concatenate(images, axis=-1)


class _ToldError(ValueError):
    """An error that says already what is wrong."""


@contextlib.contextmanager
def _opened(path: str) -> Iterator[Any]:
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            yield file
    except (OSError, MemoryError, _ToldError):
        raise
    except Exception as error:
        # Of damaged files nearly any: struct.error, zlib.error, IndexError ...
        if "imagecodecs" in str(error):
            raise _needs_codecs(error) from error
        raise ValueError(f"a damaged TIFF file: {error}") from error


def _needs_codecs(error: Exception) -> ValueError:
    return _ToldError(
        f"{error}, which tifffile leaves to it: `pip install imagecodecs`"
    )


def _pages(file: Any) -> tuple[list[Any], int]:
    """Pages that are images, and how many there are in truth.

    Programs that write large stacks may describe the first page alone.
    """
    pages = [
        page for page in file.pages if not (page.is_reduced or page.is_mask)
    ]
    if not pages:
        raise _ToldError("a TIFF file without a page")
    count = len(pages)
    # Of ImageJ, tifffile itself and MetaMorph.
    if count == 1 and (file.is_imagej or file.is_shaped or file.is_stk):
        size = math.prod(pages[0].shape)
        count = max(math.prod(file.series[0].shape) // max(size, 1), 1)
    return pages, count


def _values(page: Any) -> np.ndarray:
    values = page.asarray(maxworkers=1)
    if _is_palette(page):
        colors = np.asarray(page.colormap)
        # Of 16 bits, but some write 8, as PNG has them.
        colors = colors >> 8 if colors.max() > 255 else colors
        return colors.astype(np.uint8).T[values]
    return _channels_last(page, values)


def _mark_of_no_data(page: Any) -> float | None:
    """The value that means that there is none, as GDAL notes it."""
    tag = page.tags.get(_GDAL_NODATA)
    if tag is None or _is_palette(page):
        return None
    try:
        return float(str(tag.value).strip(" \0").replace(",", "."))
    except ValueError:
        return None


def _filled(
    image: np.ndarray, marked: float, no_data: float | None
) -> np.ndarray:
    with np.errstate(over="ignore"):
        # As a text it has more digits than as a float32.
        value = np.float32(marked) if image.dtype == np.float32 else marked
    are_marked = np.isnan(image) if np.isnan(marked) else image == value
    count = int(are_marked.sum())
    if not count or (no_data is None and marked == 0):
        return image
    if no_data is None:
        raise _ToldError(
            f"{count} of {image.size} values are no data, which its tag "
            f"GDAL_NODATA says {marked:g} is: no_data=0 makes 0 of them"
        )
    if image.dtype.kind in "iu":
        limits = np.iinfo(image.dtype)
        if no_data % 1 or not limits.min <= no_data <= limits.max:
            raise _ToldError(f"no_data={no_data:g} is no {image.dtype}")
    return np.where(are_marked, image.dtype.type(no_data), image)


def _channels_last(page: Any, values: np.ndarray) -> np.ndarray:
    if page.axes == "SYX":
        return np.moveaxis(values, 0, -1)
    return values if page.axes == "YXS" else values[..., None]


def _samples(page: Any) -> int:
    _check_axes(page)
    return page.shape[page.axes.index("S")] if "S" in page.axes else 1


def _size(page: Any) -> tuple[int, int]:
    _check_axes(page)
    return tuple(page.shape[page.axes.index(axis)] for axis in "YX")


def _check_axes(page: Any) -> None:
    if page.axes not in ("YX", "YXS", "SYX"):
        raise _ToldError(
            f"a TIFF file whose pages have the axes {page.axes!r}, of shape "
            f"{page.shape}: volumes are no images"
        )


def _check_codec(page: Any) -> None:
    import tifffile

    try:
        tifffile.TIFF.DECOMPRESSORS[page.compression]
        tifffile.TIFF.UNPREDICTORS[page.predictor]
    except KeyError as error:
        if "imagecodecs" in str(error):
            raise _needs_codecs(ValueError(error.args[0])) from error
        raise


def _is_palette(page: Any) -> bool:
    return page.photometric == _PALETTE and page.colormap is not None
