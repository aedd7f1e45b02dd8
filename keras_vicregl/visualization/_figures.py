"""What the plotting functions share."""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def new_figure(width: float, height: float) -> "Figure":
    """A figure of its own, in inches: no window, no global state."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "Pictures need matplotlib: pip install keras-vicregl[examples]"
        ) from error
    return Figure(figsize=(width, height), layout="constrained", dpi=120)


def displayable(images: np.ndarray) -> np.ndarray:
    """uint8 pixels of images `(..., 3)`, whatever range they are in.

    Normalised images are stretched, all together, from their smallest to their
    largest value.
    """
    images = np.asarray(images)
    if images.dtype == np.uint8:
        return images
    low, high = images.min(), images.max()
    if low < 0 or high > 255:
        images = (images - low) / max(high - low, 1e-12) * 255
    return np.clip(np.rint(images), 0, 255).astype(np.uint8)
