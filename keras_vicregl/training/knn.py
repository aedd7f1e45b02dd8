"""Nearest neighbours as a figure of merit during training."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from keras_vicregl.evaluation import evaluate_knn

if TYPE_CHECKING:
    from keras_vicregl.data import ImageSource


def knn_evaluation(
    train: ImageSource,
    test: ImageSource,
    *,
    size: int | None = None,
    limit: int = 10_000,
    batch_size: int = 256,
    **kwargs: Any,
) -> Callable[[keras.Model], dict[str, float]]:
    """A function for `pretrain(evaluate=...)`.

    Args:
        train: labelled images, what `keras_vicregl.data.load` returns.
        test: the same, not seen in training.
        size: where images differ in size, side of the square that they are
            cut to, from their middle, after their shorter side has become 8/7
            of it. Images of one size stay as they are.
        limit: images used of either set, evenly spread over it.
        batch_size: images per call of the backbone.
        **kwargs: further arguments of `evaluate_knn`.

    Returns:
        A function from a `VICRegL` to `"knn_top1"` and, with more than five
        classes, `"knn_top5"`.

    Raises:
        ValueError: if a set has no labels.

    Example:

    ```python
    evaluate = knn_evaluation(
        load("imagenet2012", "train"),
        load("imagenet2012", "validation"),
        size=224,
    )
    pretrain(model, batches, epochs=100, output="run", evaluate=evaluate)
    ```
    """
    for source in (train, test):
        if source.num_classes is None:
            raise ValueError(f"kNN needs labels, which {source!r} has not.")

    def evaluate(model: keras.Model) -> dict[str, float]:
        result = evaluate_knn(
            model.backbone,
            _Batches(train, size, limit, batch_size),
            _Batches(test, size, limit, batch_size),
            **{"num_classes": train.num_classes, **kwargs},
        )
        return {f"knn_{name}": value for name, value in result.items()}

    return evaluate


class _Batches:
    """Evenly spread images of a source and their labels."""

    def __init__(
        self, source: ImageSource, size: int | None, limit: int, batch_size: int
    ) -> None:
        self._source = source
        self._size = size
        self._every = -(-len(source) // limit)
        self._batch_size = batch_size

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        import tensorflow as tf

        with tf.device("cpu"):
            examples = self._source.dataset()
            shape = examples.element_spec["images"].shape
            cut = None if shape.is_fully_defined() else self._size
            examples = examples.enumerate()
            if self._every > 1:
                examples = examples.filter(
                    lambda index, example: index % self._every == 0
                )
            batches = examples.map(
                lambda index, example: (
                    _cut(example["images"], cut),
                    example["labels"],
                ),
                tf.data.AUTOTUNE,
            )
            yield from (
                batches.batch(self._batch_size)
                .prefetch(tf.data.AUTOTUNE)
                .as_numpy_iterator()
            )


def _cut(image: Any, size: int | None) -> Any:
    """The middle of an image, `(size, size, 3)`, or all of it with `None`."""
    import tensorflow as tf

    if size is None:
        return image
    shape = tf.cast(tf.shape(image)[:2], tf.float32)
    shape = shape * (size * 8 / 7 / tf.reduce_min(shape))
    shape = tf.cast(tf.round(shape), tf.int32)
    image = tf.image.resize(image, shape, antialias=True)
    return tf.image.resize_with_crop_or_pad(image, size, size)
