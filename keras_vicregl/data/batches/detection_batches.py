"""Batches of images of one size with their boxes."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_vicregl.data._checks import check_integer, check_pair
from keras_vicregl.data.boxes import BOX_AREAS, BOX_CLASSES, BOX_KEYS, BOXES
from keras_vicregl.data.decoding.resizing import as_before, bilinear
from keras_vicregl.data.engine import PYTHON, choose_engine
from keras_vicregl.data.sources.image_source import ImageSource
from keras_vicregl.data.streams.order import epoch_seeds
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
    engine: str = "auto",
) -> tf.data.Dataset | PythonDetectionBatches:
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
            keeps the order. (Python shuffles all of them, whatever the number.)
        seed: Of the shuffling.
        engine: See `view_batches`.

    Returns:
        A data set of dictionaries: `"images"` (B, *size, C) of the dtype that
        they have, `"boxes"`
        (B, M, 4) float32 and `"box_classes"` (B, M) int32, M the largest number
        of boxes in the batch, and what else `source` tells of boxes. Missing
        ones have zeros and the class -1. Without TensorFlow, an iterable over
        such dictionaries, with a length where no image is skipped.

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
    check_integer("batch_size", batch_size, smallest=1)
    check_integer("shuffle", shuffle, smallest=0)
    size = check_pair("size", size, "height and width")
    if not min(size):
        raise ValueError(f"size must be positive. Received: size={size}")
    if not source.has_boxes:
        raise ValueError(
            f"source must have boxes: load(..., boxes=True). Received: {source}"
        )
    if choose_engine(engine) == PYTHON:
        source.check_readable_in_python()
        return PythonDetectionBatches(source, size, batch_size, shuffle, seed)
    from keras_vicregl._tensorflow import tf

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


class PythonDetectionBatches:
    """What `detection_batches` returns where Python reads the images.

    Arguments are those of `detection_batches`.
    """

    def __init__(
        self,
        source: ImageSource,
        size: tuple[int, int],
        batch_size: int,
        shuffle: int,
        seed: int,
    ) -> None:
        self._source = source
        self._size = size
        self._batch_size = batch_size
        self._shuffle = shuffle
        self._seed = seed
        self._lock = threading.Lock()
        self._epoch = 0

    def __len__(self) -> int:
        """Batches of one iteration, where no image is skipped."""
        return -(-len(self._source) // self._batch_size)

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        """All batches, in another order each time if they are shuffled."""
        with self._lock:
            epoch, self._epoch = self._epoch, self._epoch + 1
        order_seed = None
        if self._shuffle:
            order_seed = int(epoch_seeds(self._seed, epoch)[0])
        examples = self._source.examples_in_python(order_seed, self._fitted)
        with contextlib.closing(examples):
            while group := list(itertools.islice(examples, self._batch_size)):
                yield _padded(group)

    def _fitted(self, example: dict[str, Any]) -> dict[str, np.ndarray]:
        """As `_fitted` in tf.data."""
        image = example[IMAGES]
        before = np.array(image.shape[:2], np.float64)
        scale = np.min(self._size / before)
        after = np.clip(np.round(before * scale), 1, self._size).astype(int)
        dtype = image.dtype
        image = image.astype(np.float32)
        resized = bilinear(image, tuple(after.tolist()))
        filled = np.empty((*self._size, image.shape[-1]), np.float32)
        filled[:] = image.mean(axis=(0, 1))
        filled[: after[0], : after[1]] = resized
        scales = (after / before).astype(np.float32)
        moved = {
            key: np.asarray(example[key]) for key in BOX_KEYS if key in example
        }
        moved[IMAGES] = as_before(filled, dtype)
        moved[BOXES] = moved[BOXES] * np.tile(scales[::-1], 2)
        if BOX_AREAS in moved:
            areas = moved[BOX_AREAS].astype(np.float32)
            moved[BOX_AREAS] = areas * scales.prod()
        return moved


def _padded(group: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Examples as a batch, with boxes of no class where one has fewer."""
    batch = {}
    for key, first in group[0].items():
        arrays = [example[key] for example in group]
        most = max(len(array) for array in arrays)
        fill = -1 if key == BOX_CLASSES else 0
        batch[key] = np.full(
            (len(group), most, *first.shape[1:]), fill, first.dtype
        )
        for row, array in enumerate(arrays):
            batch[key][row, : len(array)] = array
    return batch


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
        IMAGES: _as_before(filled, example[IMAGES].dtype),
        BOXES: example[BOXES] * tf.tile(scales[::-1], [2]),
    }
    if BOX_AREAS in example:
        areas = tf.cast(example[BOX_AREAS], tf.float32)
        moved[BOX_AREAS] = areas * tf.reduce_prod(scales)
    return {**example, **moved}


def _as_before(image: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """A resized image in the dtype of the image."""
    from keras_vicregl._tensorflow import tf

    if dtype.is_integer:
        image = tf.round(tf.clip_by_value(image, dtype.min, dtype.max))
    return tf.cast(image, dtype)
