"""Pictures of images that are not red, green and blue."""

from collections.abc import Sequence
from typing import Any

import numpy as np


def band_colors(
    images: np.ndarray,
    bands: Sequence[int] | int | None = None,
    *,
    percentiles: tuple[float, float] = (1.0, 99.0),
) -> np.ndarray:
    """Three channels of images, or one, stretched to be seen.

    Each band is stretched by itself, from a low to a high percentile of its
    values in all images together, whatever values these are.

    Args:
        images: `(N, H, W, C)` or `(H, W, C)` array of numbers.
        bands: which channels are to be red, green and blue; an integer: that
            one in grey. `None`: of one channel that, in grey, and of three all.
        percentiles: of 0 to 100, what becomes black and full colour.

    Returns:
        uint8, `(N, H, W, 3)` or `(H, W, 3)`; black where a value is not finite.

    Raises:
        ValueError: if images have no such bands, or it is not said which of
            theirs are to be shown.

    Example:

    >>> images = np.random.default_rng(0).normal(0, 9, (2, 8, 8, 13))
    >>> colors = band_colors(images, bands=(3, 2, 1))
    >>> colors.shape, int(colors.min()), int(colors.max())
    ((2, 8, 8, 3), 0, 255)
    """
    images = np.asarray(images)
    chosen = check_bands(bands, images.shape)
    values = np.asarray(images[..., chosen], np.float64)
    finite = np.isfinite(values)
    values = np.where(finite, values, np.nan)
    if not finite.any(axis=tuple(range(values.ndim - 1))).all():
        raise ValueError(f"A band of {chosen} has no finite value at all.")
    axes = tuple(range(values.ndim - 1))
    low, high = np.nanpercentile(values, percentiles, axis=axes)
    unit = (values - low) / np.maximum(high - low, 1e-12)
    unit = np.where(finite, np.clip(unit, 0, 1), 0)
    colors = np.rint(255 * unit).astype(np.uint8)
    return np.broadcast_to(colors, (*colors.shape[:-1], 3)).copy()


def check_bands(bands: Any, shape: tuple[int, ...]) -> list[int]:
    """Numbers of three bands of images of a shape, or of one."""
    channels = shape[-1] if len(shape) in (3, 4) else 0
    if bands is None and channels in (1, 3):
        return list(range(channels))
    chosen = [] if bands is None else np.atleast_1d(bands).tolist()
    if len(chosen) not in (1, 3) or not all(
        isinstance(band, int) and 0 <= band < channels for band in chosen
    ):
        raise ValueError(
            "`bands` must be three numbers of channels, which become red, "
            f"green and blue, or one, of images (N, H, W, C). Received: bands="
            f"{bands!r} for images of shape {tuple(shape)}"
        )
    return chosen
