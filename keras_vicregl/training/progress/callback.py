"""The line that a training prints of itself."""

from __future__ import annotations

import math
import numbers
import os
import sys
import time
from collections.abc import Callable
from typing import Any, TextIO

import keras

from keras_vicregl.distribution.memory import peak_memory
from keras_vicregl.distribution.processes import process_index
from keras_vicregl.training.progress.line import (
    LONGEST,
    Seen,
    duration,
    line,
    number,
)
from keras_vicregl.training.progress.speed import Speed

# Seconds between two texts of a line.
_PAUSE = 0.2
# Steps, or seconds, after which it is known how long it will take, and how many
# seconds are worth a line.
_FIRST_STEPS, _FIRST_SECONDS, _WORTH_SAYING = 10, 30.0, 60.0
# What `VICRegL` logs besides loss and terms, and people look at.
_OF_STEPS = ("top1",)


def check_verbose(verbose: Any) -> None:
    """Raises a ValueError unless it is "auto", 0, 1 or 2."""
    is_one = isinstance(verbose, (str, numbers.Integral))
    if not is_one or verbose not in ("auto", 0, 1, 2):
        raise ValueError(
            "`verbose` must be 'auto' or 1 for a line that is kept up to date "
            "in a terminal, 2 for a line an epoch, or 0 for none; received "
            f"verbose={verbose!r}."
        )


class Line(keras.callbacks.Callback):
    """Prints what another callback measures.

    It comes after what adds figures to the logs of epochs.

    Args:
        speed: measures, as a callback before this one.
        verbose: see `pretrain`.
        file: to print to. Default: what `sys.stdout` is then.
    """

    # Keras may call `on_train_batch_end` in another thread.
    async_safe = True

    def __init__(
        self,
        speed: Speed,
        verbose: str | int = "auto",
        file: TextIO | None = None,
    ) -> None:
        check_verbose(verbose)
        super().__init__()
        self._speed = speed
        self._verbose = 1 if verbose == "auto" else int(verbose)
        self._given_file = file
        self._epoch = self._form = self._length = 0
        self._printed = -math.inf
        self._begins: list[float] | None = []
        self._logs: tuple[int, dict[str, float]] = (-1, {})

    def say(self, text: str) -> None:
        """Prints a line of its own, unless nothing is to be printed."""
        if self._verbose:
            self.close()
            self._write(f"{text}\n")

    def close(self) -> None:
        """Leaves a line that is not ended, such as after an error."""
        if self._length:
            self._length = 0
            self._write("\n")

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Forgets the logs of the epoch before."""
        self._epoch, self._logs = epoch, (-1, {})

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Keeps the newest logs; prints nothing, for its thread."""
        if batch > self._logs[0]:
            self._logs = (batch, dict(logs or {}))

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Says how far training is, in a terminal and not too often."""
        now = time.monotonic()
        self._foretell(now)
        if not self._rewrites() or now - self._printed < _PAUSE:
            return
        self._printed = now
        logs = self._logs[1]
        text, self._form = line(
            self._seen(
                logs,
                [name for name in _OF_STEPS if name in logs],
                step=self._speed.step_of(batch),
            ),
            self._width(),
            self._form,
        )
        self._write(f"\r{text:<{self._length}}")
        self._length = len(text)

    def _foretell(self, now: float) -> None:
        """Says once how long it will take, when the first steps are known."""
        if self._begins is None or not self._verbose:
            return
        self._begins.append(now)
        steps = len(self._begins) - 2  # without the first, which compiles
        if steps < 2 or (
            steps < _FIRST_STEPS and now - self._begins[1] < _FIRST_SECONDS
        ):
            return
        step = (now - self._begins[1]) / steps
        self._begins = None
        left = self._speed.seconds_left()
        if left is not None and left >= _WORTH_SAYING:
            self.say(
                f"about {duration(left)} to the last epoch, by {steps} steps "
                f"of {number(step, 2)} s"
            )

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Says what came out of the epoch."""
        if not self._verbose:
            return
        speed, logs = self._speed, dict(logs or {})
        own = {*self._logs[1], *(metric.name for metric in self.model.metrics)}
        figures = [
            name
            for name in logs
            if name in _OF_STEPS
            or name == "val_loss"
            or (name not in own and not name.startswith("val_"))
        ]
        step = speed.reached if speed.is_within_epoch else None
        if math.isinf(speed.steps_per_epoch):
            step = None
        seen = self._seen(logs, figures, step, of_epoch=True)
        text, _ = line(seen, self._width())
        start = "\r" if self._length else ""
        self._write(f"{start}{text:<{self._length}}\n")
        self._length = 0

    def on_train_end(self, logs: Any = None) -> None:
        """Leaves the line of an epoch that was cut short."""
        self.close()

    def _seen(
        self,
        logs: dict[str, float],
        figures: list[str],
        step: int | None,
        of_epoch: bool = False,
    ) -> Seen:
        speed = self._speed
        known = not math.isinf(speed.steps_per_epoch)
        return Seen(
            self._epoch + 1,
            self.params["epochs"],
            step,
            speed.steps_per_epoch if known else None,
            {name: float(value) for name, value in logs.items()},
            tuple(figures),
            speed.rates(of_epoch),
            peak_memory(),
            speed.seconds_left(),
        )

    @property
    def _file(self) -> TextIO:
        return self._given_file or sys.stdout

    def _rewrites(self) -> bool:
        return (
            self._verbose == 1
            and self._file.isatty()
            and keras.config.is_interactive_logging_enabled()
        )

    def _width(self) -> int:
        """Characters of a line: a terminal may wrap one that fills it."""
        if not self._file.isatty():
            return LONGEST
        try:
            columns = os.get_terminal_size(self._file.fileno()).columns
        except (OSError, ValueError):
            return LONGEST
        return min(LONGEST, columns - 1) if columns > 1 else LONGEST

    def _write(self, text: str) -> None:
        self._file.write(text)
        self._file.flush()


class ProgressLine(Line):
    """Shows in one line, of at most 100 characters, how `fit` gets on.

        3/60 120/420 loss 27.2 inv 2.13/7.70 var 19.7/34.8 cov 0.0722/0.256
        412 img/s wait 3% 2h05m left

    (in one line): epoch, steps done, loss and terms, as means of the epoch so
    far, those of the local criterion after a slash; images of the source a
    second, over all processes; the share of the time in which nothing was
    computed for want of data; on accelerators the peak of the memory, see
    `keras_vicregl.distribution.peak_memory`, at the end of epochs; and the time
    until the last epoch is over. Where a line has no room for all of it, what
    counts less is left out.

    `pretrain` shows it by itself. With `fit`, put it last among the callbacks,
    for it to know the figures of the others, and pass `verbose=0`, or Keras
    shows its own.

    The first step, in which backends compile, and what comes after the steps of
    an epoch are not in the images a second; they are in the time left. See
    `pretrain` for which batches tell their sizes, and when they have come;
    without, it is steps a second, and nothing is said of waiting.

    Of several processes that train together the first one prints.

    Args:
        batches: those of `fit`.
        verbose: `"auto"` or 1: the line is kept up to date in a terminal, and
            stays at the end of an epoch; elsewhere - in files, in notebooks -
            there is one an epoch, as with 2 everywhere. 0: none.
        file: to print to. Default: what `sys.stdout` is then.
        clock: seconds, as `time.perf_counter`.

    Raises:
        ValueError: if `verbose` is something else.

    Example:

    >>> import numpy as np
    >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    >>> model.compile("sgd", "mse")
    >>> x, y = np.zeros((8, 2)), np.zeros((8, 1))
    >>> shown = ProgressLine()
    >>> _ = model.fit(x, y, 8, epochs=2, callbacks=[shown], verbose=0)
    epoch 1/2 loss 0
    epoch 2/2 loss 0 ... steps/s 0s left
    """

    def __init__(
        self,
        batches: Any = None,
        *,
        verbose: str | int = "auto",
        file: TextIO | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        super().__init__(Speed(math.inf, clock), verbose, file)
        self._batches = batches

    def set_model(self, model: Any) -> None:
        """Has only the first process print."""
        super().set_model(model)
        self._speed.set_model(model)
        if process_index(model) > 0:
            self._verbose = 0

    def set_params(self, params: Any) -> None:
        """Knows how many epochs and steps there are."""
        super().set_params(params)
        self._speed.set_params(params)

    def on_train_begin(self, logs: Any = None) -> None:
        """Begins to measure."""
        steps = (self.params or {}).get("steps")
        self._speed.steps_per_epoch = math.inf if steps is None else steps
        self._speed.begin_at(0, self._batches)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Begins the line of an epoch."""
        self._speed.on_epoch_begin(epoch, logs)
        super().on_epoch_begin(epoch, logs)

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Says how far training is, in a terminal and not too often."""
        self._speed.on_train_batch_begin(batch, logs)
        super().on_train_batch_begin(batch, logs)
        self._speed.asked(batch)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Keeps the newest logs; prints nothing, for its thread."""
        self._speed.on_train_batch_end(batch, logs)
        super().on_train_batch_end(batch, logs)

    def on_test_begin(self, logs: Any = None) -> None:
        """What follows is no training."""
        self._speed.on_test_begin(logs)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Says what came out of the epoch."""
        self._speed.on_epoch_end(epoch, logs)
        super().on_epoch_end(epoch, logs)
