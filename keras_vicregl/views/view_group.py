"""The description of views of one size."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from keras_vicregl.views._checks import (
    check_count,
    check_interval,
    check_probability,
)


@dataclasses.dataclass(frozen=True)
class ViewGroup:
    """Views of one size and one recipe.

    Args:
        size: rows and columns of a view, an integer for square ones.
        count: number of views.
        scale: pair, smallest and largest fraction of the image's area.
        aspect_ratio: pair, smallest and largest width / height of the box.
        blur: probabilities of a blur, one a view; fewer than `count` repeat.
        solarize: probabilities of solarising, likewise.
        blur_sigma: pair, smallest and largest standard deviation of the blur,
            in pixels of the view.

    Raises:
        ValueError: for arguments outside of their range.

    Example:

    >>> from keras_vicregl.views import ViewGroup
    >>> ViewGroup(96, count=6, scale=(0.08, 0.4)).size
    (96, 96)
    """

    size: int | tuple[int, int]
    count: int
    scale: tuple[float, float] = (0.08, 1.0)
    aspect_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    blur: tuple[float, ...] = (1.0, 0.1)
    solarize: tuple[float, ...] = (0.0, 0.2)
    blur_sigma: tuple[float, float] = (0.1, 2.0)

    def __post_init__(self) -> None:
        checked = {
            "size": _check_size(self.size),
            "count": check_count("count", self.count),
            "scale": check_interval("scale", self.scale, high=1.0),
            "aspect_ratio": check_interval("aspect_ratio", self.aspect_ratio),
            "blur": _check_probabilities("blur", self.blur),
            "solarize": _check_probabilities("solarize", self.solarize),
            "blur_sigma": check_interval("blur_sigma", self.blur_sigma),
        }
        for name, value in checked.items():
            object.__setattr__(self, name, value)


def _check_size(size: Any) -> tuple[int, int]:
    if isinstance(size, int):
        size = (size, size)
    if not isinstance(size, Sequence) or len(size) != 2:
        raise ValueError(
            f"size must be an integer or a pair (height, width). Got {size!r}."
        )
    height, width = size
    return check_count("size", height), check_count("size", width)


def _check_probabilities(name: str, values: Any) -> tuple[float, ...]:
    if not isinstance(values, Sequence) or not values:
        raise ValueError(
            f"{name} must hold one probability a view, at least one. Got "
            f"{values!r}."
        )
    return tuple(check_probability(name, value) for value in values)
