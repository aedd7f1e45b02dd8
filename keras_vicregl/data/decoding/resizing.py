"""Images of another size, by Pillow: without TensorFlow."""

import numpy as np
from PIL import Image


def bilinear(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """An image of another size, bilinear and antialiased.

    As `tf.image.resize(image, size, antialias=True)`, to 1e-3 of 255.

    Args:
        image: (H, W, C) float32. (Of 8 bits Pillow would round twice.)
        size: Height and width of the result.

    Returns:
        (*size, C) float32.

    Example:

    >>> bilinear(np.zeros((30, 40, 3), "float32"), (15, 20)).shape
    (15, 20, 3)
    """
    channels = [
        Image.fromarray(np.ascontiguousarray(image[..., channel])).resize(
            size[::-1], Image.Resampling.BILINEAR
        )
        for channel in range(image.shape[-1])
    ]
    return np.stack([np.asarray(channel) for channel in channels], axis=-1)


def resized(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """An image of another size in the dtype that it has, rounded if need be.

    Args:
        image: (H, W, C) uint8, uint16 or float32.
        size: See `bilinear`.

    Returns:
        (*size, C), same dtype. Three channels of uint8 are rounded after each
        axis, others once.

    Example:

    >>> resized(np.full((30, 40, 1), 7, "uint16"), (15, 20)).max()
    np.uint16(7)
    """
    size = int(size[0]), int(size[1])
    if image.dtype == np.uint8 and image.shape[-1] == 3:
        # A triangle as wide as a pixel of the result, as TensorFlow's.
        smaller = Image.fromarray(np.ascontiguousarray(image)).resize(
            size[::-1], Image.Resampling.BILINEAR
        )
        return np.asarray(smaller)
    return as_before(bilinear(image.astype(np.float32), size), image.dtype)


def as_before(image: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """A resized image, float32, in the dtype of the image."""
    if dtype.kind == "f":
        return image
    limits = np.iinfo(dtype)
    return np.round(image.clip(limits.min, limits.max)).astype(dtype)
