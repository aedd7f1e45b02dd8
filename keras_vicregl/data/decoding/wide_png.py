"""PNG files of 16 bits a channel, by Pillow, which alone would keep 8."""

from __future__ import annotations

import numpy as np
from PIL import Image

from keras_vicregl.data.decoding import exif, pillow

HEAD = 26
"""Bytes of a file that tell its size, depth and colour type."""

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_DEPTH, _COLOR_TYPE = 24, 25
# By colour type: channels without transparency, Pillow's mode, and as what it
# is told to take the bytes. Those of a colour come in two goes: the upper ones,
# and the lower ones. Of grey with transparency four bytes are four channels.
_COLORS = {
    0: (1, "I;16", ()),
    2: (3, "RGB", ("RGB;16B", "RGB;16L")),
    4: (1, "RGBA", ("RGBA",)),
    6: (3, "RGBA", ("RGBA;16B", "RGBA;16L")),
}


def is_wide(head: bytes) -> bool:
    """Whether a file that begins so is a PNG of 16 bits a channel."""
    return head.startswith(_SIGNATURE) and head[_DEPTH:_COLOR_TYPE] == b"\x10"


def channels_of(head: bytes) -> int:
    """1 of grey, 3 of colours; transparency is dropped."""
    return _color(head)[0]


def size_of(head: bytes) -> tuple[int, int]:
    """Height and width as stored."""
    width, height = (
        int.from_bytes(head[place : place + 4], "big") for place in (16, 20)
    )
    return height, width


def decode(data: bytes) -> np.ndarray:
    """Pixels of a file, turned as its Exif orientation says.

    Args:
        data: its contents.

    Returns:
        (H, W, 1 or 3) uint16.

    Raises:
        ValueError: if it is damaged, or none of 16 bits.
    """
    if not is_wide(data[:HEAD]):
        raise ValueError("not a PNG file of 16 bits a channel")
    channels, mode, raw_modes = _color(data)
    if not raw_modes:
        image = pillow.opened(data, "PNG")
        values = np.asarray(image).astype(np.uint16)[..., None]
    elif len(raw_modes) == 1:
        grey, _ = np.split(_bytes(data, mode, raw_modes[0]), 2, axis=-1)
        values = _joined(grey[..., :1], grey[..., 1:])
    else:
        upper, lower = (_bytes(data, mode, each) for each in raw_modes)
        values = _joined(upper[..., :3], lower[..., :3])
    return exif.turned(values[..., :channels], exif.png_orientation(data))


def _joined(upper: np.ndarray, lower: np.ndarray) -> np.ndarray:
    return upper.astype(np.uint16) << 8 | lower


def _bytes(data: bytes, mode: str, raw_mode: str) -> np.ndarray:
    """Bytes (H, W, 3 or 4) uint8, as a raw mode of Pillow's takes them."""

    def told(image: Image.Image) -> None:
        image._mode = mode
        image.tile = [each._replace(args=raw_mode) for each in image.tile]

    return np.asarray(pillow.opened(data, "PNG", told))


def _color(head: bytes) -> tuple[int, str, tuple[str, ...]]:
    color_type = head[_COLOR_TYPE]
    if color_type not in _COLORS:
        raise ValueError(f"a damaged PNG file: colour type {color_type}")
    return _COLORS[color_type]
