"""Files whose values stay as they are: TIFF, `.npy`, PNG of 16 bits.

In come paths, out go (H, W, C) of uint8, uint16 or float32, and what headers
tell of them. Pictures of 8 bits may be among them: these are RGB.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from keras_vicregl.data.decoding import exif, pillow, tiff, wide_png
from keras_vicregl.data.decoding.formats import NPY, TIFF_SIGNATURES
from keras_vicregl.data.decoding.forms import RGB, Form, as_image, form_of

CHANNELS, EXAMPLES = "channels", "examples"
"""What pages may be: of one image, or images."""

# As much of a PNG file as has its orientation.
_HEAD = 2**18


class Header(NamedTuple):
    """What is known of an image, or of each of the pages, of a file.

    Attributes:
        form: Channels and dtype.
        size: Height and width; None where only decoding tells.
        examples: How many images it is.
    """

    form: Form
    size: tuple[int, int] | None
    examples: int = 1


def kind_of(head: bytes) -> str:
    """`"tiff"`, `"npy"`, `"png"` (of 16 bits) or `"picture"`.

    Args:
        head: `wide_png.HEAD` bytes of a file.
    """
    if head.startswith(TIFF_SIGNATURES):
        return "tiff"
    if head.startswith(NPY):
        return "npy"
    return "png" if wide_png.is_wide(head) else "picture"


def header_of(path: str, pages: str | None = None) -> Header:
    """What a file tells before its values are read.

    Args:
        path: The file.
        pages: What the pages of a TIFF file are, `CHANNELS` or `EXAMPLES`.
            None: there must be one.

    Raises:
        ValueError: If it is no image.
        OSError: If it cannot be read.
    """
    kind = _kind(path)
    if kind == "tiff":
        return _tiff_header(path, pages)
    if kind == "npy":
        array = _npy(path, mmap_mode="r")
        if array.ndim == 4:
            raise ValueError(
                f"it has many images, {array.dtype} of shape {array.shape}: "
                "load(path) of this file alone reads such"
            )
        form = form_of(array.shape, array.dtype, "an image")
        return Header(form, array.shape[:2])
    if kind == "png":
        with open(path, "rb") as file:
            data = file.read(_HEAD)
        height, width = wide_png.size_of(data)
        if exif.png_orientation(data) >= 5:
            height, width = width, height
        form = Form(wide_png.channels_of(data), "uint16")
        return Header(form, (height, width))
    return Header(RGB, pillow.size_of(path))


def read(
    path: str,
    pages: str | None = None,
    page: int | None = None,
    no_data: float | None = None,
) -> np.ndarray:
    """An image of a file.

    Args:
        path: The file.
        pages: See `header_of`.
        page: Number of the page that it is, where pages are examples.
        no_data: What pixels of a TIFF file become that are marked as no data.

    Returns:
        (H, W, C).

    Raises:
        ValueError: If it cannot be read, or has values that are not finite.
        OSError: If the file cannot.
    """
    kind = _kind(path)
    if kind == "tiff":
        if pages is None:
            _tiff_header(path, pages)
        page = page if pages == EXAMPLES else None
        values = tiff.read(path, page, no_data)
    elif kind == "npy":
        values = _npy(path)
        form_of(values.shape, values.dtype, "an image")
    else:
        with open(path, "rb") as file:
            data = file.read()
        decode = wide_png.decode if kind == "png" else pillow.decode_image
        values = decode(data)
    return as_image(values, "an image", axes_known=kind == "tiff")


def _kind(path: str) -> str:
    with open(path, "rb") as file:
        return kind_of(file.read(wide_png.HEAD))


def _tiff_header(path: str, pages: str | None) -> Header:
    found = tiff.pages_of(path)
    if found.count > 1 and pages is None:
        raise ValueError(
            f"it has {found.count} pages: pages='channels' makes them channels "
            "of one image, pages='examples' images of their own"
        )
    joined = found.count if pages == CHANNELS else 1
    # Channels come last, whatever their number.
    form = form_of((*found.size, 1), found.dtype, "an image")
    form = form._replace(channels=joined * found.channels)
    return Header(form, found.size, found.count if pages == EXAMPLES else 1)


def _npy(path: str, mmap_mode: str | None = None) -> np.ndarray:
    try:
        return np.load(path, mmap_mode=mmap_mode, allow_pickle=False)
    except OSError:
        raise
    except Exception as error:
        raise ValueError(f"no .npy file of an image: {error}") from error
