"""The mean and deviation of images, where nothing else is said."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from keras_vicregl.views.values import (
    ValueRange,
    check_value_range,
    to_pixels,
)

# Of the channels, on a scale of [0, 1].
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

# Of channels that are not red, green and blue: the middle of the range, and
# most of it within two deviations.
_PLAIN_MEAN, _PLAIN_STD = 0.5, 0.25


def default_mean(channels: int) -> tuple[float, ...]:
    """Means where none are given: of three channels ImageNet's."""
    return IMAGENET_MEAN if channels == 3 else (_PLAIN_MEAN,) * channels


def default_std(channels: int) -> tuple[float, ...]:
    """Standard deviations where none are given."""
    return IMAGENET_STD if channels == 3 else (_PLAIN_STD,) * channels


class Normalization(NamedTuple):
    """How values of images become what a network takes.

    Attributes:
        mean: (C,), of the channels on a scale of [0, 1].
        std: (C,), their standard deviations.
        value_range: what becomes 0 and 1, see `MultiView`. None: 0 and 255.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    value_range: ValueRange | None = None

    @property
    def channels(self) -> int:
        """Number of channels C."""
        return len(self.mean)

    def as_config(self) -> list[Any]:
        """Its parts as JSON has them; of images of 8 bits only two."""
        parts = [self.mean, self.std]
        return parts if self.value_range is None else [*parts, self.value_range]

    @classmethod
    def from_config(cls, parts: Any) -> Normalization:
        """The inverse of `as_config`."""
        mean, std, *rest = parts
        value_range = check_value_range(rest[0], len(mean)) if rest else None
        return cls(tuple(mean), tuple(std), value_range)

    def __call__(self, images: Any) -> np.ndarray:
        """Normalises images (..., C); float32, same shape."""
        mean = np.array(self.mean, np.float32)
        std = np.array(self.std, np.float32)
        pixels = to_pixels(images, self.value_range)
        # One multiplication and one addition a value.
        return pixels * (1 / (255 * std)) - mean / std
