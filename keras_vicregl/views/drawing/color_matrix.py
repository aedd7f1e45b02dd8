"""Colour jitter and grayscale as one matrix an image."""

from typing import Any

import numpy as np

from keras_vicregl.views.drawing.arrays import cast, namespace

# ITU-R 601, as PIL's conversion to "L".
LUMINANCE = np.float32([0.299, 0.587, 0.114])

_IDENTITY = np.eye(3, dtype="float32")
_TO_GRAY = np.tile(LUMINANCE, (3, 1))

# A turn of the hue is one around the axis of greys, as HSV's is for a third of
# a turn: there both exchange the channels. The mean of the channels stays.
_HUE_AXIS = np.full((3, 3), 1.0 / 3.0, "float32")
_HUE_COS = _IDENTITY - _HUE_AXIS
_HUE_SIN = np.float32(
    np.float64([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3.0)
)


def color_matrices(
    factors: Any, shift: Any, ranks: Any, jittered: Any, gray: Any
) -> tuple[Any, Any]:
    """What jitter and grayscale make of a pixel.

    A pixel x (red, green, blue) becomes `matrix @ x + from_mean @ mean`, with
    `mean` the mean of the image's pixels, which contrast blends with. It is
    what the single operations of `pixels.color` do one after another, but for
    two things: they clip to [0, 255] after each, where this is clipped once at
    the end; and they turn the hue at constant value and saturation (HSV), where
    this turns it at a constant mean of the channels, which is linear. (For a
    third of a turn these are the same. On photographs, before clipping, a tenth
    of a turn is 7 of 255 from HSV's in the mean; at constant luminance,
    as in YIQ, it would be 14.)

    Args:
        factors: (..., 3), of brightness, contrast and saturation.
        shift: (...), turn of the hue, in turns.
        ranks: (..., 4), numbers whose order is that of brightness, contrast,
            saturation and hue.
        jittered: (...), 1 where these four are applied, 0 elsewhere.
        gray: (...), 1 where the image becomes grey in the end.

    Returns:
        Two arrays (..., 3, 3), float32.
    """
    xp = namespace(factors)
    one = np.float32(1.0)
    # Every operation is `pixel @ x + mean @ (mean of x)`; these are the four.
    brightness, contrast, saturation = (
        factors[..., index, None, None] for index in range(3)
    )
    angle = np.float32(2.0 * np.pi) * shift[..., None, None]
    hue = _HUE_AXIS + xp.cos(angle) * _HUE_COS + xp.sin(angle) * _HUE_SIN
    pixel = xp.stack(
        [
            brightness * _IDENTITY,
            contrast * _IDENTITY,
            saturation * _IDENTITY + (one - saturation) * _TO_GRAY,
            hue,
        ],
        axis=-3,
    )
    contrast_from_mean = (one - contrast) * _TO_GRAY
    zero = np.float32(0.0) * contrast_from_mean
    mean = xp.stack([zero, contrast_from_mean, zero, zero], axis=-3)
    jittered = jittered[..., None, None, None]
    pixel = jittered * pixel + (one - jittered) * _IDENTITY
    mean = jittered * mean

    order = cast(xp.argsort(ranks, axis=-1), "int32")[..., None, None]
    pixel = xp.take_along_axis(pixel, order, axis=-3)
    mean = xp.take_along_axis(mean, order, axis=-3)
    matrix = pixel[..., 0, :, :]
    from_mean = mean[..., 0, :, :]
    for step in range(1, 4):
        here = pixel[..., step, :, :]
        from_mean = xp.matmul(here, from_mean) + xp.matmul(
            mean[..., step, :, :], matrix + from_mean
        )
        matrix = xp.matmul(here, matrix)
    gray = gray[..., None, None]
    last = gray * _TO_GRAY + (one - gray) * _IDENTITY
    return xp.matmul(last, matrix), xp.matmul(last, from_mean)
