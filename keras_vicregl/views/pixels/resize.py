"""Pixels of a box of each image at another size.

A box is top, left, height and width in whole pixels, (B, 4) int32.
"""

from keras_vicregl._tensorflow import tf
from keras_vicregl.views.pixels.tracing import traced

KERNELS = {"bilinear": "triangle", "bicubic": "keyscubic"}


def resize(
    images: tf.Tensor,
    boxes: tf.Tensor,
    flips: tf.Tensor,
    height: int,
    width: int,
    interpolation: str,
    antialias: bool,
) -> tf.Tensor:
    """Resize a box of every image, mirrored where asked.

    Args:
        images: (B, H, W, C), uint8 or float32 in [0, 255].
        boxes: (B, 4) int32: top, left, height, width.
        flips: (B,) boolean.
        height: rows of the result.
        width: columns of the result.
        interpolation: `"nearest"`, `"bilinear"` or `"bicubic"`.
        antialias: whether the kernel widens when a box is made smaller.

    Returns:
        (B, height, width, C), float32 in [0, 255].
    """
    if interpolation == "nearest":
        nearest = resize_nearest(images, boxes, flips, height, width)
        return tf.cast(nearest, tf.float32)
    return resize_smoothly(
        images,
        boxes,
        flips,
        height,
        width,
        kernel=KERNELS[interpolation],
        antialias=antialias,
    )


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
        images: (B, H, W, C), uint8 or float32 in [0, 255].
        boxes: (B, 4) int32: top, left, height, width.
        flips: (B,) boolean.
        height: rows of the result.
        width: columns of the result.
        kernel: of TensorFlow's ScaleAndTranslate.
        antialias: whether the kernel widens when a box is made smaller.

    Returns:
        (B, height, width, C), float32 in [0, 255].
    """
    return _resize_smoothly(
        images,
        boxes,
        flips,
        (height, width, images.shape[3]),
        kernel=kernel,
        antialias=antialias,
    )


@traced
def _resize_smoothly(
    images: tf.Tensor,
    boxes: tf.Tensor,
    flips: tf.Tensor,
    shape: tuple[int, int, int],
    *,
    kernel: str,
    antialias: bool,
) -> tf.Tensor:
    # What is traced for one number of channels is for no other.
    height, width, channels = shape
    images = tf.ensure_shape(images, (None, None, None, channels))

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
        fn_output_signature=tf.TensorSpec(shape, tf.float32),
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
