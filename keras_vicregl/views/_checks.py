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
    name: str, value: Any, *, positive: bool = False
) -> tuple[float, float, float]:
    """Return `value` as three floats, one a channel."""
    wanted = "three positive numbers" if positive else "three numbers"
    message = f"{name} must be {wanted}, one a channel. Got {value!r}."
    if not isinstance(value, Sequence) or len(value) != 3:
        raise ValueError(message)
    if not all(_is_number(number) for number in value):
        raise ValueError(message)
    if positive and min(value) <= 0.0:
        raise ValueError(message)
    red, green, blue = map(float, value)
    return red, green, blue


def _is_number(value: Any) -> bool:
    return (
        isinstance(value, Real)
        and not isinstance(value, bool)
        and not math.isnan(value)
    )
