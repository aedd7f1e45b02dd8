"""Figures of values that come a few at a time."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_vicregl.views.values import ChannelStatistics

# Values kept of floating-point images, over all channels, to find percentiles
# among: at percentile 0.1 of one channel they err by 0.002 of a percent.
_KEPT = 2**22


def values_of(images: np.ndarray) -> Values:
    """What gathers the values of such images as these (n, H, W, C)."""
    kind = _Integers if images.dtype.kind == "u" else _Floats
    return kind(images.dtype.name, images.shape[-1])


class Values:
    """Values of the channels seen so far."""

    def __init__(self, dtype: str, channels: int) -> None:
        self.dtype = dtype
        self.channels = channels

    def add(self, pixels: np.ndarray) -> None:
        """Takes pixels (P, C)."""
        raise NotImplementedError

    def statistics(
        self,
        examples: int,
        percentiles: tuple[float, float],
        ranges: np.ndarray | None = None,
    ) -> ChannelStatistics:
        """Figures of what was seen, of ranges (C, 2) instead of percentiles."""
        raise NotImplementedError


class _Integers(Values):
    """How often there is each value: all is exact."""

    def __init__(self, dtype: str, channels: int) -> None:
        super().__init__(dtype, channels)
        self._values = np.arange(np.iinfo(dtype).max + 1)
        self._counts = np.zeros((channels, len(self._values)), np.int64)

    def add(self, pixels: np.ndarray) -> None:
        """See `Values.add`."""
        for channel in range(self.channels):
            self._counts[channel] += np.bincount(
                pixels[:, channel], minlength=len(self._values)
            )

    def statistics(
        self,
        examples: int,
        percentiles: tuple[float, float],
        ranges: np.ndarray | None = None,
    ) -> ChannelStatistics:
        """See `Values.statistics`."""
        figures = []
        for channel, counts in enumerate(self._counts):
            values, counts = self._values[counts > 0], counts[counts > 0]
            ends = np.cumsum(counts)
            low, high = (
                _between(values, ends, share / 100) for share in percentiles
            )
            if ranges is not None:
                low, high = ranges[channel]
            pixels = _unit(values, low, high)
            figures.append(
                (
                    *_moments(values, counts),
                    values[0],
                    values[-1],
                    low,
                    high,
                    *_moments(pixels, counts),
                )
            )
        return _statistics(self.dtype, examples, percentiles, figures)


class _Floats(Values):
    """Sums of all values, and some of the values."""

    def __init__(self, dtype: str, channels: int) -> None:
        super().__init__(dtype, channels)
        self._count = 0
        self._mean, self._squares = np.zeros((2, channels))
        self._low = np.full(channels, np.inf)
        self._high = -self._low
        self._rng = np.random.default_rng(0)
        self._share = 1.0
        self._kept: list[np.ndarray] = []
        self._most = max(_KEPT // channels, 2**12)

    def add(self, pixels: np.ndarray) -> None:
        """See `Values.add`."""
        count = len(pixels)
        mean = pixels.mean(axis=0, dtype=np.float64)
        squares = np.square(pixels - mean).sum(axis=0)
        # Chan, Golub and LeVeque's update: sums of squares alone cancel.
        total, change = self._count + count, mean - self._mean
        self._squares += squares + change**2 * (self._count * count / total)
        self._mean += change * (count / total)
        self._count = total
        self._low = np.minimum(self._low, pixels.min(axis=0))
        self._high = np.maximum(self._high, pixels.max(axis=0))
        self._kept.append(self._thinned(pixels, self._share))
        while sum(map(len, self._kept)) > self._most:
            self._share /= 2
            self._kept = [self._thinned(np.concatenate(self._kept), 0.5)]

    def _thinned(self, pixels: np.ndarray, share: float) -> np.ndarray:
        if share == 1.0:
            return pixels
        return pixels[self._rng.random(len(pixels)) < share]

    def statistics(
        self,
        examples: int,
        percentiles: tuple[float, float],
        ranges: np.ndarray | None = None,
    ) -> ChannelStatistics:
        """See `Values.statistics`."""
        kept = np.concatenate(self._kept).astype(np.float64)
        figures = []
        for channel, values in enumerate(kept.T):
            low, high = np.percentile(values, percentiles)
            if percentiles[0] == 0:
                low = self._low[channel]
            if percentiles[1] == 100:
                high = self._high[channel]
            if ranges is not None:
                low, high = ranges[channel]
            pixels = _unit(values, low, high)
            figures.append(
                (
                    self._mean[channel],
                    np.sqrt(self._squares[channel] / self._count),
                    self._low[channel],
                    self._high[channel],
                    low,
                    high,
                    pixels.mean(),
                    pixels.std(),
                )
            )
        return _statistics(self.dtype, examples, percentiles, figures)


def _between(values: np.ndarray, ends: np.ndarray, share: float) -> float:
    """A percentile as NumPy has it: linear between the two values next to it.

    Args:
        values: distinct, rising.
        ends: how many values there are up to each of them.
        share: of [0, 1].
    """
    place = share * (ends[-1] - 1)
    first = int(place)
    low, high = (
        values[np.searchsorted(ends, min(each, ends[-1] - 1), "right")]
        for each in (first, first + 1)
    )
    return float(low + (place - first) * (high - low))


def _unit(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Values in [0, 1] of a range; 0 if it has no width."""
    return np.clip((values - low) / ((high - low) or np.inf), 0.0, 1.0)


def _moments(values: np.ndarray, counts: np.ndarray) -> tuple[float, float]:
    mean = np.average(values, weights=counts)
    variance = np.average((values - mean) ** 2, weights=counts)
    return float(mean), float(np.sqrt(variance))


def _statistics(
    dtype: str, examples: int, percentiles: Any, figures: list[tuple]
) -> ChannelStatistics:
    names = (
        "mean",
        "std",
        "smallest",
        "largest",
        "low",
        "high",
        "pixel_mean",
        "pixel_std",
    )
    columns = (tuple(map(float, each)) for each in zip(*figures, strict=True))
    return ChannelStatistics(
        dtype=dtype,
        examples=examples,
        percentiles=percentiles,
        **dict(zip(names, columns, strict=True)),
    )
