"""Batches of images of one size with their boxes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from keras_vicregl.data._checks import check_integer, check_pair
from keras_vicregl.data.boxes import BOX_AREAS, BOX_CLASSES, BOX_KEYS, BOXES
from keras_vicregl.data.sources.image_source import ImageSource
from keras_vicregl.views.keys import IMAGES

if TYPE_CHECKING:
    import tensorflow as tf


def detection_batches(
    source: ImageSource,
    size: tuple[int, int],
    batch_size: int,
    *,
    shuffle: int = 0,
    seed: int = 0,
) -> tf.data.Dataset:
    """Batches for `train_detection`, of images that may differ in size.

    An image is made larger or smaller, bilinearly and without aliasing, until
    it just fits, and filled up to the right and at the bottom with its mean
    colour. Boxes are moved with it. Overlaps of boxes remain what they were,
    areas do not: those that COCO's ranges of area are for get smaller too.

    Args:
        source: What `load` returns, with boxes.
        size: Height and width of all images, in pixels.
        batch_size: Images in a batch. The last may be smaller.
        shuffle: Examples to shuffle among, other ones in each iteration; 0
            keeps the order.
        seed: Of the shuffling.

    Returns:
        A data set of dictionaries: `"images"` (B, *size, 3) uint8, `"boxes"`
        (B, M, 4) float32 and `"box_classes"` (B, M) int32, M the largest number
        of boxes in the batch, and what else `source` tells of boxes. Missing
        ones have zeros and the class -1.

    Raises:
        ValueError: If the source has no boxes or an argument is outside what
            it may be.

    Example:

    >>> from keras_vicregl.data import load
    >>> source = load("digit_scenes", "train", count=6, boxes=True)
    >>> batch = next(iter(detection_batches(source, (96, 128), 3)))
    >>> batch["images"].shape, batch["boxes"].shape
    (TensorShape([3, 96, 128, 3]), TensorShape([3, 2, 4]))
    """
    from keras_vicregl._tensorflow import tf

    check_integer("batch_size", batch_size, smallest=1)
    check_integer("shuffle", shuffle, smallest=0)
    size = check_pair("size", size, "height and width")
    if not min(size):
        raise ValueError(f"size must be positive. Received: size={size}")
    if not source.has_boxes:
        raise ValueError(
            f"source must have boxes: load(..., boxes=True). Received: {source}"
        )
    keys = (IMAGES, *BOX_KEYS)

    def fit(example: dict[str, Any]) -> dict[str, Any]:
        example = {key: example[key] for key in keys if key in example}
        return _fitted(example, size)

    with tf.device("cpu"):
        examples = source.dataset()
        if shuffle:
            examples = examples.shuffle(shuffle, seed=seed)
        examples = examples.map(fit, num_parallel_calls=tf.data.AUTOTUNE)
        padding = {
            key: tf.cast(-1 if key == BOX_CLASSES else 0, spec.dtype)
            for key, spec in examples.element_spec.items()
        }
        batches = examples.padded_batch(batch_size, padding_values=padding)
        return batches.prefetch(tf.data.AUTOTUNE)


def _fitted(
    example: dict[str, Any], size: tuple[int, int]
) -> dict[str, tf.Tensor]:
    from keras_vicregl._tensorflow import tf

    image = tf.cast(example[IMAGES], tf.float32)
    before = tf.cast(tf.shape(image)[:2], tf.float64)
    scale = tf.reduce_min(size / before)
    after = tf.cast(tf.round(before * scale), tf.int32)
    after = tf.clip_by_value(after, 1, size)
    resized = tf.image.resize(image, after, antialias=True)
    # Padding is with 0: that is to be the mean.
    mean = tf.reduce_mean(image, axis=(0, 1))
    filled = mean + tf.image.pad_to_bounding_box(resized - mean, 0, 0, *size)
    # Of rounded sides each axis has its own.
    scales = tf.cast(tf.cast(after, tf.float64) / before, tf.float32)
    moved = {
        IMAGES: tf.cast(tf.round(tf.clip_by_value(filled, 0, 255)), tf.uint8),
        BOXES: example[BOXES] * tf.tile(scales[::-1], [2]),
    }
    if BOX_AREAS in example:
        areas = tf.cast(example[BOX_AREAS], tf.float32)
        moved[BOX_AREAS] = areas * tf.reduce_prod(scales)
    return {**example, **moved}
