"""A trained segmentation model, tested on images of any size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import keras
import numpy as np
from keras import ops

from keras_vicregl.evaluation.features.batches import grouped
from keras_vicregl.evaluation.features.extraction import (
    Preprocess,
    normalize_images,
)
from keras_vicregl.evaluation.features.middles import middle
from keras_vicregl.evaluation.segmentation.augmentation import (
    resize_image,
    scaled_size,
)
from keras_vicregl.evaluation.segmentation.confusion import confusion_matrix
from keras_vicregl.evaluation.segmentation.examples import (
    UNLABELLED,
    Example,
    Labels,
    examples,
)
from keras_vicregl.evaluation.segmentation.head import segmentation_figures
from keras_vicregl.evaluation.segmentation.resizing import (
    resize_classes,
    upsample_scores,
)
from keras_vicregl.models.plumbing import check_image_shape

if TYPE_CHECKING:
    from keras_vicregl.data.sources.image_source import ImageSource
    from keras_vicregl.evaluation.features.batches import Data

# Scores that are upsampled at a time, 128 MiB of them.
_MOST_SCORES = 2**25


class Segmenter(NamedTuple):
    """A model with what it takes to segment images of any size.

    Attributes:
        model: Maps preprocessed images (B, H, W, 3) to scores (B, h, w,
            classes), of any resolution.
        preprocess: See `extract_features`.
        shorter_side: What images are resized to, or None.
        window: Side of the windows that larger images are cut into, or None:
            images are taken whole.
        window_stride: Pixels from one window to the next.
        batch_size: Images, or windows, in a call of the model, where they have
            one size. Under JAX, each number and size is compiled once: prefer
            windows, or 1.

    Example:

    >>> model = keras.Sequential(
    ...     [keras.Input((None, None, 2)), keras.layers.Identity()]
    ... )
    >>> image = np.eye(2)[np.array([[0, 1, 1], [0, 0, 1]])]
    >>> (classes,) = Segmenter(model, preprocess=None).predict([image])
    >>> classes.tolist()
    [[0, 1, 1], [0, 0, 1]]
    """

    model: keras.Model
    preprocess: Preprocess = normalize_images
    shorter_side: int | None = None
    window: int | None = None
    window_stride: int | None = None
    batch_size: int = 16

    def predict(self, images: Iterable[np.ndarray]) -> list[np.ndarray]:
        """Classes of the pixels of images.

        Args:
            images: Images (H, W, C) of any sizes, or an array of them.

        Returns:
            For each, (H, W) int32.

        Raises:
            ValueError: If an image has another rank or scores are not finite.
        """
        found: list[np.ndarray] = []
        for group in self._groups(Example(np.asarray(i), None) for i in images):
            found.extend(self._classes([example.image for example in group]))
        return found

    def evaluate(
        self,
        data: Data | ImageSource,
        *,
        ignore_label: int | None = 255,
        size: int | None = None,
        resize: int | None = None,
    ) -> dict[str, float]:
        """Intersection over union of the classes, over all pixels at once.

        Args:
            data: Images with masks of their size, as `test` of
                `train_segmentation`.
            ignore_label: Pixels with this label are not counted. None counts
                all.
            size: As for `train_segmentation`.
            resize: As for `train_segmentation`.

        Returns:
            As `evaluate_segmentation`.

        Raises:
            ValueError: If the data are bad, have no pixel with a label, or
                scores are not finite.
        """
        num_classes = self.model.output_shape[-1]
        confusion = np.zeros((num_classes, num_classes), np.int64)
        labels = Labels(num_classes, ignore_label)
        pixels = 0
        stream = examples(data, "test", labels, cut=middle(size, resize))
        for group in self._groups(stream):
            classes = self._classes([example.image for example in group])
            for example, predicted in zip(group, classes, strict=True):
                pixels += example.mask.size
                confusion += confusion_matrix(
                    example.mask, predicted, num_classes, UNLABELLED
                )
        if not confusion.any():
            raise ValueError(
                "test is empty, or segmentation_masks of test have no pixel "
                f"with a label other than ignore_label={ignore_label}."
            )
        return segmentation_figures(confusion, pixels)

    def _groups(self, stream: Iterable[Example]) -> Iterator[list[Example]]:
        """Up to `batch_size` examples that follow each other, of one size."""
        return grouped(
            stream, lambda example: example.image.shape, self.batch_size
        )

    def _classes(self, images: list[np.ndarray]) -> Iterator[np.ndarray]:
        """Classes (H, W) of images of one size."""
        if images[0].ndim != 3:
            raise ValueError(
                "images must have the shape (H, W, C). Received: shape "
                f"{images[0].shape}"
            )
        size = images[0].shape[:2]
        inner = scaled_size(size, self.shorter_side)
        inputs = np.stack([resize_image(image, inner) for image in images])
        if self.preprocess is not None:
            inputs = np.asarray(self.preprocess(inputs), np.float32)
        if self.window is not None and max(inner) > self.window:
            for each in inputs:
                scores = window_scores(
                    self.model,
                    each,
                    self.window,
                    cast("int", self.window_stride),
                    self.batch_size,
                )
                yield from _best(resize_classes(scores[None], size))
            return
        check_image_shape(self.model, inputs.shape[1:], "images")
        scores = self.model.predict_on_batch(inputs)
        _check_finite(scores)
        rows = max(_MOST_SCORES // (scores.shape[-1] * size[0] * size[1]), 1)
        for start in range(0, len(scores), rows):
            part = scores[start : start + rows]
            yield from _best(upsample_scores(part, size))


def window_scores(
    model: keras.Model,
    image: np.ndarray,
    window: int,
    stride: int,
    batch_size: int,
) -> np.ndarray:
    """Scores of windows of an image, averaged where they overlap.

    Windows begin every `stride` pixels; those that would reach over the border
    are moved back, and no window is larger than the image.

    Args:
        model: From images (B, H, W, C) to scores (B, h, w, classes), upsampled
            bilinearly to the window.
        image: (H, W, C), preprocessed.
        window: Side of the windows.
        stride: Pixels from one window to the next.
        batch_size: Windows in a call of the model.

    Returns:
        (classes, H, W) float32.
    """
    starts, sides = zip(
        *(_starts(length, window, stride) for length in image.shape[:2]),
        strict=True,
    )
    height, width = sides
    corners = [(top, left) for top in starts[0] for left in starts[1]]
    total: Any = None
    count = np.zeros(image.shape[:2], np.float32)
    for first in range(0, len(corners), batch_size):
        part = corners[first : first + batch_size]
        windows = np.stack(
            [image[y : y + height, x : x + width] for y, x in part]
        )
        check_image_shape(model, windows.shape[1:], "windows")
        scores = model.predict_on_batch(windows)
        _check_finite(scores)
        if first == 0:
            total = np.zeros((scores.shape[-1], *count.shape), np.float32)
        for (y, x), each in zip(part, scores, strict=True):
            place = (..., slice(y, y + height), slice(x, x + width))
            upsampled = upsample_scores(each[None], (height, width))[0]
            total[place] += ops.convert_to_numpy(upsampled)
            count[place] += 1
    return total / count


def _starts(length: int, window: int, stride: int) -> tuple[list[int], int]:
    """Where windows begin along an axis, and how long they are."""
    window = min(window, length)
    count = -(-(length - window) // stride) + 1
    return [min(i * stride, length - window) for i in range(count)], window


def _best(scores: np.ndarray) -> np.ndarray:
    """The classes with the highest of scores (B, C, H, W)."""
    return ops.convert_to_numpy(ops.argmax(scores, axis=1)).astype(np.int32)


def _check_finite(scores: np.ndarray) -> None:
    if not np.isfinite(scores).all():
        raise ValueError(
            "The scores of the segmentation model are infinite or NaN: has "
            "its training diverged?"
        )
