"""Ctrl-C and SIGTERM as wishes, which a training fulfils at its next step."""

from __future__ import annotations

import signal
import threading
from collections.abc import Sequence
from typing import Any


class TrainingInterrupted(KeyboardInterrupt):
    """Training was stopped by a signal, after a checkpoint was saved.

    Like a `KeyboardInterrupt` it passes through `except Exception`.

    Attributes:
        exit_code: what a script should exit with, 128 plus the number of the
            signal as shells have it: 130 for Ctrl-C, 143 for SIGTERM.

    Example:

    >>> TrainingInterrupted("Saved.", signal.SIGTERM).exit_code
    143
    """

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number


class StopSignals:
    """Notes the first Ctrl-C or SIGTERM while in its context.

    A second one has its usual effect, at once. Outside the main thread, where
    Python allows no handlers, nothing is noted and signals do what they did.

    Args:
        signals: numbers of the signals.

    Example:

    >>> with StopSignals() as stop:
    ...     signal.raise_signal(signal.SIGTERM)
    ...     stop.received is signal.SIGTERM
    True
    """

    def __init__(
        self,
        signals: Sequence[signal.Signals] = (signal.SIGINT, signal.SIGTERM),
    ) -> None:
        self._signals = tuple(signals)
        self._handlers: dict[signal.Signals, Any] = {}
        self.received: signal.Signals | None = None

    def __enter__(self) -> StopSignals:
        self.received = None
        if threading.current_thread() is threading.main_thread():
            for number in self._signals:
                self._handlers[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *error: Any) -> None:
        self._restore()

    def _note(self, number: int, frame: Any) -> None:
        self.received = signal.Signals(number)
        self._restore()

    def _restore(self) -> None:
        while self._handlers:
            number, handler = self._handlers.popitem()
            # None: a handler that Python did not install, and cannot restore.
            signal.signal(
                number, signal.SIG_DFL if handler is None else handler
            )
