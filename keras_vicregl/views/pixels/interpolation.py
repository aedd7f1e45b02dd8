"""Which pixels of an image a pixel of its crop is made of, and how much."""

import math

from keras_vicregl._tensorflow import tf

_SUPPORT = {"bilinear": 1, "bicubic": 2}


def most_taps(
    length: int, out: int, interpolation: str, antialias: bool
) -> int:
    """Taps a pixel that suffice for any box of an axis of `length` pixels."""
    if interpolation == "nearest":
        return 1
    widening = max(length / out, 1.0) if antialias else 1.0
    # That many whole numbers at the most lie in the open interval that the
    # kernel covers.
    return math.ceil(2 * _SUPPORT[interpolation] * widening)


def taps(
    offset: tf.Tensor,
    side: tf.Tensor,
    flips: tf.Tensor,
    length: int,
    out: int,
    count: int,
    interpolation: str,
    antialias: bool,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Interpolation of boxes along one axis, as PIL resizes.

    Pixel i of `out` has its centre at (i + 1/2) side / out of the box. It is a
    weighted mean of the box's pixels around it; where the box becomes smaller
    and `antialias`, the kernel is as much wider.

    Args:
        offset: (B, n) float32, first pixel of the boxes.
        side: (B, n) float32, their lengths.
        flips: (B, n) float32, 1 where the result is mirrored.
        length: pixels of the images along the axis.
        out: pixels of the result.
        count: taps a pixel, T, see `most_taps`.
        interpolation: `"nearest"`, `"bilinear"` or `"bicubic"`.
        antialias: see above.

    Returns:
        (B, n, out, T) int32, indices of pixels of the image, and (B, n, out, T)
        float32, their weights, which sum to 1.
    """
    offset, side = offset[..., None], side[..., None]
    place = tf.range(out, dtype=tf.float32)
    flips = flips[..., None]
    place = flips * (out - 1.0 - place) + (1.0 - flips) * place
    if interpolation == "nearest":
        # The pixel that the middle of the result's pixel falls in, in whole
        # numbers.
        doubled = tf.cast((2.0 * place + 1.0), tf.int32)
        index = doubled * tf.cast(side, tf.int32) // (2 * out)
        index = (tf.cast(offset, tf.int32) + index)[..., None]
        return index, tf.ones_like(index, tf.float32)
    ratio = side / out
    widening = tf.maximum(ratio, 1.0) if antialias else tf.ones_like(ratio)
    center = (place + 0.5) * ratio
    reach = _SUPPORT[interpolation] * widening
    first = tf.floor(center - reach - 0.5) + 1.0
    tap = first[..., None] + tf.range(count, dtype=tf.float32)
    distance = tf.abs(tap + 0.5 - center[..., None]) / widening[..., None]
    weights = _KERNELS[interpolation](distance)
    inside = (tap >= 0.0) & (tap < side[..., None])
    weights = tf.where(inside, weights, 0.0)
    weights /= tf.reduce_sum(weights, axis=-1, keepdims=True)
    index = tf.cast(offset[..., None] + tap, tf.int32)
    return tf.clip_by_value(index, 0, length - 1), weights


def _triangle(distance: tf.Tensor) -> tf.Tensor:
    return tf.nn.relu(1.0 - distance)


def _cubic(distance: tf.Tensor) -> tf.Tensor:
    """Keys' kernel with a = -1/2."""
    far = tf.nn.relu(2.0 - distance)
    near = tf.nn.relu(1.0 - distance)
    return 0.5 * far * far * (far - 1.0) + near * near * (1.0 - 2.0 * near)


_KERNELS = {"bilinear": _triangle, "bicubic": _cubic}
