"""Logs of a training, which a resumed training continues without a seam."""

from __future__ import annotations

import datetime
import json
import math
import os
import pathlib
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras

from keras_vicregl.optimizers.rates import learning_rate_of
from keras_vicregl.storage.files import sync_folder
from keras_vicregl.storage.history import EPOCHS, EVENTS, STEPS
from keras_vicregl.training.saving.steps import StepCounter


class Weights(keras.callbacks.Callback):
    """How much the means of metrics are of, at the end of an epoch.

    Validation and evaluations begin metrics anew: as a callback this is to be
    before those that evaluate.
    """

    def __init__(self) -> None:
        super().__init__()
        self._noted: dict[str, float] | None = None

    def forget(self) -> None:
        """What was noted is no longer so."""
        self._noted = None

    def note(self, model: keras.Model) -> dict[str, float]:
        """Counts by the names of metrics, as they were first noted."""
        if self._noted is None:
            self._noted = {
                metric.name: float(keras.ops.convert_to_numpy(metric.count))
                for metric in model.metrics
                if isinstance(metric, keras.metrics.Mean)
            }
        return self._noted

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Notes them, if validation has not."""
        self.note(self.model)


class TrainingLog(StepCounter):
    """Writes loss, terms and monitors of epochs and steps as JSON lines.

    - `epochs.jsonl`: a row an epoch, of its means and of what other callbacks
      before this one put into its logs.
    - `steps.jsonl`: a row every `every` steps, of the means since the row
      before.
    - `events.jsonl`: when training began, was resumed and stopped, how long
      epochs took and what `speed` says of them, with the time. This file alone
      depends on the clock.

    Where a callback ends training in the middle of an epoch, the last rows are
    of what was trained of it.

    `"epoch"` counts from 1, as the progress bar does; `"step"` counts the
    batches of all epochs; what is not finite is `null`.

    As `stateful` of a `TrainingCheckpoint`, it cuts off the rows after a
    checkpoint that is gone back to, so that rows are neither doubled nor
    missing: those of an uninterrupted training, to the last digit after
    `keras_vicregl.distribution.deterministic`.

    Args:
        folder: made when training begins.
        steps_per_epoch: batches in a whole epoch.
        every: steps between rows; the last row of an epoch may be of fewer.
        sinks: functions that get the file's name and the row as well; of
            `events.jsonl` they get what `speed` says.
        speed: figures of the present epoch by name, such as images a second,
            for its event. They are in no other file.
        writes: whether this process is the one that writes. The others of a
            distributed training have to compute the same figures.

    Raises:
        ValueError: if `every` is not positive, or, when training begins, `fit`
            is not to train `steps_per_epoch` steps an epoch.

    Example:

    >>> import tempfile
    >>> import numpy as np
    >>> from keras_vicregl.training import read_rows
    >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    >>> model.compile("sgd", "mse")
    >>> x, y = np.ones((8, 2)), np.ones((8, 1))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     log = TrainingLog(folder, steps_per_epoch=4, every=3)
    ...     _ = model.fit(x, y, 2, epochs=2, callbacks=[log], verbose=0)
    ...     [row["step"] for row in read_rows(f"{folder}/steps.jsonl")]
    [3, 4, 7, 8]
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        *,
        steps_per_epoch: int,
        every: int = 50,
        sinks: Sequence[Callable[[str, dict[str, Any]], None]] = (),
        speed: Callable[[], Mapping[str, float]] = dict,
        writes: bool = True,
    ) -> None:
        super().__init__(steps_per_epoch)
        if every < 1:
            raise ValueError(f"`every` must be 1 or more; got {every}.")
        self.folder = pathlib.Path(folder)
        self.every = every
        self._sinks = tuple(sinks)
        self._speed = speed
        self._writes = writes
        self._resumes = False
        self._begins_means = False
        self._epoch = self._step = self._unseen = 0
        self._completed = self._shift = 0
        self.weights = Weights()
        self._started = 0.0
        self._begin_window(0, {})

    def get_state(self) -> dict[str, Any]:
        """Lengths of the files, whose rows are now on the disk, and so on."""
        lengths = {}
        for name in (EPOCHS, STEPS) if self._writes else ():
            self.folder.mkdir(parents=True, exist_ok=True)
            with open(self.folder / name, "ab") as file:
                os.fsync(file.fileno())
                lengths[name] = file.tell()
        if self._writes:
            sync_folder(self.folder)
        return {
            "lengths": lengths,
            # At the end of an epoch the last step is done.
            "step": max(self._step, self.reached),
            "unseen": self._unseen,
            "window": [
                self._window_start,
                self._window_means,
                self._window_seen,
                self._window_weights,
            ],
            "completed": self._completed,
            "steps_per_epoch": self.steps_per_epoch,
            "shift": self._shift,
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Cuts off the rows that were written after `get_state`."""
        for name, length in state["lengths"].items() if self._writes else ():
            with open(self.folder / name, "ab") as file:
                if file.tell() < length:
                    warnings.warn(
                        f"{self.folder / name} has lost rows: it is shorter "
                        "than when the checkpoint was saved.",
                        RuntimeWarning,
                        stacklevel=2,
                    )
                else:
                    file.truncate(length)
        self._step = state["step"]
        self._unseen = state.get("unseen", 0)
        self._completed = state.get("completed", 0)
        before = state.get("steps_per_epoch", self.steps_per_epoch)
        # Of epochs of another length, what "step" counts goes on.
        fewer = self._completed * (before - self.steps_per_epoch)
        self._shift = state.get("shift", 0) + fewer
        self._begin_window(*state["window"])
        self._resumes = True

    def event(self, event: str, **what: Any) -> None:
        """Writes a row, with the time, to `events.jsonl`.

        Args:
            event: what happened, in a word.
            **what: further columns.
        """
        now = datetime.datetime.now(datetime.timezone.utc)
        row = {"time": now.isoformat(timespec="seconds"), "event": event}
        self._append(EVENTS, {**row, **what})

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Begins at the first batch, or where the checkpoint was."""
        if not self._resumes:
            self._begin_epoch()
        self._resumes = False
        self._epoch = self._completed = epoch
        self.weights.forget()
        self.count_from(self._step)
        self._started = time.perf_counter()

    # Why at the beginning of a step: see `TrainingCheckpoint`.
    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Writes the row of the steps before this one, when it is due."""
        super().on_train_batch_begin(batch, logs)
        self._step = self._first_step + batch
        if self._begins_means:
            self._begins_means = False
            self._unseen = self._step
            self._begin_window(self._window_start, {}, 0)
        if self._step // self.every > self._window_start // self.every and (
            self._step < self.steps_per_epoch
        ):
            self._write_window(_as_floats(self.model.get_metrics_result()))
            self.weights.forget()

    def on_test_begin(self, logs: Any = None) -> None:
        """Knows where training is, for a checkpoint before validation."""
        super().on_test_begin(logs)
        self.weights.note(self.model)
        self._step = self.reached

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Writes the rows of the last steps and of the epoch."""
        self._step = self.reached
        if self.is_within_epoch:
            return
        self._write_epoch(logs)
        # What is saved now belongs to the next epoch.
        self._begin_epoch()
        self._completed = epoch + 1

    def leave_out(self) -> None:
        """The batch that would be trained now is left out."""
        self._step += 1
        self._unseen += 1

    def begin_means(self) -> None:
        """Means of the epoch begin anew with the step that comes next."""
        self._begins_means = True

    def on_train_end(self, logs: Any = None) -> None:
        """Writes the rows of an epoch that `stop_training` has cut short.

        After the checkpoint, so that a training that is taken up again there
        cuts them off.
        """
        if self.is_within_epoch and self._trained:
            self._write_epoch(logs)

    def _write_epoch(self, logs: Mapping[str, Any] | None) -> None:
        logs = _as_floats(logs or {})
        run = self._step - self._first_step
        own = {metric.name for metric in self.model.metrics}
        if self._step > self._window_start:
            self._write_window({k: v for k, v in logs.items() if k in own})
        self._write(EPOCHS, logs)
        seconds = time.perf_counter() - self._started
        speed = dict(self._speed())
        self.event(
            "epoch",
            epoch=self._epoch + 1,
            steps=run,
            seconds=round(seconds, 3),
            steps_per_second=round(run / max(seconds, 1e-9), 3),
            **speed,
        )
        if speed:
            self._sink(EVENTS, {**self._place(), **speed})

    def _begin_epoch(self) -> None:
        self._step = self._first_step = self._trained = self._unseen = 0
        self._begins_means = False
        self._begin_window(0, {})

    def _begin_window(
        self,
        step: int,
        means: Mapping[str, float],
        seen: int | None = None,
        weights: Mapping[str, float] | None = None,
    ) -> None:
        """Rows of steps are of what comes after `step` in the epoch.

        `means` are those of the epoch until there, of `seen` batches: Keras'
        logs are means since its beginning. `weights` are how much each mean is
        of, where that is known: accuracies are of images with a label.
        """
        self._window_start = step
        self._window_means = dict(means)
        self._window_seen = step - self._unseen if seen is None else seen
        self._window_weights = dict(weights or {})

    def _write_window(self, means: dict[str, float]) -> None:
        seen = self._step - self._unseen
        weights = self.weights.note(self.model)
        values = {}
        for name, mean in means.items():
            now = weights.get(name, seen)
            before: float = self._window_seen
            if name in weights:
                # Not in checkpoints of earlier versions.
                before = self._window_weights.get(name, before)
            if now > before:
                sum_before = self._window_means.get(name, 0.0) * before
                values[name] = (mean * now - sum_before) / (now - before)
            elif seen > self._window_seen:  # of batches without any weight
                values[name] = math.nan
        self._write(STEPS, values)
        self._begin_window(self._step, means, weights=weights)

    def _write(self, name: str, values: dict[str, float]) -> None:
        rate = learning_rate_of(self.model.optimizer)
        rates = {} if rate is None else {"learning_rate": rate}
        row = {**self._place(), **values, **rates}
        self._append(name, row)
        self._sink(name, row)

    def _place(self) -> dict[str, int]:
        before = self._epoch * self.steps_per_epoch + self._shift
        return {"epoch": self._epoch + 1, "step": before + self._step}

    def _sink(self, name: str, row: dict[str, Any]) -> None:
        for sink in self._sinks if self._writes else ():
            sink(name, row)

    def _append(self, name: str, row: dict[str, Any]) -> None:
        if not self._writes:
            return
        row = {
            key: None
            if isinstance(value, float) and not math.isfinite(value)
            else value
            for key, value in row.items()
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / name, "ab") as file:
            file.write(f"{json.dumps(row)}\n".encode())


def _as_floats(logs: Mapping[str, Any]) -> dict[str, float]:
    return {
        name: float(keras.ops.convert_to_numpy(value))
        for name, value in logs.items()
    }
