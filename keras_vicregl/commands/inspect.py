"""What a run has come to: its state, its curves, and what to look at.

    keras-vicregl inspect runs/mine

Reads the logs alone: it can be asked at any time, beside the training too.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import json
import math
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

from keras_vicregl.commands.problems import UsageError
from keras_vicregl.commands.translation import in_options

SUMMARY = "the state of a run, its curves as text, what to look at"

_BARS = "▁▂▃▄▅▆▇█"
_WIDTH = 40
# Of the highest spread of embeddings that the run has had, what is a collapse,
# and a correlation of channels that is one: see `models.WarnOnCollapse`.
_SPREAD, _CORRELATION = 0.1, 0.5
_WAITED = 0.2  # of the time
_STATES = {
    "started": "began",
    "resumed": "went on",
    "epoch": "ended an epoch",
    "stopped": "stopped",
    "failed": "failed",
    "finished": "was done",
    "changed": "went on with changes",
    "left out": "left a batch out",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of this command."""
    parser.add_argument("folder", metavar="RUN", help="folder of a run")


def run(arguments: argparse.Namespace) -> None:
    """Prints what the logs say."""
    from keras_vicregl.storage.history import (
        EVENTS,
        STEPS,
        read_history,
        read_rows,
    )

    folder = pathlib.Path(arguments.folder).expanduser()
    if not folder.is_dir():
        raise UsageError(f"there is no folder {arguments.folder!r}.")
    if not (folder / EVENTS).exists():
        raise UsageError(
            f"{arguments.folder!r} is no run: it has no {EVENTS}, which a run "
            "has from its first step on."
        )
    events = read_rows(folder / EVENTS)
    history = read_history(folder)
    settings = {}
    if (folder / "config.json").exists():
        settings = json.loads((folder / "config.json").read_text())
    for line in (
        *_state(events, settings, history),
        *_curves(history),
        *_to_look_at(events, history),
    ):
        print(line)
    if not history and (folder / STEPS).exists():
        rows = read_rows(folder / STEPS)
        if rows:
            print(f"step {rows[-1]['step']}: {_figures(rows[-1])}")


def _state(
    events: list[dict[str, Any]],
    settings: dict[str, Any],
    history: dict[str, list[float]],
) -> Iterator[str]:
    shown = {
        name: settings[name]
        for name in ("recipe", "data", "epochs", "batch_size", "precision")
        if settings.get(name) is not None
    }
    if shown:
        yield ", ".join(f"{name} {value}" for name, value in shown.items())
    last = events[-1]
    done = max(map(len, history.values()), default=0)
    of = f" of {settings['epochs']}" if settings.get("epochs") else ""
    ago = _ago(last["time"])
    said = _STATES.get(last["event"], f"wrote {last['event']!r}")
    epochs = f"{done}{of} epoch{'s' * (bool(of) or done != 1)}"
    yield f"{epochs}; it {said} {ago} ago ({last['time']})"
    if reason := last.get("reason"):
        yield f"reason: {in_options(reason, 'pretrain')}"
    trained = sum(e.get("seconds", 0.0) for e in events)
    resumed = sum(e["event"] == "resumed" for e in events)
    speeds = [
        e["images_per_second"] for e in events if "images_per_second" in e
    ]
    facts = [f"{_duration(trained)} of training"]
    if speeds:
        facts.append(f"{speeds[-1]:.0f} images a second")
    if memory := last.get("peak_memory"):
        facts.append(f"{memory / 1e9:.1f} GB at the most")
    if resumed:
        facts.append(f"resumed {_times(resumed)}")
    if last["event"] == "epoch" and last.get("seconds_left"):
        facts.append(f"{_duration(last['seconds_left'])} left")
    yield ", ".join(facts)


def _curves(history: dict[str, list[float]]) -> Iterator[str]:
    if not history:
        yield "No epoch is done yet."
        return
    yield ""
    width = max(map(len, history))
    for name, values in history.items():
        yield (
            f"{name:{width}} {_number(values[0]):>9} {curve(values)} "
            f"{_number(values[-1]):>9}"
        )


def curve(values: Sequence[float], width: int = _WIDTH) -> str:
    """Values as a line of bars, as high as they are within their range.

    Args:
        values: one after the other. What is not finite is a blank.
        width: characters at most; of more values each is a mean of some.

    Example:

    >>> curve([0.0, 1.0, 2.0, 3.0])
    '▁▃▆█'
    """
    count = min(len(values), width)
    edges = [round(i * len(values) / count) for i in range(count + 1)]
    groups = [
        [v for v in values[low:high] if math.isfinite(v)]
        for low, high in itertools.pairwise(edges)
    ]
    means = [sum(group) / len(group) if group else None for group in groups]
    finite = [mean for mean in means if mean is not None]
    if not finite:
        return " " * count
    low, high = min(finite), max(finite)
    step = (high - low) / (len(_BARS) - 1)
    return "".join(
        " "
        if mean is None
        else _BARS[round((mean - low) / step) if step else 0]
        for mean in means
    )


def _to_look_at(
    events: list[dict[str, Any]], history: dict[str, list[float]]
) -> Iterator[str]:
    notes = list(_notes(events, history))
    if notes:
        yield ""
        yield from notes


def _notes(
    events: list[dict[str, Any]], history: dict[str, list[float]]
) -> Iterator[str]:
    for name in ("repr", "emb"):
        spread = history.get(f"{name}_std", [1.0])
        correlation = history.get(f"{name}_corr", [0.0])
        if spread[-1] < _SPREAD * max(spread):
            yield (
                f"! {name}_std has fallen from {max(spread):.2g} to "
                f"{spread[-1]:.2g}: images hardly change what the network says "
                "of them. Usual causes are too high a learning rate, and "
                "coefficients of variance and covariance that are too low."
            )
        if correlation[-1] > _CORRELATION:
            yield (
                f"! {name}_corr is {correlation[-1]:.2g}: most channels tell "
                "the same."
            )
    loss = [v for v in history.get("loss", ()) if math.isfinite(v)]
    if len(loss) < len(history.get("loss", ())):
        yield "! The loss was not finite in some epochs."
    if len(loss) > 3 and loss[-1] > 1.1 * min(loss):
        yield (
            f"! The loss is {loss[-1]:.3g}, and was {min(loss):.3g} in epoch "
            f"{loss.index(min(loss)) + 1}."
        )
    waited = [e["waited"] for e in events if "waited" in e]
    if waited and waited[-1] > _WAITED:
        yield (
            f"! {waited[-1]:.0%} of the time the step waited for data: cache "
            "files, or make views on the device."
        )
    left_out = sum(e["event"] == "left out" for e in events)
    if left_out:
        batches = "1 batch was" if left_out == 1 else f"{left_out} batches were"
        yield f"! {batches} left out (events.jsonl says which)."
    changed = [e for e in events if e["event"] == "changed"]
    if changed:
        yield f"! Settings were changed on the way, {_times(len(changed))}."


def _figures(row: dict[str, Any]) -> str:
    return ", ".join(
        f"{name} {_number(value)}"
        for name, value in row.items()
        if name not in ("epoch", "step") and value is not None
    )


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _number(value: float) -> str:
    return f"{value:.4g}"


def _ago(time: str) -> str:
    then = datetime.datetime.fromisoformat(time)
    now = datetime.datetime.now(datetime.timezone.utc)
    return _duration(max((now - then).total_seconds(), 0))


def _duration(seconds: float) -> str:
    """Seconds as people say them.

    >>> _duration(5), _duration(119), _duration(7300)
    ('5 s', '2 min', '2 h 2 min')
    """
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes // (24 * 60)} days"
