"""The orientation that cameras write into files (Exif), in TensorFlow.

A picture taken with the camera turned is stored as the sensor saw it, with a
number from 1 to 8 that tells how to turn it. No library is called and no Python
is run for an image: a few bytes are looked at, and of most files that is all.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

from keras_vicregl._tensorflow import tf

_TAG = 0x0112
_NOT_FOUND = -1

# What a part of a file is, from its first bytes and its place: whether it is
# the one wanted, whether that may still follow, where this one's data begin,
# and where the next part.
_Part = Callable[[tf.Tensor, tf.Tensor], tuple]


def set_apart(
    function: Callable[[tf.Tensor], tf.Tensor],
) -> Callable[[tf.Tensor], tf.Tensor]:
    """For what few files need: `function`, but as one operation in a graph.

    Written into the graph that all files go through, it would cost all of them:
    the operations of a branch that is not taken are gone through too.
    """
    apart = tf.function(
        function,
        autograph=False,
        input_signature=[tf.TensorSpec((), tf.string)],
        experimental_attributes={"_noinline": True},
    )

    @functools.wraps(function)
    def call(data: tf.Tensor) -> tf.Tensor:
        return (function if tf.executing_eagerly() else apart)(data)

    return call


def jpeg_orientation(data: tf.Tensor) -> tf.Tensor:
    """Orientation of a JPEG file.

    Args:
        data: Scalar string, the contents of the file.

    Returns:
        Scalar int32, 1 to 8; 1, as it should be shown, where the file does not
        tell (well).
    """
    return tf.cond(
        _has_no_exif(data),
        lambda: tf.constant(1),
        lambda: _jpeg_orientation(data),
    )


@set_apart
def _jpeg_orientation(data: tf.Tensor) -> tf.Tensor:
    return _orientation_at(data, _find(data, 2, _jpeg_part))


def png_orientation(data: tf.Tensor) -> tf.Tensor:
    """Orientation of a PNG file, as `jpeg_orientation`."""
    return _orientation_at(data, png_chunk(data, b"eXIf"))


def png_chunk(data: tf.Tensor, name: bytes) -> tf.Tensor:
    """Where the data of a chunk of a PNG file begin.

    Args:
        data: Scalar string, the contents of the file.
        name: Of `IDAT`, the pixels, or of a chunk that comes before it.

    Returns:
        Scalar int32, below 0 where there is no such chunk.
    """

    def part(head: tf.Tensor, place: tf.Tensor) -> tuple:
        last = spells(head[4:8], b"IDAT") | spells(head[4:8], b"IEND")
        following = _beyond(place, number(head[:4], little=False), 12)
        return spells(head[4:8], name), ~last, place + 8, following

    return _find(data, 8, part)


def webp_orientation(data: tf.Tensor) -> tf.Tensor:
    """Orientation of a WebP file, as `jpeg_orientation`."""
    return _orientation_at(data, _find(data, 12, _webp_part))


def turned(image: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """An image (H, W, C) the way its orientation says that it is to be shown.

    Args:
        image: As stored.
        orientation: Scalar int32, 1 to 8.

    Returns:
        (H, W, C), or (W, H, C) for an orientation of 5 to 8.
    """

    def is_one_of(*numbers: int) -> tf.Tensor:
        return tf.reduce_any(orientation == tf.constant(numbers))

    def turn() -> tf.Tensor:
        upright = tf.cond(
            orientation >= 5,
            lambda: tf.transpose(image, (1, 0, 2)),
            lambda: image,
        )
        # The old operation takes a boolean an axis, which can be a tensor.
        return tf.raw_ops.Reverse(
            tensor=upright,
            dims=tf.stack(
                [is_one_of(3, 4, 7, 8), is_one_of(2, 3, 6, 7), False]
            ),
        )

    return tf.cond(orientation == 1, lambda: image, turn)


def bytes_at(data: tf.Tensor, start: tf.Tensor | int, count: int) -> tf.Tensor:
    """Bytes (count,) int32 of a string, zeros beyond its end."""
    start = tf.clip_by_value(start, 0, tf.strings.length(data))
    found = tf.strings.substr(data, start, count)
    found = tf.io.decode_raw(found + b"\0" * count, tf.uint8)[:count]
    return tf.cast(tf.ensure_shape(found, (count,)), tf.int32)


def spells(characters: tf.Tensor, word: bytes) -> tf.Tensor:
    """Whether bytes, as `bytes_at` returns them, are those of `word`."""
    return tf.reduce_all(characters == tf.constant(list(word)))


def number(digits: tf.Tensor, *, little: tf.Tensor | bool) -> tf.Tensor:
    """Whole number (...) int32 of two or four bytes (..., 2) or (..., 4).

    Numbers that do not fit are cut off at 2^31 - 1, beyond the end of any file
    there may be in a string here.
    """
    digits = tf.cast(digits, tf.int64)
    digits = tf.where(little, tf.reverse(digits, [-1]), digits)
    powers = [256**i for i in reversed(range(digits.shape[-1]))]
    value = tf.reduce_sum(digits * tf.constant(powers, tf.int64), -1)
    return tf.cast(tf.minimum(value, 2**31 - 1), tf.int32)


def _find(data: tf.Tensor, start: int, part: _Part) -> tf.Tensor:
    """Where the data of the wanted part begin, or below 0 if it is missing."""
    length = tf.strings.length(data)

    def look(place: tf.Tensor, found: tf.Tensor) -> tuple:
        is_it, goes_on, begin, following = part(
            bytes_at(data, place, 10), place
        )
        found = tf.where(is_it, begin, _NOT_FOUND)
        return tf.where(goes_on & ~is_it, following, length), found

    _, found = tf.while_loop(
        lambda place, found: (found < 0) & (place < length),
        look,
        (tf.constant(start), tf.constant(_NOT_FOUND)),
    )
    return found


def _has_no_exif(data: tf.Tensor) -> tf.Tensor:
    """Whether a JPEG file shows at a glance that it has no Exif data.

    Most files do, and to walk through the others' parts takes a third of the
    time that it takes to decode a small image.
    """
    head = tf.strings.substr(data, 0, 24) + b"\0" * 24

    def quantization_at(place: int) -> tf.Tensor:
        return tf.strings.substr(head, place, 2) == b"\xff\xdb"

    # What follows the start, or JFIF data of the usual length.
    jfif = tf.strings.substr(head, 2, 4) == b"\xff\xe0\0\x10"
    return quantization_at(2) | (jfif & quantization_at(20))


def _jpeg_part(head: tf.Tensor, place: tf.Tensor) -> tuple:
    marker = head[1]
    is_exif = (marker == 0xE1) & spells(head[4:10], b"Exif\0\0")
    # Application data and comments: they come before all else.
    goes_on = (head[0] == 0xFF) & (
        ((marker >= 0xE0) & (marker <= 0xEF)) | (marker == 0xFE)
    )
    following = place + 2 + tf.maximum(number(head[2:4], little=False), 2)
    return is_exif & goes_on, goes_on, place + 10, following


def _webp_part(head: tf.Tensor, place: tf.Tensor) -> tuple:
    size = number(head[4:8], little=True)
    following = _beyond(place, size, 8 + size % 2)
    return spells(head[:4], b"EXIF"), True, place + 8, following


def _beyond(
    place: tf.Tensor, size: tf.Tensor, rest: tf.Tensor | int
) -> tf.Tensor:
    """The sum, or the largest number that there is."""
    most = 2**31 - 1
    return place + tf.minimum(size, most - place - rest) + rest


def _orientation_at(data: tf.Tensor, begin: tf.Tensor) -> tf.Tensor:
    def read() -> tf.Tensor:
        # Some writers put JPEG's marker before the data of other formats too.
        marked = spells(bytes_at(data, begin, 6), b"Exif\0\0")
        tiff = tf.strings.substr(data, begin + tf.where(marked, 6, 0), 65536)
        little = spells(bytes_at(tiff, 0, 2), b"II")
        table = number(bytes_at(tiff, 4, 4), little=little)
        count = number(bytes_at(tiff, table, 2), little=little)
        table = tf.minimum(table, tf.strings.length(tiff) - 2) + 2
        return _entry(tiff, table, count, little)

    return tf.cond(begin < 0, lambda: tf.constant(1), read)


def _entry(
    tiff: tf.Tensor, table: tf.Tensor, count: tf.Tensor, little: tf.Tensor
) -> tf.Tensor:
    """The orientation in a table of `count` entries of 12 bytes."""
    count = tf.minimum(count, (tf.strings.length(tiff) - table) // 12)
    entries = tf.strings.substr(tiff, table, 12 * count)
    entries = tf.reshape(tf.io.decode_raw(entries, tf.uint8), (-1, 12))
    is_orientation = number(entries[:, :2], little=little) == _TAG
    values = number(entries[:, 8:10], little=little)
    value = tf.reduce_max(tf.where(is_orientation, values, 0))
    return tf.where((value >= 1) & (value <= 8), value, 1)
