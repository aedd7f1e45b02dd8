"""Checkpoints from which a training continues exactly."""

from __future__ import annotations

import collections
import math
import os
import pathlib
import signal
from collections.abc import Mapping
from typing import Any

import keras

from keras_vicregl.distribution.processes import (
    end_together,
    gather_from_processes,
    process_count,
    process_index,
)
from keras_vicregl.storage.files import (
    check_writable,
    explained,
    readable,
    remove_partial,
)
from keras_vicregl.training._archive import DamagedArchiveError, read_arrays
from keras_vicregl.training._folder import CheckpointFolder, Position
from keras_vicregl.training._state import (
    Stateful,
    arrays_of,
    groups,
    restore,
    size_in_bytes,
)
from keras_vicregl.training.interruption import StopSignals, TrainingInterrupted

# Several processes ask each other every so many steps whether one of them has
# got a signal.
ASK_EVERY = 10


class TrainingCheckpoint(keras.callbacks.Callback):
    """Saves all state of a training, and continues it from there.

    A training that is interrupted anywhere, by `kill -9` as well, and started
    again ends as if it had not been: with the same bits, where the backend
    computes the same twice. What is saved: the variables of the model with
    batch-norm statistics and the states of `SeedGenerator`s (dropout, drop
    path), those of the optimizer with iterations, loss scale, accumulated
    gradients and averages, and, in the middle of an epoch, those of the
    metrics, so that the logs of the epoch are means of all of it. Not
    saved are the generators of Python and NumPy, and Python attributes of
    callbacks other than `stateful`.

    `pretrain` does all of this. With `fit`, begin it where the checkpoint is,
    and let it end with an epoch that is begun in its middle, as Keras takes
    the length of the first for that of all:

        checkpoint = TrainingCheckpoint("run", steps_per_epoch=2502)
        epoch, step = checkpoint.position
        model.fit(
            view_batches(..., start=(epoch, step)),
            initial_epoch=epoch,
            epochs=epoch + 1 if step else 100,
            steps_per_epoch=2502 - step if step else None,
            callbacks=[checkpoint],
        )

    A file `epoch-0003-step-00000120.npz` is what is reached after three epochs
    and 120 batches. `numpy.load` opens it: arrays are named by group, number
    and path, `model/0004/stem/kernel`, and `checkpoint.json` describes
    them. Another backend can continue from it. Files are written beside
    their place and renamed when they are complete and on the disk;
    until then the ones before stay. Each array has a checksum.

    Of several processes that train together the first one writes, and all read:
    the folder must be one that they share. They wait for each other where one
    is saved; after a signal to any of them, all save and stop within
    10 batches. Another number of devices can continue from a file, with
    the same batch size.

    Args:
        folder: of the checkpoints of one run; made when training begins.
        steps_per_epoch: batches in a whole epoch.
        save_freq: `"epoch"`, or a number of batches after which it is saved
            within epochs as well.
        keep: checkpoints that stay, 2 or more.
        stateful: further state by name, see `Stateful`.
        stop: signals after which it is saved and training stopped.

    Raises:
        ValueError: if an argument is outside what it may be.
        OSError: when training begins, if the folder is read-only or has no
            room for the checkpoints; later, if one cannot be written.
        FloatingPointError: if weights to be saved are not finite. Older
            checkpoints stay.
        TrainingInterrupted: after a signal, when the checkpoint is saved.

    Example:

    >>> import tempfile
    >>> import numpy as np
    >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    >>> model.compile("adam", "mse")
    >>> x, y = np.ones((8, 2)), np.ones((8, 1))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     checkpoint = TrainingCheckpoint(folder, steps_per_epoch=2)
    ...     _ = model.fit(
    ...         x, y, 4, epochs=3, callbacks=[checkpoint], verbose=0
    ...     )
    ...     TrainingCheckpoint(folder, steps_per_epoch=2).position
    Position(epoch=3, step=0)
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        *,
        steps_per_epoch: int,
        save_freq: str | int = "epoch",
        keep: int = 2,
        stateful: Mapping[str, Stateful] | None = None,
        stop: StopSignals | None = None,
    ) -> None:
        super().__init__()
        if steps_per_epoch < 1:
            raise ValueError(
                f"`steps_per_epoch` must be 1 or more; got {steps_per_epoch}."
            )
        if save_freq != "epoch" and not (
            isinstance(save_freq, int) and save_freq > 0
        ):
            raise ValueError(
                "`save_freq` must be 'epoch' or a number of batches; got "
                f"{save_freq!r}."
            )
        if not (isinstance(keep, int) and keep >= 2):
            raise ValueError(
                f"`keep` must be 2 or more, for the case that the newest "
                f"checkpoint is damaged; got {keep}."
            )
        self.steps_per_epoch = steps_per_epoch
        self.save_freq = math.inf if save_freq == "epoch" else save_freq
        self._stateful = dict(stateful or {})
        self._stop = stop
        self._epoch = self._first_step = 0
        self._resumes = False
        self._folder = CheckpointFolder(
            pathlib.Path(folder), keep, steps_per_epoch
        )

    @property
    def position(self) -> Position:
        """That of the newest checkpoint that is not damaged."""
        return self._folder.position

    @property
    def path(self) -> pathlib.Path | None:
        """The newest checkpoint that is not damaged; `None` without one."""
        return self._folder.path

    def restore(self, model: keras.Model) -> None:
        """Gives model and optimizer the state of the newest checkpoint.

        Args:
            model: a compiled model like the one that was saved.

        Raises:
            ValueError: if there is no checkpoint, or one of another model.
        """
        if self.path is None:
            raise ValueError(
                f"There is no checkpoint in {self._folder.folder}."
            )
        _build_optimizer(model)
        for group in ("model", "optimizer"):
            self._restore(model, group)
        for name, owner in self._stateful.items():
            owner.set_state(self._folder.description["state"][name])

    def _restore(self, model: keras.Model, group: str) -> None:
        dtypes = {
            name: dtype
            for name, dtype in self._folder.description["dtypes"].items()
            if name.startswith(f"{group}/")
        }
        try:
            restore(
                groups(model)[group], read_arrays(self.path, dtypes), dtypes
            )
        except DamagedArchiveError:
            raise
        except ValueError as error:
            raise ValueError(
                f"{self.path} is of another model or optimizer. In its {group} "
                f"it has {error}. Continue with what it was saved from, or use "
                "another folder."
            ) from error

    def on_train_begin(self, logs: Any = None) -> None:
        """Continues from the checkpoint, or saves the first one."""
        _build_optimizer(self.model)
        self._check_shared()
        if process_index(self.model) == 0:
            # One more than are kept exists while it is written.
            size = size_in_bytes(self.model)
            try:
                check_writable(self._folder.folder, self._folder.missing * size)
            except OSError:
                self._agree(1)
                raise
            remove_partial(self._folder.folder)
        self._agree(0)
        self._resumes = self.path is not None
        if self._resumes:
            self.restore(self.model)
        else:
            self.save(Position(0, 0))

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """In the middle of an epoch, gives its metrics their state."""
        self._epoch = epoch
        self._first_step = 0
        if not self._resumes:
            return
        self._resumes = False
        if epoch != self.position.epoch:
            raise ValueError(
                f"The checkpoint is in epoch {self.position.epoch}, but "
                f"training begins in {epoch}: pass `initial_epoch="
                f"{self.position.epoch}` to `fit`."
            )
        if self.position.step:
            self._first_step = self.position.step
            self._restore(self.model, "metrics")

    # At the beginning of a step, not at the end of the one before, so that
    # Keras need not wait for the numbers of each step (it hands them over in
    # another thread if no callback looks at the end of steps).
    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Saves what the batches before have made, when it is time."""
        here = Position(self._epoch, self._first_step + batch)
        interrupted = self._signal(here.step)
        due = here.step // self.save_freq > (
            self.position.step // self.save_freq
            if self.position.epoch == here.epoch
            else 0
        )
        # Some iterators find out only in the step that there are no more.
        inside = 0 < here.step < self.steps_per_epoch
        if (due or interrupted) and inside and here != self.position:
            self.save(here)
        if interrupted and here == self.position:
            self._leave(interrupted)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Saves after each epoch."""
        self.save(Position(epoch + 1, 0))
        self.leave_if_interrupted()

    def leave_if_interrupted(self) -> None:
        """Raises `TrainingInterrupted` if a signal has come to any process."""
        number = self._signal(0)
        if number:
            self._leave(number)

    def _signal(self, step: int) -> int:
        """The signal that has come, to any of the processes, or 0."""
        received = self._stop.received if self._stop is not None else None
        number = int(received or 0)
        if process_count(self.model) == 1:
            return number
        if step % ASK_EVERY:
            return 0
        return max(gather_from_processes(number, self.model))

    def _leave(self, number: int) -> None:
        end_together(self.model)
        raise TrainingInterrupted(
            f"Stopped by {signal.Signals(number).name} after "
            f"{self.position.epoch} epochs and {self.position.step} batches, "
            f"which {self.path} holds. Start again in the same way to "
            "continue.",
            number,
        )

    def _check_shared(self) -> None:
        """Refuses folders in which processes find different checkpoints."""
        epoch, step = self.position
        reached = gather_from_processes(
            epoch * self.steps_per_epoch + step, self.model
        )
        if len(set(reached)) > 1:
            raise ValueError(
                "Processes find different checkpoints in "
                f"{self._folder.folder}: of {', '.join(map(str, reached))} "
                "batches. It must be a folder that all of them share."
            )

    def save(self, position: Position) -> None:
        """Writes a checkpoint, and then removes those before the last ones.

        Args:
            position: how far training is.

        Raises:
            FloatingPointError: if a variable is not finite.
            OSError: if it cannot be written.
        """
        dtypes = {}
        state = {
            name: owner.get_state() for name, owner in self._stateful.items()
        }
        # Reading them may take all processes, as metrics are sums over them.
        arrays = arrays_of(self.model, dtypes)
        description = {"state": state, "dtypes": dtypes}
        if process_index(self.model):
            collections.deque(arrays, maxlen=0)
            self._agree(0)
            self._folder.wrote(position, description)
            return
        try:
            self._folder.write(position, arrays, description)
        except OSError as error:
            self._agree(1)
            raise explained(
                error,
                f"{self._folder.path_of(position)}, of "
                f"{readable(size_in_bytes(self.model))}, could not be written. "
                f"Make room: training can continue from {self.path}",
            ) from error
        self._agree(0)

    def _agree(self, failed: int) -> None:
        """Waits for all processes; raises where the first could not write."""
        if any(gather_from_processes(failed, self.model)) and not failed:
            raise OSError(
                f"The first process cannot write to {self._folder.folder}; it "
                "says why."
            )


def _build_optimizer(model: keras.Model) -> None:
    if getattr(model, "optimizer", None) is None:
        raise ValueError("Compile the model before it is trained.")
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)
