"""Boxes of images: their draws, and their pixels at another size.

A box is top, left, height and width in whole pixels, (B, 4) int32.
"""

import tensorflow as tf

from keras_vicregl.views._random import traced

# Numbers in [0, 1) that a box is drawn by: an area and an aspect ratio for each
# try, and a place.
TRIES = 10
DRAWS_PER_BOX = 2 * TRIES + 2


@traced
def sample_boxes(
    draws: tf.Tensor,
    size: tf.Tensor,
    scale: tf.Tensor,
    aspect_ratio: tf.Tensor,
) -> tf.Tensor:
    """Boxes as torchvision's RandomResizedCrop draws them.

    Args:
        draws: (B, DRAWS_PER_BOX) uniform in [0, 1).
        size: (2,) int32, height and width of the images.
        scale: (2,) float64, smallest and largest fraction of the area.
        aspect_ratio: (2,) float64, smallest and largest width / height.

    Returns:
        (B, 4) int32: top, left, height, width.
    """
    # float64, as torchvision computes: float32 rounds some sides otherwise.
    draws = tf.cast(draws, tf.float64)
    height, width = tf.unstack(tf.cast(size, tf.float64))
    low, high = tf.unstack(scale)
    area = height * width * (low + (high - low) * draws[:, :TRIES])
    low, high = tf.unstack(tf.math.log(aspect_ratio))
    ratio = tf.exp(low + (high - low) * draws[:, TRIES : 2 * TRIES])
    heights = tf.round(tf.sqrt(area / ratio))
    widths = tf.round(tf.sqrt(area * ratio))
    fits = (
        (heights >= 1) & (heights <= height) & (widths >= 1) & (widths <= width)
    )
    first = tf.argmax(fits, axis=1)
    found = tf.reduce_any(fits, axis=1)
    last_height, last_width = _largest_legal_box(height, width, aspect_ratio)
    box_height = tf.gather(heights, first, batch_dims=1)
    box_height = tf.where(found, box_height, last_height)
    box_width = tf.gather(widths, first, batch_dims=1)
    box_width = tf.where(found, box_width, last_width)
    room = tf.stack([height - box_height, width - box_width], axis=-1)
    anywhere = tf.floor(draws[:, 2 * TRIES :] * (room + 1.0))
    corner = tf.where(found[:, None], anywhere, tf.floor(room / 2.0))
    boxes = tf.concat([corner, box_height[:, None], box_width[:, None]], axis=1)
    return tf.cast(boxes, tf.int32)


def _largest_legal_box(
    height: tf.Tensor, width: tf.Tensor, aspect_ratio: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    narrowest, widest = tf.unstack(aspect_ratio)
    box_height = tf.minimum(height, tf.round(width / narrowest))
    box_width = tf.minimum(width, tf.round(height * widest))
    return tf.maximum(box_height, 1.0), tf.maximum(box_width, 1.0)


@traced
def resize_smoothly(
    images: tf.Tensor,
    boxes: tf.Tensor,
    flips: tf.Tensor,
    height: int,
    width: int,
    *,
    kernel: str,
    antialias: bool,
) -> tf.Tensor:
    """Resize a box of every image with a kernel, mirrored where asked.

    Image by image, since a box is then cut out before anything is computed and
    only the taps of the kernel are: for boxes of a 500 x 375 image this is
    several times faster than a batch of dense interpolation matrices.

    Args:
        images: (B, H, W, 3), uint8 or float32.
        boxes: (B, 4) int32: top, left, height, width.
        flips: (B,) boolean.
        height: rows of the result.
        width: columns of the result.
        kernel: of TensorFlow's ScaleAndTranslate.
        antialias: whether the kernel widens when a box is made smaller.

    Returns:
        (B, height, width, 3), float32 in [0, 255].
    """

    def resize_one(one: tuple[tf.Tensor, tf.Tensor, tf.Tensor]) -> tf.Tensor:
        image, box, flip = one
        top, left, box_height, box_width = tf.unstack(box)
        image = image[top : top + box_height, left : left + box_width]
        # The old operation takes a boolean an axis, which can be a tensor.
        image = tf.raw_ops.Reverse(
            tensor=image, dims=tf.stack([False, flip, False])
        )
        size = tf.constant([height, width])
        resized = tf.raw_ops.ScaleAndTranslate(
            images=image[None],
            size=size,
            scale=tf.cast(size, tf.float32) / tf.cast(box[2:], tf.float32),
            translation=tf.zeros(2),
            kernel_type=kernel,
            antialias=antialias,
        )
        # The cubic kernel overshoots at edges.
        return tf.clip_by_value(resized[0], 0.0, 255.0)

    if images.shape[0] == 1:
        return resize_one((images[0], boxes[0], flips[0]))[None]
    return tf.map_fn(
        resize_one,
        (images, boxes, flips),
        fn_output_signature=tf.TensorSpec((height, width, 3), tf.float32),
    )


def resize_nearest(
    values: tf.Tensor,
    boxes: tf.Tensor,
    flips: tf.Tensor,
    height: int,
    width: int,
) -> tf.Tensor:
    """Resize a box of every image to its nearest pixels, mirrored where asked.

    Args:
        values: (B, H, W, C), of any dtype.
        boxes: (B, 4) int32: top, left, height, width.
        flips: (B,) boolean.
        height: rows of the result.
        width: columns of the result.

    Returns:
        (B, height, width, C), of the dtype of `values`.
    """
    top, left, box_height, box_width = tf.unstack(boxes[:, :, None], axis=1)
    row = tf.range(height)
    column = tf.range(width)
    column = tf.where(flips[:, None], width - 1 - column, column)
    # The pixel that the middle of a cell falls in, in whole numbers.
    rows = top + (2 * row + 1) * box_height // (2 * height)
    columns = left + (2 * column + 1) * box_width // (2 * width)
    values = tf.gather(values, rows, axis=1, batch_dims=1)
    return tf.gather(values, columns, axis=2, batch_dims=1)
