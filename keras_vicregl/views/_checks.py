"""Checks of the arguments that layers of views have in common."""

import math
from collections.abc import Sequence
from numbers import Real
from typing import Any


def check_count(name: str, value: Any) -> int:
    """Return `value` if it is a whole number of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name} must be an integer >= 1. Got {value!r}.")
    return value


def check_integer(name: str, value: Any) -> int:
    """Return `value` if it is a whole number of at least 0."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{name} must be an integer >= 0. Got {value!r}.")
    return value


def check_number(
    name: str, value: Any, low: float, high: float = math.inf
) -> float:
    """Return `value` as a float if it is in [low, high]."""
    if not _is_number(value) or not low <= value <= high:
        bounds = (
            f">= {low:g}" if high == math.inf else f"in [{low:g}, {high:g}]"
        )
        raise ValueError(f"{name} must be a number {bounds}. Got {value!r}.")
    return float(value)


def check_choice(name: str, value: Any, choices: Sequence[str]) -> str:
    """Return `value` if it is one of `choices`."""
    if value not in choices:
        *others, last = map(repr, choices)
        raise ValueError(
            f"{name} must be {', '.join(others)} or {last}. Got {value!r}."
        )
    return value


def check_probability(name: str, value: Any) -> float:
    """Return `value` as a float if it is in [0, 1]."""
    return check_number(name, value, 0.0, 1.0)


def check_interval(
    name: str, value: Any, high: float = math.inf
) -> tuple[float, float]:
    """Return `value` as (low, high) if 0 < low <= high <= `high`."""
    limit = "" if high == math.inf else f" <= {high:g}"
    message = (
        f"{name} must be a pair (low, high) with 0 < low <= high{limit}. Got "
        f"{value!r}."
    )
    if not isinstance(value, Sequence) or len(value) != 2:
        raise ValueError(message)
    if not all(_is_number(number) for number in value):
        raise ValueError(message)
    lower, upper = map(float, value)
    if not 0.0 < lower <= upper <= high or upper == math.inf:
        raise ValueError(message)
    return lower, upper


def check_channels(
    name: str, value: Any, channels: int = 3, *, positive: bool = False
) -> tuple[float, ...]:
    """Return `value` as floats, one a channel."""
    count = "three" if channels == 3 else str(channels)
    sign = "positive " if positive else ""
    plural = "" if channels == 1 else "s"
    message = (
        f"{name} must be {count} {sign}number{plural}, one a channel. Got "
        f"{value!r}."
    )
    if not isinstance(value, Sequence) or len(value) != channels:
        raise ValueError(message)
    if not all(_is_number(number) for number in value):
        raise ValueError(message)
    if positive and min(value) <= 0.0:
        raise ValueError(message)
    return tuple(map(float, value))


def refuse_colors(channels: int, **strengths: float) -> None:
    """Raise a ValueError for changes of colour of what has no colours."""
    given = {name: value for name, value in strengths.items() if value}
    if channels == 3 or not given:
        return
    words = ", ".join(f"{name}={value:g}" for name, value in given.items())
    ways = ", ".join(f"{name}=0" for name in strengths)
    raise ValueError(
        f"{', '.join(given)}: colours are for RGB alone, and these images have "
        f"{channels} channel{'s' * (channels > 1)}. Got {words}. Pass {ways}; "
        "MultiView.for_channels has changes that suit any channels."
    )


def _is_number(value: Any) -> bool:
    return (
        isinstance(value, Real)
        and not isinstance(value, bool)
        and not math.isnan(value)
    )
