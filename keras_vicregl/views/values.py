"""The values of images, and how they become pixels.

Views, evaluations and exports compute with pixels in [0, 255]. Images of 8 bits
have such values; of others a range says which value becomes 0 and which 255.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_vicregl._warnings import warn

Pair = tuple[float, float]
ValueRange = Pair | tuple[Pair, ...]

DTYPES = ("uint8", "uint16", "float32")

# A larger share of values beyond the range is hardly meant.
MOST_BEYOND = 0.5
# Without a sign in their shape: more channels than this are hardly rows.
_FEW_ROWS = 16
# Fewer are seldom the width of an image.
_MANY_CHANNELS = 7


def check_value_range(value: Any, channels: int) -> ValueRange | None:
    """Return `value` as tuples if it is a range of values, or one a channel."""
    if value is None:
        return None
    try:
        array = np.asarray(value, "float64")
    except (TypeError, ValueError):
        array = np.zeros(())
    known = array.shape in ((2,), (channels, 2))
    if not known or not np.isfinite(array).all():
        raise ValueError(
            "value_range must be a pair of finite numbers (low, high), or such "
            f"a pair for each of the {channels} channels. Got {value!r}."
        )
    width = np.float32(array[..., 1]) - np.float32(array[..., 0])
    if not (width > 0).all():
        channel = "" if array.ndim == 1 else f" of channel {np.argmin(width)}"
        raise ValueError(
            f"value_range must have low < high, in float32 too. Got {value!r}, "
            f"of which those{channel} are not: a range without width would "
            "make all pixels alike."
        )
    if array.ndim == 1:
        return float(array[0]), float(array[1])
    return tuple((float(low), float(high)) for low, high in array)


def pixel_scale(value_range: ValueRange) -> tuple[np.ndarray, np.ndarray]:
    """What is taken off values, and what multiplies the rest.

    Returns:
        `low` and `factor`, float32 scalars or (C,): a pixel is
        `(value - low) * factor`, clipped to [0, 255].
    """
    low, high = np.moveaxis(np.asarray(value_range, "float64"), -1, 0)
    return np.float32(low), np.float32(255.0 / (high - low))


def to_pixels(images: Any, value_range: ValueRange | None) -> np.ndarray:
    """Pixels in [0, 255] of images (..., C), with NumPy.

    Args:
        images: of any dtype of numbers.
        value_range: see `MultiView`; None leaves the values as they are.

    Returns:
        float32, same shape.
    """
    images = np.asarray(images, np.float32)
    if value_range is None:
        return images
    low, factor = pixel_scale(value_range)
    return np.clip((images - low) * factor, 0.0, 255.0)


def beyond(
    images: np.ndarray, value_range: ValueRange
) -> tuple[float, float, float]:
    """The share of values beyond a range, the smallest and the largest."""
    low, high = np.moveaxis(np.asarray(value_range, "float64"), -1, 0)
    outside = (images < low) | (images > high)
    return float(outside.mean()), float(images.min()), float(images.max())


def told_beyond(
    share: float, low: float, high: float, value_range: ValueRange
) -> str:
    """What to say of too many values beyond a range."""
    return (
        f"{share:.0%} of the values of images are beyond value_range="
        f"{value_range}, and become its ends: they are {low:.6g} to "
        f"{high:.6g}. Is the range that of these images? "
        "keras_vicregl.data.channel_statistics finds one."
    )


def unmasked(value: Any, what: str) -> np.ndarray:
    """An array, not copied if it is one.

    Args:
        value: an array, or what becomes one.
        what: what it is called where something in it is masked.

    Raises:
        ValueError: if it is a masked array of NumPy, as readers of rasters
            give, with anything masked, which would be taken for values.
    """
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        count = int(np.ma.count_masked(value))
        raise ValueError(
            f"{what} must have no masked values, and {count} of {value.size} "
            "are: fill them, as .filled(0) does, or leave such images out"
        )
    return np.asarray(value)


def check_finite(image: np.ndarray) -> None:
    """Raises a ValueError for values (..., C) that are not finite."""
    # A sum is not finite if a value is not, and quicker.
    if image.dtype.kind != "f" or np.isfinite(image.sum(dtype="float64")):
        return
    bad = ~np.isfinite(image)
    if bad.any():
        raise ValueError(
            f"{int(bad.sum())} of {bad.size} values are NaN or infinite, the "
            f"first in channel {np.argwhere(bad)[0][-1]}: replace them, as "
            "np.nan_to_num does"
        )


def looks_channels_first(shape: Sequence[int | None]) -> bool:
    """Whether images of a shape (..., H, W, C) are rather (..., C, H, W)."""
    first, height, width = shape[-3:]
    if first is None or height is None or width is None:
        return False
    if first > _FEW_ROWS:
        return False
    return min(height, width) >= 3 * first and width > _FEW_ROWS


def warn_of_axes(shape: Sequence[int], way: str) -> None:
    """Says where the last two of (..., H, W, C) are rather height and width.

    Square images of many channels, as of a spectrum, look like that. Nothing
    else tells, so it is no error.

    Args:
        shape: of images.
        way: what moves the axes.
    """
    height, width, channels = shape[-3:]
    if width == channels != height and channels > _MANY_CHANNELS:
        warn(
            f"Images of shape {tuple(shape)} are taken for {height} rows of "
            f"{width} pixels of {channels} channels. Where they are {height} "
            f"channels of {width} x {channels} pixels, {way} moves these to "
            "the end."
        )


def unknown_range(dtype: str) -> str:
    """What to say of images whose range nothing tells."""
    return (
        f"{dtype} images need a range, which their dtype does not tell: "
        "MultiView(value_range=(0, 65535)) for 16 bits, (0, 4095) for 12, (0, "
        "255) for what is of 8, or MultiView.for_channels("
        "channel_statistics(images)), which looks."
    )


@dataclasses.dataclass(frozen=True)
class ChannelStatistics:
    """What `keras_vicregl.data.channel_statistics` finds of images' values.

    Attributes:
        dtype: of the images.
        examples: how many were looked at.
        mean: (C,), of the raw values of each channel.
        std: their standard deviations.
        smallest: smallest values.
        largest: largest values.
        percentiles: the two percentiles, of 0 to 100.
        low: (C,), the lower percentile of the raw values, or the lower end of
            a `value_range` that was given.
        high: the higher one.
        pixel_mean: (C,), the mean where `low` becomes 0 and `high` 1, and what
            is beyond is clipped: `mean` of a `MultiView` with `value_range`.
        pixel_std: their standard deviations: its `std`.
    """

    dtype: str
    examples: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    smallest: tuple[float, ...]
    largest: tuple[float, ...]
    percentiles: Pair
    low: tuple[float, ...]
    high: tuple[float, ...]
    pixel_mean: tuple[float, ...]
    pixel_std: tuple[float, ...]

    @property
    def channels(self) -> int:
        """Number of channels C."""
        return len(self.mean)

    @property
    def value_range(self) -> tuple[Pair, ...]:
        """Percentiles of each channel, as `MultiView` takes them.

        Raises:
            ValueError: if the two are the same in a channel.
        """
        self._check(self.low, self.high)
        return tuple(zip(self.low, self.high, strict=True))

    def as_arguments(
        self, value_range: ValueRange | None = None
    ) -> dict[str, Any]:
        """`channels`, `value_range`, `mean` and `std` of a `MultiView`.

        Args:
            value_range: another than the percentiles. Of values that are
                beyond it, mean and deviation are then as if they were not
                clipped.

        Raises:
            ValueError: if the percentiles of a channel are the same, or its
                values.
        """
        mean, std = self.pixel_mean, self.pixel_std
        if value_range is None:
            value_range = self.value_range
        else:
            value_range = check_value_range(value_range, self.channels)
            pairs = np.broadcast_to(value_range, (self.channels, 2))
            low, high = pairs.T
            self._check(low, high)
            if (pairs == np.stack([self.low, self.high], axis=1)).all():
                return self.as_arguments()
            if (low > self.low).any() or (high < self.high).any():
                warn(
                    f"value_range={value_range} clips values that are not "
                    f"rare, and mean and deviation are as if it did not: pass "
                    "it to channel_statistics(..., value_range=), which looks "
                    "at the images with it."
                )
            mean = tuple(((self.mean - low) / (high - low)).tolist())
            std = tuple((self.std / (high - low)).tolist())
        return {
            "channels": self.channels,
            "value_range": value_range,
            "mean": mean,
            "std": std,
        }

    def _check(self, low: Sequence[float], high: Sequence[float]) -> None:
        """Raises a ValueError for channels without any width of values."""
        for channel, (smallest, largest) in enumerate(
            zip(self.smallest, self.largest, strict=True)
        ):
            if smallest == largest:
                raise ValueError(
                    f"Channel {channel} has the value {smallest:g} everywhere, "
                    "which tells nothing: leave it out of the images."
                )
            if np.float32(low[channel]) >= np.float32(high[channel]):
                first, second = self.percentiles
                raise ValueError(
                    f"Channel {channel} has the value {low[channel]:g} as "
                    f"percentile {first:g} and as {second:g}, though its "
                    f"values are {smallest:g} to {largest:g}: pass wider "
                    "percentiles to channel_statistics, as (0, 100), or "
                    "value_range=(low, high) to MultiView."
                )
