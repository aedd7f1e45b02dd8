"""RetinaNet on a backbone with a pyramid: the network and its loss.

After Lin et al., "Focal Loss for Dense Object Detection" (2017). keras-cv has
one too, which needs TensorFlow (and torchvision under PyTorch), three levels
at strides that double, and suppresses boxes of other classes.
"""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from keras_vicregl.evaluation.detection.anchors import (
    ANCHORS_PER_POSITION,
    IGNORED,
)

_PRIOR = 0.01  # score of every class at every anchor to begin with
_FOCUS = 2.0
_POSITIVE_WEIGHT = 0.25


def retinanet(
    backbone: keras.Model,
    num_classes: int,
    *,
    strides: Sequence[int],
    channels: int,
    depth: int,
    seed: int,
) -> keras.Model:
    """A feature pyramid on a backbone, and heads for classes and boxes.

    Args:
        backbone: With `pyramid_outputs` and `pyramid_strides`. Its weights
            become part of the network.
        num_classes: Number of classes.
        strides: Pixels per position of the levels, each twice the one before.
            Where the backbone has several maps with a stride, the last is
            taken; levels coarser than all of these are made by convolutions.
        channels: Of the pyramid and the heads.
        depth: Convolutions in a head before the last one.
        seed: Of the initial weights.

    Returns:
        A model from images (B, H, W, C) to (B, A, 4 + classes) float32: at each
        anchor offsets and the classes' scores before the sigmoid.

    Raises:
        ValueError: If the backbone has no pyramid, or not these strides.
    """
    from_backbone = backbone_strides(backbone, strides)
    maps = _maps_by_stride(backbone)
    rng = np.random.default_rng(seed)

    def convolution(filters: int, size: int, **options: Any) -> layers.Conv2D:
        options.setdefault(
            "kernel_initializer",
            keras.initializers.HeNormal(seed=int(rng.integers(2**31))),
        )
        return layers.Conv2D(filters, size, padding="same", **options)

    def head(outputs: int, bias: float) -> keras.Sequential:
        last = keras.initializers.RandomNormal(
            stddev=0.01, seed=int(rng.integers(2**31))
        )
        return keras.Sequential(
            [
                keras.Input((None, None, channels)),  # for any level
                *(
                    convolution(channels, 3, activation="relu")
                    for _ in range(depth)
                ),
                convolution(
                    ANCHORS_PER_POSITION * outputs,
                    3,
                    kernel_initializer=last,
                    bias_initializer=keras.initializers.Constant(bias),
                ),
                layers.Reshape((-1, outputs), dtype="float32"),
            ]
        )

    levels = [convolution(channels, 1)(maps[s]) for s in from_backbone]
    for i in reversed(range(len(levels) - 1)):
        coarser = layers.UpSampling2D(2)(levels[i + 1])
        levels[i] = layers.Add()([levels[i], coarser])
    levels = [convolution(channels, 3)(level) for level in levels]
    coarsest = maps[from_backbone[-1]]
    for _ in strides[len(from_backbone) :]:
        coarsest = convolution(channels, 3, strides=2)(coarsest)
        levels.append(coarsest)
        coarsest = layers.ReLU()(coarsest)

    boxes = head(4, 0.0)
    classes = head(num_classes, -math.log((1 - _PRIOR) / _PRIOR))
    outputs = [
        layers.Concatenate(dtype="float32")([boxes(level), classes(level)])
        for level in levels
    ]
    if len(outputs) > 1:
        outputs = [layers.Concatenate(axis=1, dtype="float32")(outputs)]
    return keras.Model(backbone.input, outputs[0], name="retinanet")


def backbone_strides(
    backbone: keras.Model, strides: Sequence[int]
) -> list[int]:
    """Those of the levels' strides that a backbone has: the first ones.

    Raises:
        ValueError: If it has no pyramid, or the strides do not begin with those
            that it has, or do not double.
    """
    available = sorted(_maps_by_stride(backbone))
    doubled = all(
        fine > 0 and coarse == 2 * fine
        for fine, coarse in itertools.pairwise(strides)
    )
    present = [stride for stride in strides if stride in available]
    if not doubled or not present or list(strides[: len(present)]) != present:
        raise ValueError(
            "strides must double from level to level, and begin with one that "
            f"the backbone has, {', '.join(map(str, available))}. Received: "
            f"strides={tuple(strides)}"
        )
    return present


def _maps_by_stride(backbone: keras.Model) -> dict[int, Any]:
    maps = getattr(backbone, "pyramid_outputs", None)
    strides = getattr(backbone, "pyramid_strides", None)
    if not maps or not strides:
        raise ValueError(
            "backbone must have pyramid_outputs and pyramid_strides, as those "
            "of keras_vicregl.models.backbones do. Received: "
            f"{type(backbone).__name__} {getattr(backbone, 'name', '')!r}"
        )
    return {strides[key]: value for key, value in maps.items()}


class RetinaNetLoss(keras.losses.Loss):
    """Focal loss of the classes plus smooth L1 loss of the offsets.

    Both are sums, divided by the number of anchors that have a box:

        FL = -a (1 - p)^2 log p     for the class of an anchor, a = 1/4
        FL = -(1 - a) p^2 log(1 - p)   for each other class

    over all anchors that are not ignored, and over those with a box the mean
    over four offsets of d^2 / 2 where |d| < 1 and |d| - 1/2 elsewhere.
    """

    def __init__(self) -> None:
        super().__init__(dtype="float32")

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Loss of targets (B, A, 5) and outputs (B, A, 4 + C): a scalar."""
        classes = ops.cast(y_true[..., 4:], "int32")
        logits = y_pred[..., 4:]
        is_positive = ops.cast(classes >= 0, logits.dtype)
        is_used = ops.cast(ops.not_equal(classes, IGNORED), logits.dtype)
        own = np.arange(logits.shape[-1], dtype=np.int32)
        signs = ops.where(ops.equal(classes, own), 1.0, -1.0)
        # With p the probability of what is right, 1 - p is a sigmoid as well,
        # and log p does not underflow.
        wrong = ops.sigmoid(-signs * logits)
        weights = ops.where(signs > 0, _POSITIVE_WEIGHT, 1 - _POSITIVE_WEIGHT)
        focal = weights * wrong**_FOCUS * ops.softplus(-signs * logits)
        distance = ops.abs(y_true[..., :4] - y_pred[..., :4])
        smooth = ops.where(
            distance < 1, 0.5 * ops.square(distance), distance - 0.5
        )
        total = ops.sum(is_used * focal)
        total += ops.sum(is_positive * ops.mean(smooth, -1, keepdims=True))
        return total / ops.maximum(ops.sum(is_positive), 1.0)
