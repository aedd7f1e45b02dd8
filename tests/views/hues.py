"""The hue as Python's colorsys has it, to compare with."""

import colorsys

import numpy as np


def turned(image, shift):
    """Hue shifted by colorsys, pixel by pixel."""
    result = np.empty(image.shape)
    for index in np.ndindex(image.shape[:2]):
        hue, saturation, value = colorsys.rgb_to_hsv(*image[index] / 255.0)
        result[index] = colorsys.hsv_to_rgb(
            (hue + shift) % 1.0, saturation, value
        )
    return 255.0 * result
