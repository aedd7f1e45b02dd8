"""Files of images as they come, written by Pillow, and read by it."""

import io
import struct

import numpy as np
from PIL import Image

SIZE = (24, 31)  # height and width; odd, and in no two axes alike


def picture(height=SIZE[0], width=SIZE[1], seed=0):
    """Smooth random colours, (height, width, 3) uint8."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (5, 6, 3), dtype=np.uint8))
    return np.asarray(small.resize((width, height), Image.Resampling.BICUBIC))


def encoded(image, kind="PNG", **options):
    """The contents of a file of an array or a Pillow image."""
    if not isinstance(image, Image.Image):
        image = Image.fromarray(image)
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def as_pillow_sees(data):
    """RGB pixels of a file, (H, W, 3) uint8, turned as its Exif data say."""
    from PIL import ImageOps

    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    return np.asarray(image.convert("RGB"))


def exif(orientation, order="<"):
    """Exif data with an orientation between two other entries."""
    entries = [
        (0x010F, 2, 4, b"abc\0"),
        (0x0112, 3, 1, None),
        (0x0128, 3, 1, None),
    ]
    table = struct.pack(order + "H", len(entries))
    for tag, kind, count, value in entries:
        number = orientation if tag == 0x0112 else 2
        value = value or struct.pack(order + "HH", number, 0)
        table += struct.pack(order + "HHI", tag, kind, count) + value
    magic = {"<": b"II", ">": b"MM"}[order] + struct.pack(order + "HI", 42, 8)
    return b"Exif\0\0" + magic + table + struct.pack(order + "I", 0)
