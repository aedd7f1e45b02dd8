"""Images to test on, of one size and in batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from keras import ops

from keras_vicregl.views.keys import IMAGES, MASKS

if TYPE_CHECKING:
    import tensorflow as tf

    from keras_vicregl.data import ImageSource


def image_batches(
    source: ImageSource | Mapping[str, np.ndarray],
    *,
    size: int | None = None,
    resize: int | None = None,
    limit: int | None = None,
    batch_size: int = 256,
) -> ImageBatches:
    """Batches of a source as `extract_features` and the evaluations take them.

    With a size, images are resized (bilinear, antialiased) until their shorter
    side is `resize`, and a square is cut out of their middle: the test images
    of the paper with `size=224`, `resize=256`. Masks follow by their nearest
    pixels.

    Args:
        source: What `load` returns, or a dictionary of arrays. Arrays need no
            TensorFlow.
        size: Side of the square in pixels. None: images stay as they are, and
            must be of one size.
        resize: Their shorter side before that. Default: 8/7 of `size`.
        limit: Images to take at the most, evenly spread over the source. None:
            all.
        batch_size: Images in a batch; the last may have fewer.

    Returns:
        An iterable, any number of times, over dictionaries of `"images"` (B, H,
        W, 3), uint8 or where they were resized float32, in [0, 255], and where
        there are any `"labels"` (B,) and `"segmentation_masks"` (B, H, W, 1).
        Boxes are left out.

    Raises:
        ValueError: If an argument is outside what it may be.

    Example:

    >>> images = np.zeros((5, 30, 40, 3), "uint8")
    >>> batches = image_batches({"images": images}, size=16, batch_size=3)
    >>> [batch["images"].shape for batch in batches]
    [(3, 16, 16, 3), (2, 16, 16, 3)]
    """
    from keras_vicregl.data.sources.arrays import as_source
    from keras_vicregl.data.sources.subset import subset

    for name, value in (("size", size), ("limit", limit)):
        if value is not None and value < 1:
            raise ValueError(f"{name} must be positive. Received: {value}")
    if batch_size < 1:
        raise ValueError(
            f"batch_size must be at least 1. Received: batch_size={batch_size}"
        )
    if size is None and resize is not None:
        raise ValueError(f"resize={resize} needs a size to cut out.")
    if size is not None:
        resize = round(size * 8 / 7) if resize is None else resize
        if resize < size:
            raise ValueError(
                f"resize must be at least size={size}, which is cut out of it. "
                f"Received: resize={resize}"
            )
    source = as_source(source)
    if limit is not None and limit < len(source):
        source = subset(source, np.arange(limit) * len(source) // limit)
    return ImageBatches(source, size, resize, batch_size)


def common_size(
    source: ImageSource | Mapping[str, np.ndarray],
) -> tuple[int, int] | None:
    """Height and width of all images, or None if it is not known beforehand."""
    from keras_vicregl.data.sources.arrays import ArraySource, as_source

    source = as_source(source)
    if isinstance(source, ArraySource):
        return source._arrays[IMAGES].shape[1:3]
    shape = source.dataset().element_spec[IMAGES].shape
    return tuple(shape[:2]) if shape.is_fully_defined() else None


class ImageBatches:
    """What `image_batches` returns."""

    def __init__(
        self,
        source: ImageSource,
        size: int | None,
        resize: int | None,
        batch_size: int,
    ) -> None:
        self._source = source
        self._size = size
        self._resize = resize
        self._batch_size = batch_size

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        from keras_vicregl.data.sources.arrays import ArraySource

        if isinstance(self._source, ArraySource):
            return self._of_arrays(self._source._arrays)
        return self._of_dataset()

    def _of_arrays(
        self, arrays: Mapping[str, np.ndarray]
    ) -> Iterator[dict[str, np.ndarray]]:
        from keras_vicregl.data.boxes import without_boxes

        for start in range(0, len(self._source), self._batch_size):
            rows = slice(start, start + self._batch_size)
            batch = {
                key: value[rows] for key, value in without_boxes(arrays).items()
            }
            if self._size is not None:
                batch = self._middles(batch)
            yield batch

    def _middles(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Of a batch of images of one size."""
        old = batch[IMAGES].shape[1:3]
        new = self._resized(*old)
        top, left = ((length - self._size) // 2 for length in new)
        rows, columns = (
            slice(top, top + self._size),
            slice(left, left + self._size),
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
            nearest = [
                ((np.arange(after) + 0.5) * before / after).astype(int)
                for before, after in zip(old, new, strict=True)
            ]
            masks = batch[MASKS][:, nearest[0][rows]]
            batch[MASKS] = masks[:, :, nearest[1][columns]]
        return batch

    def _of_dataset(self) -> Iterator[dict[str, np.ndarray]]:
        import tensorflow as tf

        from keras_vicregl.data.boxes import without_boxes

        with tf.device("cpu"):
            examples = self._source.dataset().map(without_boxes)
            if self._size is not None:
                examples = examples.map(self._middle, tf.data.AUTOTUNE)
            batches = examples.batch(self._batch_size)
            batches = batches.prefetch(tf.data.AUTOTUNE)
            batches = batches.as_numpy_iterator()
        # Not within: what goes through them would be on the CPU as well.
        yield from batches

    def _middle(self, example: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Of an image of any size, in tf.data."""
        import tensorflow as tf

        height, width = tf.unstack(tf.shape(example[IMAGES])[:2])
        new = tf.stack(self._resized(height, width, tf.minimum(height, width)))
        top, left = tf.unstack((new - self._size) // 2)

        def cut(image: tf.Tensor, **how: Any) -> tf.Tensor:
            image = tf.image.resize(image, new, **how)
            image = image[top : top + self._size, left : left + self._size]
            return tf.ensure_shape(
                image, (self._size, self._size, image.shape[-1])
            )

        example = {**example, IMAGES: cut(example[IMAGES], antialias=True)}
        if MASKS in example:
            example[MASKS] = cut(example[MASKS], method="nearest")
        return example

    def _resized(
        self, height: Any, width: Any, shorter: Any = None
    ) -> tuple[Any, Any]:
        """Sides after the shorter one has become `resize`, rounded down."""
        shorter = min(height, width) if shorter is None else shorter
        return tuple(side * self._resize // shorter for side in (height, width))
