"""Beginnings: what of a training there is in a folder."""

from __future__ import annotations

import os
import pathlib
import threading
import time
from collections.abc import Callable, Collection
from typing import Any

import keras

from keras_vicregl.storage.history import EPOCHS, EVENTS, STEPS, read_rows
from keras_vicregl.training.saving.folder import (
    check_checkpoints,
    has_progress,
)

CHECKPOINTS = "checkpoints"
FIRST_STEP = "first step"

# Seconds in which Keras' thread tells of a step that is done.
_LONGEST_WAIT = 2.0


def check_steps(
    output: str | os.PathLike,
    steps_per_epoch: int,
    allow_changes: bool | Collection[str] = False,
) -> None:
    """Looks whether a run can go on with epochs of a length.

    For before something is written, as `pretrain` itself finds out later.

    Args:
        output: of `pretrain`; need not exist.
        steps_per_epoch: batches in a whole epoch.
        allow_changes: of `pretrain`.

    Raises:
        ValueError: if it cannot.

    Example:

    >>> check_steps("a folder that is not there", 100)
    """
    if has_trained(output):
        check_checkpoints(
            pathlib.Path(output) / CHECKPOINTS, steps_per_epoch, allow_changes
        )


def has_trained(output: str | os.PathLike) -> bool:
    """Whether a step has been trained in the folder of a run.

    A run that ended before - images that cannot be read, a package that is
    missing, memory that does not suffice for a step, Ctrl-C - leaves settings,
    events and the checkpoint of what it would have begun with, which no other
    run has to go on with.

    Args:
        output: of `pretrain`; need not exist.

    Returns:
        True where there is a row in `epochs.jsonl` or `steps.jsonl`, an event
        "first step", or a checkpoint after the beginning.

    Example:

    >>> has_trained("a folder that is not there")
    False
    """
    output = pathlib.Path(output)
    rows = [output / name for name in (EPOCHS, STEPS)]
    if any(path.exists() and path.stat().st_size for path in rows):
        return True
    if has_progress(output / CHECKPOINTS):
        return True
    events = output / EVENTS
    return events.exists() and any(
        row.get("event") == FIRST_STEP for row in read_rows(events)
    )


class FirstStep(keras.callbacks.Callback):
    """Tells of the first step of a training, and of the seconds it took.

    Args:
        tell: gets the event "first step".
        known: whether there has been one.
    """

    # Keras may call `on_train_batch_end` in another thread.
    async_safe = True

    def __init__(self, tell: Callable[..., None], known: bool) -> None:
        super().__init__()
        self._tell = tell
        self._known = known
        self._is_done = threading.Event()
        self._begun: float | None = None

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Begins to count."""
        if self._begun is None:
            self._begun = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Tells once; touches no model, for its thread."""
        if not self._known and self._begun is not None:
            self._known = True
            seconds = time.perf_counter() - self._begun
            self._tell(FIRST_STEP, seconds=round(seconds, 3))
        self._is_done.set()

    def settle(self) -> None:
        """Waits, after an error, for the thread that may know of a step."""
        if not self._known and self._begun is not None:
            self._is_done.wait(_LONGEST_WAIT)
