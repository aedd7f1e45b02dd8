"""Files of images and masks to pixels, by Pillow: without TensorFlow.

With the meaning of `images`, which is TensorFlow's: the same formats, RGB of 8
bits, the upper 8 of 16, the first picture of an animation, no transparency,
turned as Exif data say. What cannot be decoded is an error. Both use the same
libraries beneath, and pixels are the same but where a build of one rounds
otherwise.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from PIL import Image

from keras_vicregl.data.decoding import exif
from keras_vicregl.views.keys import IMAGES, MASKS

_GRAY, _PALETTE = 0, 3  # colour types of PNG
# As much of a file as has the size and the orientation of its image.
_HEAD = 2**18
_PNG_END = b"IEND\xaeB`\x82"
_ORIENTATIONS = {
    "JPEG": exif.jpeg_orientation,
    "PNG": exif.png_orientation,
    "WEBP": exif.webp_orientation,
}

Note = Callable[[int], Any]


def decode_example(
    encoded: Mapping[str, Any],
    mask_labels: np.ndarray | None = None,
    note_dark: Note | None = None,
) -> dict[str, Any]:
    """An example whose image, and mask if it has one, are no longer files.

    Args:
        encoded: Dictionary with the contents of files, bytes, under `"images"`
            and perhaps `"segmentation_masks"`.
        mask_labels: See `decode_mask`.
        note_dark: See `decode_image`.

    Returns:
        The dictionary with `"images"` (H, W, 3) and `"segmentation_masks"`
        (H, W, 1), both uint8.

    Raises:
        ValueError: If they cannot be decoded, or differ in height or width.
    """
    image = decode_image(encoded[IMAGES], note_dark)
    example = {**encoded, IMAGES: image}
    if MASKS in encoded:
        mask = decode_mask(encoded[MASKS], mask_labels)
        check_size(mask, image)
        example[MASKS] = mask
    return example


def check_size(mask: np.ndarray, image: np.ndarray) -> None:
    """Raises a ValueError unless a mask has the size of its image."""
    if mask.shape[:2] != image.shape[:2]:
        raise ValueError(
            f"the mask is {mask.shape[0]} x {mask.shape[1]} pixels, its "
            f"image {image.shape[0]} x {image.shape[1]}"
        )


def decode_image(data: bytes, note_dark: Note | None = None) -> np.ndarray:
    """Pixels of an image file, turned as its Exif orientation says.

    Args:
        data: The contents of the file.
        note_dark: Called for a PNG file of 16 bits a channel of which the upper
            half of the range is not used, with its largest value (of colours,
            the largest that it may be: Pillow has their upper 8 bits only).

    Returns:
        (H, W, 3) uint8.

    Raises:
        ValueError: If it is no image, or damaged.
    """
    kind = _kind(data)
    image = opened(data, kind)
    is_wide = kind == "PNG" and data[24:25] == b"\x10"
    if is_wide and image.mode.startswith("I"):
        wide = _pixels(image).astype(np.uint16)
        pixels = np.repeat((wide >> 8).astype(np.uint8)[..., None], 3, axis=2)
        largest = int(wide.max(initial=0))
    else:
        pixels = _pixels(image, "RGB")
        largest = 256 * int(pixels.max(initial=0)) + 255 if is_wide else 0
    if is_wide and note_dark is not None and 0 < largest < 2**15:
        note_dark(largest)
    return _turned(pixels, data, kind)


def decode_mask(
    data: bytes, mask_labels: np.ndarray | None = None
) -> np.ndarray:
    """Classes of a segmentation mask, turned as its orientation says.

    Args:
        data: The contents of a PNG file of one channel, or of one with a
            palette, whose indices are then the classes (as in PASCAL VOC).
        mask_labels: (256,) uint8: what each class becomes. None: itself.

    Returns:
        (H, W, 1) uint8.

    Raises:
        ValueError: If it is no such file, or damaged.
    """
    if not data.startswith(b"\x89PNG\r\n\x1a\n"):
        raise ValueError(
            "a segmentation mask must be a PNG file: in those of other kinds "
            "classes may have changed"
        )
    depth, color_type = data[24:25], data[25:26]
    if color_type not in (bytes([_GRAY]), bytes([_PALETTE])):
        raise ValueError(
            "a segmentation mask must have one channel or a palette, whose "
            "numbers are the classes, not colours or transparency"
        )
    image = opened(data, "PNG")
    mask = _pixels(image)
    if image.mode == "L" and depth[0] < 8:
        # Pillow has spread classes of fewer bits over 0..255.
        mask = mask // (255 // (2 ** depth[0] - 1))
    if mask.max(initial=0) > 255:
        raise ValueError(
            f"the classes of a mask must be <= 255; they go up to {mask.max()}"
        )
    mask = mask.astype(np.uint8)
    if mask_labels is not None:
        mask = mask_labels[mask]
    return _turned(mask[..., None], data, "PNG")


def size_of(file: str | os.PathLike | bytes) -> tuple[int, int] | None:
    """Height and width of an image, from the first bytes of its file.

    Args:
        file: Its path, or its contents.

    Returns:
        A pair, of the image turned as its orientation says; None where these
        bytes do not tell.
    """
    try:
        if isinstance(file, bytes):
            data = file
        else:
            with open(file, "rb") as opened:
                data = opened.read(_HEAD)
        kind = _kind(data)
        with _begun(data, kind) as image:
            width, height = image.size
    except (OSError, ValueError, SyntaxError):
        return None
    if kind in _ORIENTATIONS and _ORIENTATIONS[kind](data) >= 5:
        return width, height
    return height, width


def _kind(data: bytes) -> str:
    """Pillow's name of a format that can be decoded."""
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if data.startswith(b"GIF8"):
        return "GIF"
    if data.startswith(b"BM"):
        return "BMP"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "WEBP"
    raise ValueError("not a JPEG, PNG, GIF, BMP or WebP file")


def opened(
    data: bytes,
    kind: str,
    before: Callable[[Image.Image], None] | None = None,
) -> Image.Image:
    """Pillow's image of a file, with its pixels.

    Args:
        data: Contents of the file.
        kind: Pillow's name of its format.
        before: What is to be told the image before it is decoded.

    Raises:
        ValueError: If it is damaged.
    """
    # What Pillow takes, and TensorFlow does not.
    if kind == "BMP" and data[30:34] != bytes(4):
        raise ValueError("a compressed BMP file")
    if kind == "PNG" and _PNG_END not in data:
        raise ValueError("a damaged PNG file: its end is missing")
    try:
        image = _begun(data, kind)
        if before is not None:
            before(image)
        image.load()
    except SyntaxError:
        # Pillow's way to say that it is none.
        raise ValueError(f"a damaged {kind} file") from None
    except Exception as error:
        # Of damaged files nearly any: struct.error, zlib.error, IndexError ...
        raise ValueError(f"a damaged {kind} file: {error}") from error
    return image


def _begun(data: bytes, kind: str) -> Image.Image:
    """Pillow's image of a file, without its pixels.

    `Image.open` refuses images of more than 179 megapixels, and warns of half
    as many: it guards servers. Those here are the user's own.
    """
    if kind not in Image.OPEN:
        Image.init()
    return Image.OPEN[kind][0](io.BytesIO(data), "")


def _pixels(image: Image.Image, mode: str | None = None) -> np.ndarray:
    if mode is not None and image.mode != mode:
        image = image.convert(mode)
    return np.asarray(image)


def _turned(pixels: np.ndarray, data: bytes, kind: str) -> np.ndarray:
    find = _ORIENTATIONS.get(kind)
    return pixels if find is None else exif.turned(pixels, find(data))
