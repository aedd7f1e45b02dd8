"""The middles of images: of one size, whatever sizes the images have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from keras import ops

from keras_vicregl.models.arguments import is_count
from keras_vicregl.views.keys import IMAGES, MASKS

if TYPE_CHECKING:
    import tensorflow as tf


class Middle:
    """Resizes images and cuts a square out of their middle, masks with them.

    Bilinear and antialiased, until the shorter side is `resize`; masks by their
    nearest pixels.

    Args:
        size: Side of the square in pixels.
        resize: The images' shorter side before that. None: 8/7 of `size`.

    Raises:
        ValueError: If an argument is outside what it may be.
    """

    def __init__(self, size: int, resize: int | None = None) -> None:
        if not is_count(size):
            raise ValueError(
                "size must be positive, a whole number of pixels. Received: "
                f"{size!r}"
            )
        resize = round(size * 8 / 7) if resize is None else resize
        if not is_count(resize, size):
            raise ValueError(
                f"resize must be at least size={size}, which is cut out of it. "
                f"Received: resize={resize!r}"
            )
        self.size = size
        self.resize = resize

    def of_batch(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Of arrays: images (B, H, W, C) and perhaps masks (B, H, W, 1)."""
        old = batch[IMAGES].shape[1:3]
        new = self._resized(*old)
        top, left = ((length - self.size) // 2 for length in new)
        rows, columns = (
            slice(top, top + self.size),
            slice(left, left + self.size),
        )
        images = ops.convert_to_tensor(batch[IMAGES], "float32")
        if old != new:
            images = ops.image.resize(
                images,
                new,
                "bilinear",
                antialias=True,
                data_format="channels_last",
            )
        images = ops.convert_to_numpy(images)
        batch = {**batch, IMAGES: images[:, rows, columns]}
        if MASKS in batch:
            nearest = self._nearest(old, new)
            masks = batch[MASKS][:, nearest[0][rows]]
            batch[MASKS] = masks[:, :, nearest[1][columns]]
        return batch

    def of_array(self, example: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Of an image (H, W, 3) of any size, without TensorFlow."""
        from keras_vicregl.data.decoding.resizing import bilinear

        old = example[IMAGES].shape[:2]
        new = self._resized(*old)
        top, left = ((length - self.size) // 2 for length in new)
        rows, columns = (
            slice(top, top + self.size),
            slice(left, left + self.size),
        )
        image = example[IMAGES].astype(np.float32)
        if old != new:
            image = bilinear(image, new)
        example = {**example, IMAGES: image[rows, columns]}
        if MASKS in example:
            nearest = self._nearest(old, new)
            mask = example[MASKS][nearest[0][rows]]
            example[MASKS] = mask[:, nearest[1][columns]]
        return example

    def of_example(self, example: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Of an image (H, W, C) of any size, in tf.data."""
        from keras_vicregl._tensorflow import tf

        height, width = tf.unstack(tf.shape(example[IMAGES])[:2])
        new = tf.stack(self._resized(height, width, tf.minimum(height, width)))
        top, left = tf.unstack((new - self.size) // 2)

        def cut(image: tf.Tensor, **how: Any) -> tf.Tensor:
            image = tf.image.resize(image, new, **how)
            image = image[top : top + self.size, left : left + self.size]
            return tf.ensure_shape(
                image, (self.size, self.size, image.shape[-1])
            )

        example = {**example, IMAGES: cut(example[IMAGES], antialias=True)}
        if MASKS in example:
            example[MASKS] = cut(example[MASKS], method="nearest")
        return example

    @staticmethod
    def _nearest(old: tuple, new: tuple) -> list[np.ndarray]:
        """Pixels of the old rows and columns that the new ones are."""
        return [
            ((np.arange(after) + 0.5) * before / after).astype(int)
            for before, after in zip(old, new, strict=True)
        ]

    def _resized(
        self, height: Any, width: Any, shorter: Any = None
    ) -> tuple[Any, Any]:
        """Sides after the shorter one has become `resize`, rounded down."""
        shorter = min(height, width) if shorter is None else shorter
        return tuple(side * self.resize // shorter for side in (height, width))


def middle(size: int | None, resize: int | None) -> Middle | None:
    """What makes the middles, or None where images stay as they are.

    Raises:
        ValueError: If an argument is outside what it may be.
    """
    if size is not None:
        return Middle(size, resize)
    if resize is not None:
        raise ValueError(f"resize={resize} needs a size to cut out.")
    return None
