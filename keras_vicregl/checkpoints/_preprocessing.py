"""Images as they come, normalised by layers of Keras that any runtime has."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from keras_vicregl.views.normalization import Normalization


def normalized(images: Any, normalization: Normalization) -> Any:
    """What a backbone takes, of images (B, H, W, C) of raw values.

    Args:
        images: symbolic; uint8, or float32 where there is a range.
        normalization: by which the backbone was trained.
    """
    mean, std, value_range = normalization
    offset = [-m / s for m, s in zip(mean, std, strict=True)]
    if value_range is None:
        scale = [1 / (255 * s) for s in std]
        return keras.layers.Rescaling(scale, offset)(images)
    low, high = np.broadcast_to(value_range, (len(mean), 2)).T
    # Not in one: of a narrow range far from 0 little would be left.
    x = keras.layers.Rescaling(1.0, (-low).tolist())(images)
    x = keras.layers.Rescaling((1 / (high - low)).tolist())(x)
    x = keras.layers.ReLU(max_value=1.0)(x)
    return keras.layers.Rescaling([1 / s for s in std], offset)(x)
