"""A trained detector, tested on images of any size."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_vicregl._warnings import warn
from keras_vicregl.data.sources.image_source import ImageSource
from keras_vicregl.evaluation.detection import data as detection_data
from keras_vicregl.evaluation.detection.anchors import anchor_boxes, detections
from keras_vicregl.evaluation.detection.average_precision import (
    coco_average_precision,
)
from keras_vicregl.evaluation.features.batches import Data, grouped
from keras_vicregl.evaluation.features.extraction import (
    Preprocess,
    normalize_images,
)
from keras_vicregl.models.plumbing import check_image_shape


class Detector(NamedTuple):
    """A RetinaNet with what it takes to find objects in images of any size.

    Attributes:
        model: Maps preprocessed images (B, H, W, 3) to (B, A, 4 + classes),
            offsets from A anchors and logits.
        strides: Pixels per position of the levels that the anchors are on.
        size_divisor: Heights and widths are filled up to multiples of it, to
            the right and at the bottom, with the mean colour of the image.
        preprocess: See `extract_features`.
        batch_size: Images in a call of the model, where they have one size.
            Under JAX, each number and size is compiled once.
        smallest_score: Boxes with a lower score are dropped.
        largest_iou: Of boxes of one class that overlap by a higher IoU, only
            that with the highest score is kept.
        max_detections: Boxes kept in an image.
    """

    model: keras.Model
    strides: tuple[int, ...]
    size_divisor: int
    preprocess: Preprocess = normalize_images
    batch_size: int = 16
    smallest_score: float = 0.05
    largest_iou: float = 0.5
    max_detections: int = 100

    def predict(
        self, images: Iterable[np.ndarray]
    ) -> list[dict[str, np.ndarray]]:
        """Boxes in images, as `coco_average_precision` and `plot_boxes` take.

        Args:
            images: Images (H, W, C) of any sizes, or an array of them.

        Returns:
            For each, `"boxes"` (D, 4) float32, left, top, right and bottom in
            pixels, `"box_classes"` (D,) int32 and `"scores"` (D,) float32, from
            high to low.

        Raises:
            ValueError: If an image has another rank or what the model says is
                not finite.
        """
        found: list[Any] = []
        rows: dict[Any, Any] = {}
        checked = map(_checked, images)
        for group in grouped(checked, np.shape, self.batch_size):
            # A constant batch shape has the network compiled only once.
            size = group[0].shape
            rows[size] = max(rows.get(size, 0), len(group))
            found += self._detections(np.stack(group), rows[size])
        return found

    def evaluate(
        self,
        data: Data | ImageSource,
        *,
        size: int | tuple[int, int] | None = None,
    ) -> dict[str, float]:
        """COCO's average precision.

        Args:
            data: Images with boxes, as `test` of `train_detection`.
            size: As for `train_detection`.

        Returns:
            As `coco_average_precision`, recall being counted with 1, 10 and
            `max_detections` boxes.

        Raises:
            ValueError: If the data are bad, have no box, or what the model says
                is not finite.
            ImportError: If pycocotools is not installed.
        """
        num_classes = self.model.output_shape[-1] - 4
        data = detection_data.as_batches(data, size, self.batch_size, "test")
        predicted, truth, rows = [], [], 0
        for batch in detection_data.annotated(
            data, self.batch_size, num_classes, "test"
        ):
            rows = max(rows, len(batch.images))
            predicted += self._detections(batch.images, rows)
            truth += batch.annotations
        if not any(len(each["boxes"]) for each in predicted):
            warn(
                f"No box in {len(predicted)} test images has a score of "
                f"smallest_score={self.smallest_score} or more: nothing is "
                "detected. Was the training long enough?"
            )
        most = self.max_detections
        counts = sorted({min(each, most) for each in (1, 10, most)})
        return coco_average_precision(
            predicted, truth, num_classes, max_detections=counts
        )

    def inputs(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What the model takes for images (B, H, W, C), and anchors (A, 4)."""
        images = _filled(images, self.size_divisor)
        anchors = anchor_boxes(*images.shape[1:3], self.strides)
        if self.preprocess is not None:
            images = self.preprocess(images)
        images = np.asarray(images, np.float32)
        check_image_shape(self.model, images.shape[1:], "images")
        return images, anchors

    def _detections(
        self, images: np.ndarray, rows: int
    ) -> list[dict[str, np.ndarray]]:
        """Of images of one size, in a call of the model with that many rows."""
        inputs, anchors = self.inputs(images)
        missing = rows - len(images)
        inputs = np.pad(inputs, [(0, missing), (0, 0), (0, 0), (0, 0)])
        outputs = self.model.predict_on_batch(inputs)
        outputs = np.asarray(outputs, np.float32)[: len(images)]
        if not np.isfinite(outputs).all():
            raise ValueError(
                "The detector diverged: lower learning_rate. Or the backbone "
                "gave infinite or NaN values before."
            )
        return [
            detections(
                anchors,
                each[:, :4],
                _sigmoid(each[:, 4:]),
                images.shape[1:3],
                smallest_score=self.smallest_score,
                largest_iou=self.largest_iou,
                count=self.max_detections,
            )
            for each in outputs
        ]


def _checked(image: np.ndarray) -> np.ndarray:
    image = np.asarray(image)
    if image.ndim != 3:
        raise ValueError(
            "images must have the shape (H, W, C). Received: shape "
            f"{image.shape}"
        )
    return image


def _filled(images: np.ndarray, divisor: int) -> np.ndarray:
    """Images (B, H, W, C), larger where a side is no multiple."""
    height, width = images.shape[1:3]
    below, beside = -height % divisor, -width % divisor
    if not (below or beside):
        return images
    filled = np.empty(
        (len(images), height + below, width + beside, *images.shape[3:]),
        images.dtype,
    )
    filled[:] = images.mean(axis=(1, 2), keepdims=True)
    filled[:, :height, :width] = images
    return filled


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    return np.exp(-np.logaddexp(0, -logits))
