"""Ctrl-C and SIGTERM as wishes, which a training fulfils at its next step."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Sequence
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
        tell: called with the first one, at once and in another thread. The
            main thread notes a signal when it comes back to Python, and a step
            on a CPU may take seconds until it does.

    Example:

    >>> with StopSignals() as stop:
    ...     signal.raise_signal(signal.SIGTERM)
    ...     stop.received is signal.SIGTERM
    True
    """

    def __init__(
        self,
        signals: Sequence[signal.Signals] = (signal.SIGINT, signal.SIGTERM),
        tell: Callable[[signal.Signals], None] | None = None,
    ) -> None:
        self._signals = tuple(signals)
        self._tell = tell
        self._listener: _Listener | None = None
        self._handlers: dict[signal.Signals, Any] = {}
        self.received: signal.Signals | None = None

    def __enter__(self) -> StopSignals:
        self.received = None
        _ENTERED.append(self)
        if threading.current_thread() is threading.main_thread():
            if self._tell is not None:
                self._listener = _Listener(self._signals, self._tell)
            for number in self._signals:
                self._handlers[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *error: Any) -> None:
        if self in _ENTERED:
            _ENTERED.remove(self)
        self._restore()
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def _note(self, number: int, frame: Any) -> None:
        self.received = signal.Signals(number)
        self._restore()

    def _leave_child(self) -> None:
        """In a process that was forked meanwhile, such as a loader's worker.

        It must end when its parent says so, by SIGTERM, and have no part in
        what the parent listens to. Ctrl-C, which all processes of a terminal
        get, it notes like its parent, which needs it for the last step.
        """
        if self._listener is not None:
            self._listener.leave_child()
            self._listener = None
        handler = self._handlers.pop(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(
            signal.SIGTERM, signal.SIG_DFL if handler is None else handler
        )

    def _restore(self) -> None:
        while self._handlers:
            number, handler = self._handlers.popitem()
            # None: a handler that Python did not install, and cannot restore.
            signal.signal(
                number, signal.SIG_DFL if handler is None else handler
            )


class _Listener:
    """Tells of the first signal as soon as it comes, in a thread of its own.

    Python has C write the numbers of signals to a pipe, whatever the main
    thread is in.
    """

    def __init__(
        self,
        signals: Sequence[signal.Signals],
        tell: Callable[[signal.Signals], None],
    ) -> None:
        self._signals = signals
        self._tell = tell
        self._from, self._to = os.pipe()
        os.set_blocking(self._to, False)
        self._before = signal.set_wakeup_fd(self._to, warn_on_full_buffer=False)
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends the thread; Python writes to where it did before."""
        signal.set_wakeup_fd(self._before)
        os.close(self._to)
        self._thread.join()
        os.close(self._from)

    def leave_child(self) -> None:
        """Lets go of the pipe, whose end the thread of the parent waits for."""
        signal.set_wakeup_fd(-1)
        os.close(self._to)
        os.close(self._from)

    def _listen(self) -> None:
        told = False
        while numbers := os.read(self._from, 64):
            for number in numbers:
                if number in self._signals and not told:
                    told = True
                    self._tell(signal.Signals(number))
            if self._before != -1:
                # Whoever listened before may wait for others.
                with contextlib.suppress(OSError):
                    os.write(self._before, numbers)


_ENTERED: list[StopSignals] = []


def _after_fork() -> None:
    while _ENTERED:
        # Not where another thread has forked, which may set no handlers.
        with contextlib.suppress(ValueError):
            _ENTERED.pop()._leave_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
