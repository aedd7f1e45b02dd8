"""Bilinear resizing of feature maps and scores, corners not aligned.

Two matrix products. `keras.ops.image.resize` cannot do it where a size is known
only when the model runs.
"""

from typing import Any

import numpy as np
from keras import ops

from keras_vicregl.precision import matmul


def resize_maps(maps: Any, size: tuple[Any, Any]) -> Any:
    """Resizes maps (B, h, w, F) bilinearly to (B, *size, F).

    Args:
        maps: float32. Under TensorFlow, height and width may be unknown as
            long as a graph is made.
        size: Height and width, integers or scalar tensors.

    Returns:
        float32 maps; pixel centres are at half coordinates, as with
        `align_corners=False` in PyTorch.
    """
    samples = ops.shape(maps)[1:3]
    rows, columns = map(_interpolation, size, samples)
    batch, (height, width), channels = (
        ops.shape(maps)[0],
        samples,
        maps.shape[-1],
    )
    maps = ops.reshape(maps, (batch, height, width * channels))
    maps = ops.reshape(
        ops.matmul(rows, maps), (batch, size[0], width, channels)
    )
    return ops.matmul(columns, maps)


def upsample_scores(scores: Any, size: tuple[int, int]) -> Any:
    """Resizes scores (B, h, w, C) bilinearly to (B, C, *size).

    Classes first: upsampling is then two matrix products on contiguous rows,
    and sums over the classes add up whole images. It halves the time of a step.
    """
    return resize_classes(ops.transpose(scores, (0, 3, 1, 2)), size)


def resize_classes(scores: Any, size: tuple[int, int]) -> Any:
    """Resizes scores (B, C, h, w) bilinearly to (B, C, *size)."""
    rows, columns = map(_interpolation, size, scores.shape[2:])
    return matmul(matmul(rows, scores), ops.transpose(columns))


def _interpolation(size: Any, samples: Any) -> Any:
    """Matrix (size, samples) of bilinear resizing along an axis.

    Pixel centres are at half coordinates; beyond the outermost samples their
    value continues.
    """
    if isinstance(size, int) and isinstance(samples, int):
        positions = (np.arange(size) + 0.5) * samples / size - 0.5
        positions = positions.clip(0, samples - 1)
        distance = np.abs(positions[:, None] - np.arange(samples))
        return np.maximum(1 - distance, 0).astype(np.float32)
    size, samples = (ops.cast(n, "float32") for n in (size, samples))
    positions = (ops.arange(size, dtype="float32") + 0.5) * samples / size - 0.5
    positions = ops.clip(positions, 0, samples - 1)
    distance = ops.abs(
        positions[:, None] - ops.arange(samples, dtype="float32")
    )
    return ops.maximum(1 - distance, 0)
