"""Files of images and masks to pixels, by TensorFlow alone.

JPEG, PNG, GIF, BMP and WebP. Grayscale, palettes, CMYK and 16 bits a channel
become RGB of 8 bits, of an animation there is the first picture, and
transparency is dropped, as Pillow's `convert("RGB")` does. What cannot be
decoded is an error of the operation.

All operations of a graph cost time for each image, those of a branch that is
not taken too, and for each epoch, since an iterator optimises its graph anew.
So there are few: a JPEG file that is as most are goes through eight, and what
is not JPEG through a function that Python calls and keeps (`set_apart`).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

from keras_vicregl._tensorflow import tf
from keras_vicregl.data.boxes import BOXES, unpacked
from keras_vicregl.data.decoding.orientation import (
    bytes_at,
    in_one,
    is_simple_jpeg,
    jpeg_orientation,
    number,
    png_chunk,
    png_orientation,
    set_apart,
    spells,
    turned,
    webp_orientation,
)
from keras_vicregl.views.keys import IMAGES, MASKS

_PALETTE = 3  # colour type of PNG
_GRAY = 0

Note = Callable[[tf.Tensor], tf.Tensor]


def decode_example(
    encoded: dict[str, Any],
    mask_labels: np.ndarray | None = None,
    note_dark: Note | None = None,
) -> dict[str, tf.Tensor]:
    """An example whose image, and mask if it has one, are no longer files.

    Args:
        encoded: Dictionary with scalar strings, the contents of files, under
            `"images"` and perhaps `"segmentation_masks"`, and under `"boxes"`
            what `data.boxes.packed` makes.
        mask_labels: See `decode_mask`.
        note_dark: See `decode_image`.

    Returns:
        The dictionary with `"images"` (H, W, 3) and `"segmentation_masks"`
        (H, W, 1), both uint8, and what `data.boxes.unpacked` returns.

    Raises:
        tf.errors.InvalidArgumentError: If they cannot be decoded, or differ in
            height or width.
    """
    image = decode_image(encoded[IMAGES], note_dark)
    size = tf.shape(image)[:2]
    example = {**encoded, IMAGES: image}
    if MASKS in encoded:
        mask = decode_mask(encoded[MASKS], mask_labels)
        example[MASKS] = of_size(mask, size)
    if BOXES in encoded:
        example |= unpacked(encoded[BOXES], size)
    return example


def of_size(mask: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """A mask (H, W, 1), or an error if `size` is not its height and width."""
    words = tf.strings.reduce_join(
        tf.as_string(tf.stack([tf.shape(mask)[:2], size])),
        axis=1,
        separator=" x ",
    )
    return check(
        tf.reduce_all(tf.shape(mask)[:2] == size),
        "the mask is " + words[0] + " pixels, its image " + words[1],
        mask,
    )


def decode_image(data: tf.Tensor, note_dark: Note | None = None) -> tf.Tensor:
    """Pixels of an image file, turned as its Exif orientation says.

    Args:
        data: Scalar string, the contents of the file.
        note_dark: Called, and the operation that it returns run, for a file of
            16 bits a channel of which the upper half of the range is not used,
            with its largest value: of what the lower bits tell little is left
            in 8 bits.

    Returns:
        (H, W, 3) uint8.

    Raises:
        tf.errors.InvalidArgumentError: If it is no image, or damaged.
    """

    def other() -> tf.Tensor:
        image, largest = _decode_other(data)
        if note_dark is None:
            return image
        is_dark = (largest > 0) & (largest < 2**15)
        noted = tf.cond(
            is_dark, lambda: note_dark(largest), lambda: tf.zeros((), tf.int64)
        )
        with tf.control_dependencies([noted]):
            return tf.identity(image)

    def seldom() -> tf.Tensor:
        return tf.cond(_is_jpeg(data), lambda: _decode_any_jpeg(data), other)

    image = tf.cond(
        is_simple_jpeg(data),
        lambda: _decode_jpeg(data),
        in_one(seldom),
    )
    return tf.ensure_shape(image, (None, None, 3))


def decode_mask(
    data: tf.Tensor, mask_labels: np.ndarray | None = None
) -> tf.Tensor:
    """Classes of a segmentation mask, turned as its orientation says.

    Args:
        data: Scalar string, the contents of a PNG file of one channel, or of
            one with a palette, whose indices are then the classes (as in
            PASCAL VOC).
        mask_labels: (256,) uint8: what each class becomes. None: itself.

    Returns:
        (H, W, 1) uint8.

    Raises:
        tf.errors.InvalidArgumentError: If it is no such file, or damaged.
    """
    data = check(_is_png(data), "a segmentation mask must be a PNG file", data)
    depth, color_type = tf.unstack(bytes_at(data, 24, 2))
    pixels = check(
        (color_type == _GRAY) | (color_type == _PALETTE),
        "a segmentation mask must have one channel or a palette, not colours",
        tf.cond(
            color_type == _PALETTE, lambda: _palette_as_gray(data), lambda: data
        ),
    )
    mask = tf.cast(tf.io.decode_png(pixels, 1, tf.uint16), tf.int32)
    # Classes of fewer bits than 16 have been spread over 0..65535.
    mask //= 65535 // (tf.bitwise.left_shift(1, depth) - 1)
    mask = check(
        tf.reduce_max(mask) <= 255, "the classes of a mask must be <= 255", mask
    )
    if mask_labels is None:
        mask = tf.cast(mask, tf.uint8)
    else:
        mask = tf.gather(mask_labels, mask)
    return turned(mask, png_orientation(data))


def is_plain_jpeg(data: tf.Tensor) -> tf.Tensor:
    """Whether a file is a JPEG that is stored as it is to be shown."""
    return tf.cond(
        _is_jpeg(data),
        lambda: jpeg_orientation(data) == 1,
        lambda: tf.constant(False),
    )


def check(condition: tf.Tensor, message: Any, value: tf.Tensor) -> tf.Tensor:
    """`value`, or an error that says `message`."""
    if tf.executing_eagerly():
        if not condition:
            text = tf.constant(message).numpy().decode()
            raise tf.errors.InvalidArgumentError(None, None, text)
        return value
    with tf.control_dependencies([tf.debugging.Assert(condition, [message])]):
        return tf.identity(value)


def _decode_jpeg(data: tf.Tensor) -> tf.Tensor:
    # Not the default, "IFAST": that errs by up to 9 of 255.
    return tf.io.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE")


def _decode_any_jpeg(data: tf.Tensor) -> tf.Tensor:
    return turned(_decode_jpeg(data), jpeg_orientation(data))


@set_apart
def _decode_other(data: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Pixels, and the largest value of a PNG of 16 bits (of others -1)."""

    def png() -> tuple[tf.Tensor, tf.Tensor]:
        image, largest = tf.cond(
            bytes_at(data, 24, 1)[0] == 16, png_of_16_bits, png_of_8_bits
        )
        return turned(image, png_orientation(data)), largest

    def png_of_16_bits() -> tuple[tf.Tensor, tf.Tensor]:
        wide = tf.cast(tf.io.decode_png(data, 3, tf.uint16), tf.int32)
        return tf.cast(wide // 256, tf.uint8), tf.reduce_max(wide)

    def png_of_8_bits() -> tuple[tf.Tensor, tf.Tensor]:
        return tf.io.decode_png(data, channels=3), tf.constant(-1)

    def gif() -> tuple[tf.Tensor, tf.Tensor]:
        image = tf.io.decode_image(data, channels=3, expand_animations=False)
        return image, tf.constant(-1)

    def bmp() -> tuple[tf.Tensor, tf.Tensor]:
        return _decode_bmp(data), tf.constant(-1)

    def webp() -> tuple[tf.Tensor, tf.Tensor]:
        frames = tf.io.decode_webp(_safe_webp(data))
        image = turned(frames[0, :, :, :3], webp_orientation(data))
        return image, tf.constant(-1)

    def refused() -> tuple[tf.Tensor, tf.Tensor]:
        return _refuse(), tf.constant(-1)

    return tf.switch_case(_kind(data), [png, gif, bmp, webp, refused])


def _is_jpeg(data: tf.Tensor) -> tf.Tensor:
    return tf.strings.substr(data, 0, 3) == b"\xff\xd8\xff"


def _is_png(data: tf.Tensor) -> tf.Tensor:
    return tf.strings.substr(data, 0, 8) == b"\x89PNG\r\n\x1a\n"


def _kind(data: tf.Tensor) -> tf.Tensor:
    """Number of a kind: PNG, GIF, BMP, WebP or another."""
    head = bytes_at(data, 0, 12)
    signatures = [
        _is_png(data),
        spells(head[:4], b"GIF8"),
        spells(head[:2], b"BM"),
        spells(head[:4], b"RIFF") & spells(head[8:], b"WEBP"),
        True,
    ]
    return tf.argmax(tf.stack(signatures), output_type=tf.int32)


def _refuse() -> tf.Tensor:
    return check(
        tf.constant(False),
        "not a JPEG, PNG, GIF, BMP or WebP file",
        tf.zeros((0, 0, 3), tf.uint8),
    )


def _decode_bmp(data: tf.Tensor) -> tf.Tensor:
    image = tf.io.decode_bmp(data)
    header_size = number(bytes_at(data, 14, 4), little=True)
    bits = number(bytes_at(data, 28, 2), little=True)
    compression = number(bytes_at(data, 30, 4), little=True)
    # TensorFlow takes the bytes of compressed pixels for pixels.
    image = check(compression == 0, "a compressed BMP file", image)

    def look_up() -> tf.Tensor:
        begin = 14 + header_size
        first = number(bytes_at(data, 10, 4), little=True)
        entries = tf.strings.substr(data, begin, first - begin)
        palette = tf.reshape(tf.io.decode_raw(entries, tf.uint8), (-1, 4))
        # Blue, green, red and nothing.
        return tf.gather(palette[:, 2::-1], tf.cast(image[:, :, 0], tf.int32))

    return tf.cond(bits == 8, look_up, lambda: image[:, :, :3])


def _safe_webp(data: tf.Tensor) -> tf.Tensor:
    """The file with its animation declared to be transparent.

    TensorFlow 2.21 always decodes animations to four channels, but makes room
    for three where the file declares no transparency, and writes beyond it.
    """
    flags = bytes_at(data, 20, 1)
    is_animated = (flags[0] & 2 != 0) & spells(bytes_at(data, 12, 4), b"VP8X")
    return tf.cond(
        is_animated,
        lambda: _spliced(data, 20, _as_string(flags | 16), 21),
        lambda: data,
    )


def _palette_as_gray(data: tf.Tensor) -> tf.Tensor:
    """A PNG file without its palette, so that its pixels are the indices."""
    # A checksum is linear: what another colour type changes in it does not
    # depend on the rest of the header.
    headers = [b"IHDR" + bytes([*[0] * 9, kind, 0, 0, 0]) for kind in (0, 3)]
    change = zlib.crc32(headers[0]) ^ zlib.crc32(headers[1])
    checksum = bytes_at(data, 29, 4) ^ tf.constant(
        list(change.to_bytes(4, "big"))
    )
    header = tf.concat([[_GRAY], bytes_at(data, 26, 3), checksum], 0)
    # All between the header and the pixels tells of colours.
    pixels = tf.maximum(png_chunk(data, b"IDAT") - 8, 33)
    return _spliced(data, 25, _as_string(header), pixels)


def _as_string(characters: tf.Tensor) -> tf.Tensor:
    letters = tf.constant([bytes([i]) for i in range(256)])
    return tf.strings.reduce_join(tf.gather(letters, characters))


def _spliced(
    data: tf.Tensor, begin: int, middle: tf.Tensor, end: tf.Tensor | int
) -> tf.Tensor:
    """`data` with `middle` in the place of the bytes from `begin` to `end`."""
    length = tf.strings.length(data)
    head = tf.strings.substr(data, 0, begin)
    return (
        head + middle + tf.strings.substr(data, tf.minimum(end, length), length)
    )
