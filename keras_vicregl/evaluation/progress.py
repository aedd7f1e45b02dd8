"""How far an evaluation is, for whoever wants to see it."""

from __future__ import annotations

import contextlib
import contextvars
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from typing import Any, TextIO

# Seconds before anything is said, and between two texts of a line.
_PATIENCE, _PAUSE = 2.0, 0.5
# Seconds between lines where they stay.
_PAUSE_IN_FILES = 30.0

_FILE: contextvars.ContextVar[TextIO | None] = contextvars.ContextVar(
    "file", default=None
)

# An evaluation after each epoch of a training says the same again.
_SAID: set[str] = set()


class Progress:
    """A line of how far something is: in a terminal it is kept up to date.

    Elsewhere - in files, in notebooks - there is one every tenth, or every half
    a minute. The last one, when all is done, is always there.

    Args:
        count: what is to be done; `None` where that is not known.
        unit: of what, in the plural.
        what: begins the line.
        done: so much is done already.
        patience: seconds in which nothing is said: what takes no longer needs
            no line. Default: 2.
        file: to print to. Default: what `sys.stderr` is then.

    Example:

    >>> progress = Progress(4, "rows", "sorting", patience=0, file=sys.stdout)
    >>> for row in range(4):
    ...     progress.advance(row + 1)
    sorting: 1/4 rows, ... a second, ... s left
    ...
    sorting: 4/4 rows, ... a second, 0 s left
    """

    def __init__(
        self,
        count: int | None,
        unit: str = "images",
        what: str = "",
        done: int = 0,
        patience: float | None = None,
        file: TextIO | None = None,
    ) -> None:
        self._count, self._unit, self._what = count, unit, what
        self._first, self._told = done, done
        self._begun = self._last = time.monotonic()
        self._patience = _PATIENCE if patience is None else patience
        self._file = sys.stderr if file is None else file
        self._live = self._file.isatty()
        self._is_open = False

    def advance(self, done: int) -> None:
        """Says that so much is done."""
        now = time.monotonic()
        is_all = done == self._count
        has_spoken = self._told != self._first
        if done == self._told or (
            now - self._begun < self._patience and not has_spoken
        ):
            return
        if not is_all and not self._is_due(done, now - self._last):
            return
        self._last, self._told = now, done
        text = self._text(done, now - self._begun)
        if self._live:
            print(f"\r{text:78}", end="", file=self._file, flush=True)
        else:
            print(text, file=self._file, flush=True)
        self._is_open = self._live

    def say(self, text: str) -> None:
        """A line of its own."""
        self.end()
        print(text, file=self._file, flush=True)

    def end(self) -> None:
        """Ends the line."""
        if self._is_open:
            self._is_open = False
            print(file=self._file, flush=True)

    def _is_due(self, done: int, waited: float) -> bool:
        if self._live:
            return waited >= _PAUSE
        if waited >= _PAUSE_IN_FILES:
            return True
        return self._count is not None and (
            done - self._told >= self._count / 10
        )

    def _text(self, done: int, seconds: float) -> str:
        speed = (done - self._first) / max(seconds, 1e-9)
        rate = f"{speed:.0f}" if speed >= 10 else f"{speed:.2g}"
        start = f"{self._what}: " if self._what else ""
        if self._count is None:
            return f"{start}{done:,} {self._unit}, {rate} a second"
        left = (self._count - done) / max(speed, 1e-9)
        return (
            f"{start}{done:,}/{self._count:,} {self._unit}, {rate} a second, "
            f"{left:.0f} s left"
        )


@contextlib.contextmanager
def show_progress(file: TextIO | None = None) -> Iterator[None]:
    """Has the evaluations within show how far they are, if they last.

    Features, classifiers, heads, fine-tuning, detection: whatever takes more
    than two seconds has a line, see `Progress`. Without, they say nothing.

    Args:
        file: to print to. Default: `sys.stderr`.

    Example:

    ```python
    with show_progress():
        evaluate_finetuning(backbone, train, test, size=224)
    ```
    """
    token = _FILE.set(sys.stderr if file is None else file)
    try:
        yield
    finally:
        _FILE.reset(token)


def say_once(text: str) -> None:
    """Says something within `show_progress`, unless it has been said."""
    file = _FILE.get()
    if file is not None and text not in _SAID:
        _SAID.add(text)
        print(text, file=file, flush=True)


def counted(
    things: Iterable[Any],
    what: str,
    unit: str,
    count: int | None = None,
    size: Callable[[Any], int] = lambda thing: 1,
) -> Iterator[Any]:
    """Things, one after the other; within `show_progress` with a line.

    Args:
        things: to be gone through.
        what: begins the line.
        unit: of what is counted, in the plural.
        count: of the units. Default: the length of `things`, if it has one.
        size: how many of them a thing is.
    """
    file = _FILE.get()
    if file is None:
        yield from things
        return
    if count is None and isinstance(things, Sized):
        count = len(things)
    progress, done = Progress(count, unit, what, file=file), 0
    try:
        for thing in things:
            yield thing
            done += size(thing)
            progress.advance(done)
    finally:
        progress.end()
