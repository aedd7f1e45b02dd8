"""Boxes of images, drawn as torchvision draws them.

A box is top, left, height and width in whole pixels, (N, 4). Arrays are NumPy's
or TensorFlow's, see `arrays`.
"""

from typing import Any

import numpy as np

from keras_vicregl.views.drawing.arrays import cast, namespace, round_to_even

# Numbers in [0, 1) that a box is drawn by: an area and an aspect ratio for each
# try, and a place.
TRIES = 10
DRAWS_PER_BOX = 2 * TRIES + 2


def sample_boxes(
    draws: Any,
    size: Any,
    scale: tuple[float, float],
    aspect_ratio: tuple[float, float],
) -> Any:
    """Boxes as torchvision's RandomResizedCrop draws them.

    Args:
        draws: (N, DRAWS_PER_BOX) uniform in [0, 1).
        size: (2,), height and width of the images, or (N, 2).
        scale: smallest and largest fraction of the area.
        aspect_ratio: smallest and largest width / height.

    Returns:
        (N, 4) float64: top, left, height, width, whole numbers.
    """
    xp = namespace(draws)
    # float64, as torchvision computes: float32 rounds some sides otherwise.
    draws = cast(draws, "float64")
    size = cast(size, "float64")
    height, width = size[..., 0, None], size[..., 1, None]
    low, high = np.float64(scale[0]), np.float64(scale[1])
    area = height * width * (low + (high - low) * draws[:, :TRIES])
    low, high = np.log(np.float64(aspect_ratio))
    ratio = xp.exp(low + (high - low) * draws[:, TRIES : 2 * TRIES])
    heights = round_to_even(xp.sqrt(area / ratio))
    widths = round_to_even(xp.sqrt(area * ratio))
    fits = (
        (heights >= 1) & (heights <= height) & (widths >= 1) & (widths <= width)
    )
    sides = xp.stack([heights, widths], axis=-1)
    # The first try that fits.
    chosen = cast(xp.argmax(cast(fits, "int32"), axis=1), "int32")
    sides = xp.take_along_axis(sides, chosen[:, None, None], axis=1)[:, 0]
    found = xp.any(fits, axis=1)[:, None]
    sides = xp.where(found, sides, _largest_legal_box(size, aspect_ratio))
    room = size - sides
    anywhere = xp.floor(draws[:, 2 * TRIES :] * (room + np.float64(1.0)))
    corner = xp.where(found, anywhere, xp.floor(room / np.float64(2.0)))
    return xp.concatenate([corner, sides], axis=1)


def _largest_legal_box(size: Any, aspect_ratio: tuple[float, float]) -> Any:
    xp = namespace(size)
    narrowest, widest = np.float64(aspect_ratio)
    rows, columns = size[..., 0], size[..., 1]
    height = xp.minimum(rows, round_to_even(columns / narrowest))
    width = xp.minimum(columns, round_to_even(rows * widest))
    return xp.maximum(xp.stack([height, width], axis=-1), np.float64(1.0))
