"""What all segmentation evaluations share: head, loss and figures."""

from typing import Any

import keras
import numpy as np
from keras import layers, ops

from keras_vicregl.evaluation.checks import (
    warn_if_one_class,
    warn_if_one_is_left,
)
from keras_vicregl.evaluation.segmentation.confusion import class_iou, mean_iou
from keras_vicregl.evaluation.segmentation.resizing import upsample_scores
from keras_vicregl.precision import FullPrecisionPointwise


def linear_head(
    channels: int, num_classes: int, *, dropout: float = 0.0, seed: int = 0
) -> keras.Model:
    """Batch normalisation and a 1 x 1 convolution, in float32.

    Args:
        channels: Of the feature map.
        num_classes: Channels of the scores.
        dropout: Probability that the convolution does not see a channel in
            training, scaled as usual.
        seed: Of the weights, N(0, 0.01^2), and of the dropout.

    Returns:
        A model from (B, h, w, channels) to scores (B, h, w, num_classes).
    """
    # Float32 whatever the global policy, and channels last as the maps are.
    spatial = {"dtype": "float32", "data_format": "channels_last"}
    parts = [
        keras.Input((None, None, channels)),
        layers.BatchNormalization(momentum=0.9, epsilon=1e-5, dtype="float32"),
        FullPrecisionPointwise(
            num_classes,
            1,
            kernel_initializer=keras.initializers.RandomNormal(
                stddev=0.01, seed=seed
            ),
            **spatial,
        ),
    ]
    if dropout:
        # Whole channels: neighbouring positions of one are much the same. After
        # the norm, whose statistics in training would be others otherwise.
        parts.insert(2, layers.SpatialDropout2D(dropout, seed=seed, **spatial))
    return keras.Sequential(parts)


def decay(variables: list[Any], weight_decay: float) -> None:
    """Adds `weight_decay * w` to the gradient of each variable w (L2).

    Keras' own weight_decay is decoupled; half a squared norm has the weights
    themselves for a gradient.
    """
    if weight_decay:
        for variable in variables:
            variable.regularizer = keras.regularizers.L2(weight_decay / 2)


class PixelCrossEntropy(keras.losses.Loss):
    """Mean cross-entropy of upsampled scores over the pixels with a label."""

    def __init__(self, ignore_label: int | None) -> None:
        super().__init__(dtype="float32")
        self.ignore_label = ignore_label

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Loss of masks (B, H, W, 1) and scores (B, h, w, C): a scalar."""
        scores = upsample_scores(y_pred, y_true.shape[1:3])
        labels = ops.cast(ops.transpose(y_true, (0, 3, 1, 2)), "int32")
        classes = np.arange(y_pred.shape[-1], dtype=np.int32)[:, None, None]
        own = ops.sum(ops.where(ops.equal(labels, classes), scores, 0.0), 1)
        losses = ops.logsumexp(scores, axis=1) - own
        if self.ignore_label is None:
            return ops.mean(losses)
        counted = ops.not_equal(labels[:, 0], self.ignore_label)
        counted = ops.cast(counted, losses.dtype)
        return ops.sum(losses * counted) / ops.maximum(ops.sum(counted), 1.0)


def segmentation_figures(
    confusion: np.ndarray, pixels: int
) -> dict[str, float]:
    """Figures of a confusion matrix (C, C), as fractions.

    Args:
        confusion: As from `confusion_matrix`.
        pixels: Number of all of them, also those that were not counted.

    Returns:
        `"mean_iou"`, `"pixel_accuracy"` and `"iou_0"` to `"iou_{C - 1}"`, NaN
        for a class that does not occur.

    Raises:
        ValueError: If no pixel was counted.
    """
    warn_if_one_is_left(confusion.sum(axis=1), pixels)
    warn_if_one_class(confusion.sum(axis=1), confusion.sum(axis=0))
    iou = class_iou(confusion)
    return {
        "mean_iou": mean_iou(confusion),
        "pixel_accuracy": float(np.trace(confusion) / confusion.sum()),
        **{f"iou_{index}": float(value) for index, value in enumerate(iou)},
    }
