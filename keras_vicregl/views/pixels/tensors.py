"""Tensors of images: their dtype, their shape, and some rows of them."""

from typing import Any

from keras_vicregl._tensorflow import tf
from keras_vicregl.views.values import ValueRange, pixel_scale


def as_float(images: tf.Tensor) -> tf.Tensor:
    """Cast images to float32, the dtype of everything that layers return."""
    return tf.cast(images, tf.float32)


def as_pixels(images: tf.Tensor, value_range: ValueRange | None) -> tf.Tensor:
    """Pixels in [0, 255], float32, of images (..., C), see `to_pixels`."""
    images = as_float(images)
    if value_range is None:
        return images
    low, factor = pixel_scale(value_range)
    return tf.clip_by_value((images - low) * factor, 0.0, 255.0)


def shape_of(tensor: tf.Tensor) -> list:
    """Lengths of the axes: integers where known, scalar tensors elsewhere."""
    dynamic = tf.shape(tensor)
    return [
        dynamic[axis] if length is None else length
        for axis, length in enumerate(tensor.shape)
    ]


def apply_to(
    change: Any, chosen: tf.Tensor, values: tf.Tensor, *parameters: tf.Tensor
) -> tf.Tensor:
    """Change some examples of a batch and spend no work on the others.

    Args:
        change: function of (n, ...) values and parameters, giving new values of
            the same shape and dtype.
        chosen: (B,) boolean.
        values: (B, ...).
        *parameters: tensors (B, ...), one entry an example.

    Returns:
        (B, ...), `values` where not chosen.
    """
    rows = tf.where(chosen)
    picked = [tf.gather(each, rows[:, 0]) for each in (values, *parameters)]
    return tf.tensor_scatter_nd_update(values, rows, change(*picked))
