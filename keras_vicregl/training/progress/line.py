"""Text of a training that goes on, in one line of a given width."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from keras_vicregl.models.vicregl import GLOBAL_TERMS, LOCAL_TERMS
from keras_vicregl.training.progress.speed import Rates

LONGEST = 100
_LOSS = "loss"


class Seen(NamedTuple):
    """What there is to say.

    Attributes:
        epoch: the present one, from 1.
        epochs: of the whole training.
        step: steps done of this epoch; `None` at its end.
        steps: of the whole epoch; `None` where that is not known.
        logs: loss and terms, and the figures of the end of an epoch.
        figures: names of the latter.
        rates: how fast it goes.
        peak: memory in bytes.
        left: seconds.
    """

    epoch: int
    epochs: int
    step: int | None = None
    steps: int | None = None
    logs: Mapping[str, float] = {}
    figures: tuple[str, ...] = ()
    rates: Rates | None = None
    peak: int | None = None
    left: float | None = None


class _Form(NamedTuple):
    """How much of it is said."""

    digits: int = 4
    words: bool = True
    epoch: bool = True
    peak: bool = True
    unit: bool = True
    local: bool = True
    terms: bool = True
    waited: bool = True
    figures: bool = True
    speed: bool = True
    left: bool = True


def _forms() -> Iterator[_Form]:
    """From the longest one on, each without something that counts less."""
    form = _Form()
    yield form
    for changes in (
        {"digits": 3},
        {"words": False},
        {"epoch": False},
        {"peak": False},
        {"unit": False},
        {"digits": 2},
        {"local": False},
        {"terms": False},
        {"waited": False},
        {"figures": False},
        {"speed": False},
        {"left": False},
    ):
        form = form._replace(**changes)
        yield form


_FORMS = tuple(_forms())


def line(seen: Seen, width: int = LONGEST, form: int = 0) -> tuple[str, int]:
    """The longest text that fits.

    `epoch 3/60 loss 27.15 inv 2.126/7.700 ...`: after a slash, the same term of
    the local criterion.

    Args:
        seen: what there is to say.
        width: characters.
        form: number of the form to begin with, 0 for the longest.

    Returns:
        The text, and the number of its form, for the lines after it to look
        alike.
    """
    for number in range(form, len(_FORMS)):
        text = " ".join(_parts(seen, _FORMS[number]))
        if len(text) <= width:
            return text, number
    return text[:width], len(_FORMS) - 1


def number(value: float, digits: int) -> str:
    """A number with so many significant digits, in few characters.

    Example:

    >>> [number(value, 3) for value in (27.1503, 0.0722, 1234.5, 2.5e-7)]
    ['27.2', '0.0722', '1234', '2.50e-7']
    """
    if not math.isfinite(value):
        return str(float(value))
    if value == 0:
        return "0"
    exponent = math.floor(math.log10(abs(value)))
    if -4 < exponent < 5:
        return f"{value:.{max(digits - 1 - exponent, 0)}f}"
    mantissa, _, power = f"{value:.{digits - 1}e}".partition("e")
    return f"{mantissa}e{int(power)}"


def duration(seconds: float) -> str:
    """A time as people say it, in two units at most.

    Example:

    >>> [duration(seconds) for seconds in (7.4, 750, 7500, 273600)]
    ['7s', '12m30s', '2h05m', '3d04h']
    """
    seconds = round(seconds)
    for unit, smaller, size in (("d", "h", 86400), ("h", "m", 3600)):
        if seconds >= size:
            part = {"h": 3600, "m": 60}[smaller]
            rest = seconds % size // part
            return f"{seconds // size}{unit}{rest:02d}{smaller}"
    if seconds >= 60:
        return f"{seconds // 60}m{seconds % 60:02d}s"
    return f"{seconds}s"


def _parts(seen: Seen, form: _Form) -> Iterator[str]:
    yield f"{'epoch ' if form.epoch else ''}{seen.epoch}/{seen.epochs}"
    if seen.step is not None:
        of = "" if seen.steps is None else f"/{seen.steps}"
        yield f"{'step ' if form.words else ''}{seen.step}{of}"
    logs = seen.logs
    if _LOSS in logs:
        yield f"{_LOSS} {number(logs[_LOSS], max(form.digits, 3))}"
    for name in seen.figures if form.figures else ():
        yield f"{name} {number(logs[name], max(form.digits, 3))}"
    for name, local in zip(GLOBAL_TERMS, LOCAL_TERMS, strict=True):
        if form.terms and name in logs:
            text = f"{name} {number(logs[name], form.digits)}"
            if form.local and local in logs:
                text += f"/{number(logs[local], form.digits)}"
            yield text
    yield from _speed(seen, form)
    if seen.left is not None and form.left:
        yield f"{duration(seen.left)} left"


def _speed(seen: Seen, form: _Form) -> Iterator[str]:
    rates = seen.rates
    if rates is not None and form.speed:
        unit = rates.of if form.words else {"images": "img"}.get(rates.of)
        unit = f" {unit or rates.of}" if form.unit else ""
        yield f"{number(rates.per_second, 3)}{unit}/s"
    if rates is not None and rates.waited is not None and form.waited:
        word = "waited" if form.words else "wait"
        yield f"{word} {rates.waited:.0%}"
    if seen.peak is not None and form.peak:
        yield f"{seen.peak / 1e9:.3g} GB"
