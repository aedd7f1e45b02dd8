"""The orientation that cameras write into files (Exif), in TensorFlow.

A picture taken with the camera turned is stored as the sensor saw it, with a
number from 1 to 8 that tells how to turn it. Most JPEG files show at a glance
that they have none (`is_simple_jpeg`); for the others Python looks (`exif`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

from keras_vicregl._tensorflow import tf
from keras_vicregl.data.decoding import exif

_NOT_FOUND = -1
# How JPEG files begin whose next part is that of the quantization: at once, or
# after JFIF data of the usual length. None: any byte.
_BEGINNINGS = (
    [*b"\xff\xd8\xff\xdb", *[None] * 18],
    [*b"\xff\xd8\xff\xe0\0\x10", *[None] * 14, *b"\xff\xdb"],
)

# What a part of a file is, from its first bytes and its place: whether it is
# the one wanted, whether that may still follow, where this one's data begin,
# and where the next part.
_Part = Callable[[tf.Tensor, tf.Tensor], tuple]


def set_apart(
    function: Callable[[tf.Tensor], tuple[tf.Tensor, ...]],
) -> Callable[[tf.Tensor], tuple[tf.Tensor, ...]]:
    """For what few files need: `function`, but as one operation in a graph.

    Written into the graph that all files go through, it would cost all of them,
    and each iterator, which optimises all of its graph anew. Python calls it,
    so that it is traced once.

    Args:
        function: Of the contents of a file, a scalar string.
    """
    traced = tf.function(
        function,
        autograph=False,
        input_signature=[tf.TensorSpec((), tf.string)],
    )

    def call(data: bytes) -> list[np.ndarray]:
        try:
            # What calls this has no device of its own.
            with tf.device("cpu"):
                made = traced(tf.constant(data))
        except tf.errors.OpError as error:
            raise ValueError(error.message) from error
        return [each.numpy() for each in made]

    @functools.wraps(function)
    def apart(data: tf.Tensor) -> tuple[tf.Tensor, ...]:
        if tf.executing_eagerly():
            return function(data)
        with tf.init_scope(), tf.device("cpu"):
            specs = traced.get_concrete_function().structured_outputs
        made = tf.numpy_function(
            call, [data], [spec.dtype for spec in specs], stateful=False
        )
        return tuple(
            tf.ensure_shape(each, spec.shape)
            for each, spec in zip(made, specs, strict=True)
        )

    return apart


def in_one(function: Callable[[], tf.Tensor]) -> Callable[[], tf.Tensor]:
    """A branch as one operation of a graph, whatever it takes from it.

    It is for what is seldom taken, and cheap enough for each iterator.
    """
    if tf.executing_eagerly():
        return function
    return tf.function(
        function,
        autograph=False,
        experimental_attributes={"_noinline": True},
    )


def is_simple_jpeg(data: tf.Tensor) -> tf.Tensor:
    """Whether a JPEG file shows at a glance that it is not to be turned.

    Most do, and to look further takes a part of the time of decoding.

    Args:
        data: Scalar string, the contents of the file.
    """
    head = tf.io.decode_raw(data, tf.uint8, fixed_length=len(_BEGINNINGS[0]))
    values = [[byte or 0 for byte in row] for row in _BEGINNINGS]
    is_any = [[byte is None for byte in row] for row in _BEGINNINGS]
    is_alike = (head == np.array(values, np.uint8)) | np.array(is_any)
    return tf.reduce_any(tf.reduce_all(is_alike, axis=1))


def jpeg_orientation(data: tf.Tensor) -> tf.Tensor:
    """Orientation of a JPEG file.

    Args:
        data: Scalar string, the contents of the file.

    Returns:
        Scalar int32, 1 to 8; 1, as it should be shown, where the file does not
        tell (well).
    """
    return _found(exif.jpeg_orientation, data)


def png_orientation(data: tf.Tensor) -> tf.Tensor:
    """Orientation of a PNG file, as `jpeg_orientation`."""
    return _found(exif.png_orientation, data)


def webp_orientation(data: tf.Tensor) -> tf.Tensor:
    """Orientation of a WebP file, as `jpeg_orientation`."""
    return _found(exif.webp_orientation, data)


def _found(find: Callable[[bytes], int], data: tf.Tensor) -> tf.Tensor:
    def call(data: bytes | np.ndarray) -> np.int32:
        # Outside of a graph it comes as an array of objects.
        return np.int32(find(getattr(data, "item", lambda: data)()))

    found = tf.numpy_function(call, [data], tf.int32, stateful=False)
    return tf.ensure_shape(found, ())


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


def _beyond(
    place: tf.Tensor, size: tf.Tensor, rest: tf.Tensor | int
) -> tf.Tensor:
    """The sum, or the largest number that there is."""
    most = 2**31 - 1
    return place + tf.minimum(size, most - place - rest) + rest
