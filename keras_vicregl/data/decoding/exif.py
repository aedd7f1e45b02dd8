"""The orientation that cameras write into files (Exif), in Python alone.

As `orientation` finds it in TensorFlow, byte by byte, so that no image stands
upright with one and on its head with the other. (Pillow looks into further
places, such as XMP.)
"""

from __future__ import annotations

from typing import Literal

import numpy as np

_TAG = 0x0112


def jpeg_orientation(data: bytes) -> int:
    """Orientation of a JPEG file.

    Args:
        data: Its contents, or as much as there is of them.

    Returns:
        1 to 8; 1, as it should be shown, where the file does not tell (well).
    """
    place = 2
    while place + 4 <= len(data):
        marker = data[place + 1]
        # Application data and comments: they come before all else.
        if data[place] != 0xFF or not (
            0xE0 <= marker <= 0xEF or marker == 0xFE
        ):
            return 1
        if marker == 0xE1 and data[place + 4 : place + 10] == b"Exif\0\0":
            return _orientation_at(data, place + 10)
        length = int.from_bytes(data[place + 2 : place + 4], "big")
        place += 2 + max(length, 2)
    return 1


def png_orientation(data: bytes) -> int:
    """Orientation of a PNG file, as `jpeg_orientation`."""
    place = 8
    while place < len(data):
        kind = data[place + 4 : place + 8]
        if kind == b"eXIf":
            return _orientation_at(data, place + 8)
        if kind in (b"IDAT", b"IEND"):
            return 1
        place += int.from_bytes(data[place : place + 4], "big") + 12
    return 1


def webp_orientation(data: bytes) -> int:
    """Orientation of a WebP file, as `jpeg_orientation`."""
    place = 12
    while place < len(data):
        if data[place : place + 4] == b"EXIF":
            return _orientation_at(data, place + 8)
        size = int.from_bytes(data[place + 4 : place + 8], "little")
        place += 8 + size + size % 2
    return 1


def turned(image: np.ndarray, orientation: int) -> np.ndarray:
    """An image (H, W, ...) the way its orientation says that it is to be shown.

    Args:
        image: As stored.
        orientation: 1 to 8.

    Returns:
        A view of it, (H, W, ...), or (W, H, ...) for an orientation of 5 to 8.
    """
    if orientation >= 5:
        image = image.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return image


def _orientation_at(data: bytes, begin: int) -> int:
    # Some writers put JPEG's marker before the data of other formats too.
    if data[begin : begin + 6] == b"Exif\0\0":
        begin += 6
    tiff = data[begin : begin + 65536]
    order: Literal["little", "big"] = "little" if tiff[:2] == b"II" else "big"
    table = int.from_bytes(tiff[4:8], order)
    count = int.from_bytes(tiff[table : table + 2], order)
    table += 2
    count = min(count, max(len(tiff) - table, 0) // 12)
    found = 0
    for entry in range(table, table + 12 * count, 12):
        if int.from_bytes(tiff[entry : entry + 2], order) == _TAG:
            found = max(
                found, int.from_bytes(tiff[entry + 8 : entry + 10], order)
            )
    return found if 1 <= found <= 8 else 1
