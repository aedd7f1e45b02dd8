"""Colour and blur on batches of planar pixels, (N, C, height, width).

One plane a channel: sums over channels, blends and row operations then run over
contiguous memory, which is several times faster in TensorFlow than with the
channels last. Pixels are float32 in [0, 255], parameters (N,), one an image.
"""

from keras_vicregl._tensorflow import tf
from keras_vicregl.views.drawing.color_matrix import LUMINANCE
from keras_vicregl.views.pixels.tensors import apply_to, shape_of
from keras_vicregl.views.pixels.tracing import traced

BRIGHTNESS, CONTRAST, SATURATION = range(3)

_BLUR_ROWS = 32


def to_planar(images: tf.Tensor) -> tf.Tensor:
    """Pixels (N, C, H, W) of images (N, H, W, C)."""
    batch, height, width, channels = shape_of(images)
    # As matrices: TensorFlow's transposition of rank 3 is the faster one.
    planar = tf.transpose(
        tf.reshape(images, [batch, height * width, channels]), [0, 2, 1]
    )
    return tf.reshape(planar, [batch, channels, height, width])


def to_channels_last(pixels: tf.Tensor) -> tf.Tensor:
    """Images (N, H, W, C) of pixels (N, C, H, W)."""
    batch, channels, height, width = shape_of(pixels)
    images = tf.transpose(
        tf.reshape(pixels, [batch, channels, height * width]), [0, 2, 1]
    )
    return tf.reshape(images, [batch, height, width, channels])


def luminance(pixels: tf.Tensor) -> tf.Tensor:
    """Grey values (N, H, W)."""
    red, green, blue = tf.unstack(pixels, axis=1)
    to_red, to_green, to_blue = LUMINANCE
    return to_red * red + to_green * green + to_blue * blue


def grayscale(pixels: tf.Tensor) -> tf.Tensor:
    """Grey values in all three channels."""
    return tf.tile(luminance(pixels)[:, None], [1, 3, 1, 1])


def jitter(
    pixels: tf.Tensor,
    factors: tf.Tensor,
    shift: tf.Tensor | None,
    ranks: tf.Tensor,
) -> tf.Tensor:
    """Change brightness, contrast, saturation and hue, in each image's order.

    Args:
        pixels: (N, C, H, W).
        factors: (N, 3), of brightness, contrast and saturation.
        shift: (N,), of the hue, in turns; None leaves the hue alone. RGB only.
        ranks: (N, 4), numbers whose order is that of the four.

    Returns:
        (N, C, H, W) in [0, 255].
    """
    return _jitter(pixels, factors, shift, ranks, pixels.shape[1])


@traced
def _jitter(
    pixels: tf.Tensor,
    factors: tf.Tensor,
    shift: tf.Tensor | None,
    ranks: tf.Tensor,
    channels: int,
) -> tf.Tensor:
    # What is traced for one number of channels is for no other.
    pixels = tf.ensure_shape(pixels, (None, channels, None, None))
    order = tf.argsort(ranks[:, :3], axis=1)
    factors = tf.gather(factors, order, batch_dims=1)
    blends_before_hue = tf.reduce_sum(
        tf.cast(ranks[:, :3] < ranks[:, 3:], tf.int32), axis=1
    )
    for step in range(4):
        if shift is not None:
            now = tf.equal(blends_before_hue, step)
            pixels = apply_to(shift_hue, now, pixels, shift)
        if step < 3:
            pixels = blend(pixels, factors[:, step], order[:, step])
    return pixels


def blend(
    pixels: tf.Tensor, factor: tf.Tensor, operation: tf.Tensor
) -> tf.Tensor:
    """Change brightness, contrast or saturation, one of them an image.

    Each is a blend, factor * pixels + (1 - factor) * other, clipped: the other
    is black for brightness, the mean of the grey values for contrast, and the
    grey values themselves for saturation. Of other channels than RGB contrast
    blends with the mean of each, and saturation changes nothing.

    Args:
        pixels: (N, C, H, W).
        factor: (N,), at least 0; 1 changes nothing.
        operation: (N,) integers: BRIGHTNESS, CONTRAST or SATURATION.

    Returns:
        (N, C, H, W) in [0, 255].
    """
    if pixels.shape[1] != 3:
        return _blend_channels(pixels, factor, operation)
    gray = luminance(pixels)
    mean = tf.reduce_mean(gray, axis=[1, 2], keepdims=True)

    def weight_of(other: int) -> tf.Tensor:
        chosen = tf.cast(tf.equal(operation, other), tf.float32)
        return ((1.0 - factor) * chosen)[:, None, None]

    other = weight_of(SATURATION) * gray + weight_of(CONTRAST) * mean
    blended = factor[:, None, None, None] * pixels + other[:, None]
    return tf.clip_by_value(blended, 0.0, 255.0)


def _blend_channels(
    pixels: tf.Tensor, factor: tf.Tensor, operation: tf.Tensor
) -> tf.Tensor:
    factor = tf.where(operation == SATURATION, 1.0, factor)[:, None, None, None]
    mean = tf.reduce_mean(pixels, axis=[2, 3], keepdims=True)
    contrast = tf.cast(tf.equal(operation, CONTRAST), tf.float32)
    other = contrast[:, None, None, None] * mean
    return tf.clip_by_value(
        factor * pixels + (1.0 - factor) * other, 0.0, 255.0
    )


@traced
def shift_hue(pixels: tf.Tensor, shift: tf.Tensor) -> tf.Tensor:
    """Turn the hue in HSV space; value and saturation stay.

    Args:
        pixels: (N, 3, H, W).
        shift: (N,), in turns.

    Returns:
        (N, 3, H, W).
    """
    red, green, blue = tf.unstack(pixels, axis=1)
    value = tf.maximum(tf.maximum(red, green), blue)
    chroma = value - tf.minimum(tf.minimum(red, green), blue)
    # Grey has no hue: any number will do, as it is multiplied by chroma.
    per_chroma = 1.0 / tf.maximum(chroma, 1e-12)
    hue = tf.where(
        tf.equal(value, red),
        (green - blue) * per_chroma,
        tf.where(
            tf.equal(value, green),
            2.0 + (blue - red) * per_chroma,
            4.0 + (red - green) * per_chroma,
        ),
    )
    hue += 6.0 * shift[:, None, None]

    def channel(peak: float) -> tf.Tensor:
        # Distance from the hue opposite to the channel's own, in sixths of a
        # turn. tf.math.floormod is five times slower.
        sixths = hue + peak
        sixths -= 6.0 * tf.floor(sixths / 6.0)
        ramp = tf.minimum(sixths, 4.0 - sixths)
        return value - chroma * tf.clip_by_value(ramp, 0.0, 1.0)

    return tf.stack([channel(5.0), channel(3.0), channel(1.0)], axis=1)


def solarize(pixels: tf.Tensor, threshold: float) -> tf.Tensor:
    """Invert the values from `threshold` on."""
    return tf.where(pixels < threshold, pixels, 255.0 - pixels)


@traced
def gaussian_blur(
    pixels: tf.Tensor, sigma: tf.Tensor, radius: int
) -> tf.Tensor:
    """Blur with a Gaussian; the image goes on beyond its edges unchanged.

    Args:
        pixels: (N, C, H, W).
        sigma: (N,), standard deviations in pixels, positive.
        radius: taps on either side.

    Returns:
        (N, C, H, W).
    """
    batch, channels, height, width = shape_of(pixels)
    sigma = sigma[:, None]
    planes = tf.reshape(pixels, [batch, channels, height, width])
    for rows, columns in ((height, width), (width, height)):
        # Blurs along the rows, then swaps them with the columns.
        planes = _blur_rows(planes, sigma, radius)
        planes = tf.reshape(planes, [batch * channels, rows, columns])
        planes = tf.transpose(planes, [0, 2, 1])
        planes = tf.reshape(planes, [batch, channels, columns, rows])
    return planes


def _blur_rows(planes: tf.Tensor, sigma: tf.Tensor, radius: int) -> tf.Tensor:
    # One banded matrix an image, the same for every block of rows: as fast as a
    # matmul, without the zeros of one band matrix for the whole height.
    batch, channels, height, width = shape_of(planes)
    blocks = -(-height // _BLUR_ROWS)
    row = tf.range(_BLUR_ROWS)
    tap = tf.range(_BLUR_ROWS + 2 * radius)
    distance = tf.abs(tap - radius - row[:, None])
    offsets = tf.range(radius + 1, dtype=tf.float32)
    weights = tf.exp(-0.5 * tf.square(offsets / sigma))
    total = 2.0 * tf.reduce_sum(weights, axis=1, keepdims=True) - 1.0
    weights = tf.pad(weights / total, [[0, 0], [0, 1]])
    band = tf.gather(weights, tf.minimum(distance, radius + 1), axis=1)
    source = tf.range(blocks)[:, None] * _BLUR_ROWS + tap - radius
    source = tf.clip_by_value(source, 0, height - 1)
    framed = tf.gather(planes, source, axis=2)
    blurred = tf.matmul(band[:, None, None], framed)
    blurred = tf.reshape(blurred, [batch, channels, blocks * _BLUR_ROWS, width])
    return blurred[:, :, :height]
