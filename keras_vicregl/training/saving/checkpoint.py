"""Checkpoints from which a training continues exactly."""

from __future__ import annotations

import collections
import itertools
import math
import os
import pathlib
import signal
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, cast

import keras
import numpy as np

from keras_vicregl.distribution.processes import (
    end_together,
    gather_from_processes,
    process_count,
    process_index,
)
from keras_vicregl.models.arguments import is_count
from keras_vicregl.models.guards import NonFiniteStepError
from keras_vicregl.storage.files import (
    check_writable,
    explained,
    readable,
    remove_partial,
)
from keras_vicregl.training.interruption import StopSignals, TrainingInterrupted
from keras_vicregl.training.saving.archive import read_arrays
from keras_vicregl.training.saving.encoding import decode, encode
from keras_vicregl.training.saving.facts import Facts
from keras_vicregl.training.saving.folder import (
    CheckpointFolder,
    Position,
    steps_may_change,
)
from keras_vicregl.training.saving.processes import agree, check_shared
from keras_vicregl.training.saving.restoring import (
    restore_changed_optimizer,
    restore_group,
)
from keras_vicregl.training.saving.state import (
    Stateful,
    arrays_of,
    size_in_bytes,
)
from keras_vicregl.training.saving.steps import StepCounter

# Several processes ask each other every so many steps whether one of them has
# got a signal.
ASK_EVERY = 10


class TrainingCheckpoint(StepCounter):
    """Saves all state of a training, and continues it from there.

    A training that is interrupted anywhere, by `kill -9` as well, and started
    again ends as if it had not been: with the same bits, where the backend
    computes the same twice, as it does after
    `keras_vicregl.distribution.deterministic` (by default threads add in any
    order). What is saved: the variables of the model with
    batch-norm statistics and the states of `SeedGenerator`s (dropout, drop
    path), those of the optimizer with iterations, loss scale, accumulated
    gradients and averages, and, in the middle of an epoch, those of the
    metrics, so that the logs of the epoch are means of all of it. Not
    saved are the generators of Python and NumPy, and of callbacks what is not
    in `stateful`: see `CallbackStates`.

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

    Where a callback sets `stop_training` in the middle of an epoch, the
    checkpoint is of the step that was reached, and training continues there.

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
        allow_changes: whether class and configuration of the optimizer, those
            of the model, and the `facts`, may differ from those that training
            began with; or names of what may, see `pretrain`. If they may, or
            "batches", so may `steps_per_epoch`, at the end of an epoch.
        tell: gets the event "changed", with what it was and is, for each
            difference that is allowed, such as `TrainingLog.event`.
        anew: whether training begins anew, whatever checkpoints are there. Its
            first one replaces them.

    Attributes:
        facts: what else must not change, such as the batches' `identity`, by
            part: dictionaries of what JSON can hold. To be set before `fit`.

    Raises:
        ValueError: if an argument is outside what it may be; when training
            begins, if `fit` is not to train `steps_per_epoch` steps an epoch;
            later, if the batches end before that.
        OSError: when training begins, if the folder is read-only or has no
            room for the checkpoints; later, if one cannot be written.
        NonFiniteStepError: if weights to be saved are not finite. Older
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
        allow_changes: bool | Collection[str] = False,
        tell: Callable[..., None] = lambda event, **what: None,
        anew: bool = False,
    ) -> None:
        super().__init__(steps_per_epoch)
        if steps_per_epoch < 1:
            raise ValueError(
                f"`steps_per_epoch` must be 1 or more; got {steps_per_epoch}."
            )
        if save_freq != "epoch" and not is_count(save_freq):
            raise ValueError(
                "`save_freq` must be 'epoch' or a number of batches; got "
                f"{save_freq!r}."
            )
        if not (isinstance(keep, int) and keep >= 2):
            raise ValueError(
                f"`keep` must be 2 or more, for the case that the newest "
                f"checkpoint is damaged; got {keep}."
            )
        self.save_freq: Any = math.inf if save_freq == "epoch" else save_freq
        self._stateful = dict(stateful or {})
        self._stop = stop
        self.facts: dict[str, dict[str, Any]] = {}
        self._facts = Facts(self.facts, allow_changes, tell)
        self._tell = tell
        self._epoch = 0
        self._resumes = False
        self._folder = CheckpointFolder(
            pathlib.Path(folder),
            keep,
            steps_per_epoch,
            anew,
            steps_may_change(allow_changes),
        )

    def keep_state_of(self, name: str, owner: Stateful) -> None:
        """Adds to what is saved along."""
        self._stateful[name] = owner

    @property
    def position(self) -> Position:
        """That of the newest checkpoint that is not damaged."""
        return self._folder.position

    @property
    def path(self) -> pathlib.Path | None:
        """The newest checkpoint that is not damaged; `None` without one."""
        return self._folder.path

    @property
    def was_stopped(self) -> bool:
        """Whether `stop_training` of a callback has ended training there."""
        return bool((self._folder.description or {}).get("stopped"))

    def restore(self, model: keras.Model) -> None:
        """Gives model and optimizer the state of the newest checkpoint.

        Args:
            model: a compiled model like the one that was saved.

        Raises:
            ValueError: if there is no checkpoint, or one of another model.
        """
        self._restore_variables(model)
        states = self._folder.description["state"]
        for name, owner in self._stateful.items():
            # Older checkpoints do not know of all of them.
            if name in states:
                owner.set_state(decode(states[name], self._read_array))

    def _read_array(self, name: str) -> np.ndarray:
        ((_, array),) = read_arrays(cast("pathlib.Path", self.path), [name])
        return array

    def _restore_variables(self, model: keras.Model) -> None:
        if self.path is None:
            raise ValueError(
                f"There is no checkpoint in {self._folder.folder}."
            )
        _build_optimizer(model)
        dtypes = self._folder.description["dtypes"]
        changed = self._facts.agree(model, self._folder.description)
        # First the model, whose weights averages may begin with.
        restore_group(model, "model", self.path, dtypes)
        if not changed:
            restore_group(model, "optimizer", self.path, dtypes)
        elif restore_changed_optimizer(
            model.optimizer, self.path, dtypes, changed
        ):
            self._tell("changed", what="state of the optimizer", now="new")

    def keep_end(self, model: keras.Model) -> None:
        """Writes the weights that training ends with, beside the checkpoints.

        For where callbacks have given the model others than were trained last.
        Checkpoints stay, for training to go on. In a distributed training all
        processes call it.

        Args:
            model: as it is at the end.
        """
        if process_index(model) == 0:
            dtypes: dict[str, str] = {}
            self._folder.write_end(arrays_of(model, dtypes, ["model"]), dtypes)

    def restore_end(self, model: keras.Model) -> None:
        """Gives a model the weights that training ended with.

        Args:
            model: a compiled model like the one that was saved.

        Raises:
            ValueError: if there is no checkpoint, or one of another model.
        """
        self._restore_variables(model)
        model.optimizer.finalize_variable_values(model.trainable_variables)
        end = self._folder.read_end()
        if end is not None:
            restore_group(model, "model", *end)

    def on_train_begin(self, logs: Any = None) -> None:
        """Continues from the checkpoint, or saves the first one."""
        _build_optimizer(self.model)
        check_shared(
            self._folder.folder,
            self.position,
            self.steps_per_epoch,
            self.model,
        )
        if process_index(self.model) == 0:
            # One more than are kept exists while it is written.
            size = size_in_bytes(self.model)
            try:
                check_writable(self._folder.folder, self._folder.missing * size)
            except OSError:
                agree(1, self._folder.folder, self.model)
                raise
            remove_partial(self._folder.folder)
        agree(0, self._folder.folder, self.model)
        self._resumes = self.path is not None
        if self._resumes:
            if self._folder.steps_before is not None:
                self._tell(
                    "changed",
                    what="steps_per_epoch",
                    before=self._folder.steps_before,
                    now=self.steps_per_epoch,
                )
            self.restore(self.model)
        else:
            self._facts.begin(self.model)
            self.save(Position(0, 0))

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """In the middle of an epoch, goes back to it with all its metrics.

        Callbacks have been told of its beginning once more, and may have made
        something of it.
        """
        self._epoch = epoch
        resumes, self._resumes = self._resumes, False
        self.count_from(self.position.step if resumes else 0)
        if resumes and epoch != self.position.epoch:
            raise ValueError(
                f"The checkpoint is in epoch {self.position.epoch}, but "
                f"training begins in {epoch}: pass `initial_epoch="
                f"{self.position.epoch}` to `fit`."
            )
        if resumes and self.position.step:
            self.restore(self.model)
            dtypes = self._folder.description["dtypes"]
            path = cast("pathlib.Path", self.path)
            restore_group(self.model, "metrics", path, dtypes)

    # At the beginning of a step, not at the end of the one before, so that
    # Keras need not wait for the numbers of each step (it hands them over in
    # another thread if no callback looks at the end of steps).
    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Saves what the batches before have made, when it is time."""
        super().on_train_batch_begin(batch, logs)
        here = self.place_of(batch)
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

    def on_test_begin(self, logs: Any = None) -> None:
        """Saves an epoch that is not whole, before the metrics of validation.

        They are the same variables as those of training.
        """
        super().on_test_begin(logs)
        if self.model.stop_training and self.is_within_epoch:
            self._save_within_epoch()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Saves after each epoch, or where `stop_training` has ended it."""
        # What one process has seen, the others may not have.
        stops = gather_from_processes(
            int(bool(self.model.stop_training)), self.model
        )
        self.model.stop_training = any(stops)
        if self.is_within_epoch:
            self._save_within_epoch()
        else:
            self.save(Position(epoch + 1, 0))
        self.leave_if_interrupted()

    def place_of(self, batch: int) -> Position:
        """Where in the training a batch of `fit` is."""
        return Position(self._epoch, self._first_step + batch)

    def save_steps(self) -> None:
        """Saves an epoch whose steps are done, but not what is at its end."""
        here = Position(self._epoch, self.steps_per_epoch)
        if not self.is_within_epoch and here != self.position:
            self.save(here)

    def _save_within_epoch(self) -> None:
        if not self.model.stop_training:
            raise ValueError(
                f"The batches came to an end after {self.reached} of "
                f"{self.steps_per_epoch} steps of epoch {self._epoch + 1}. "
                f"Training can continue from {self.path}, with batches that "
                "last for an epoch."
            )
        here = Position(self._epoch, self.reached)
        if here != self.position:
            self.save(here)

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
            f"{self.position.words}, which {self.path} holds. Start again in "
            "the same way to continue.",
            number,
        )

    def save(self, position: Position) -> None:
        """Writes a checkpoint, and then removes those before the last ones.

        Args:
            position: how far training is.

        Raises:
            NonFiniteStepError: if a variable is not finite; names the step
                before.
            OSError: if it cannot be written.
        """
        dtypes: dict[str, str] = {}
        in_states: dict[str, np.ndarray] = {}
        state = {
            name: encode(owner.get_state(), in_states)
            for name, owner in self._stateful.items()
        }
        # Reading them may take all processes, as metrics are sums over them.
        arrays = itertools.chain(
            self._finite_arrays(position, dtypes), in_states.items()
        )
        description = {
            "stopped": bool(self.model.stop_training),
            **self._facts.describe(self.model),
            "state": state,
            "dtypes": dtypes,
        }
        if process_index(self.model):
            collections.deque(arrays, maxlen=0)
            agree(0, self._folder.folder, self.model)
            self._folder.wrote(position, description)
            return
        try:
            self._folder.write(position, arrays, description)
        except OSError as error:
            agree(1, self._folder.folder, self.model)
            raise explained(
                error,
                f"{self._folder.path_of(position)}, of "
                f"{readable(size_in_bytes(self.model))}, could not be written. "
                f"Make room: training can continue from {self.path}",
            ) from error
        agree(0, self._folder.folder, self.model)

    def _finite_arrays(
        self, position: Position, dtypes: dict[str, str]
    ) -> Iterator[tuple[str, np.ndarray]]:
        """All arrays; an error names the step before the position."""
        try:
            yield from arrays_of(self.model, dtypes)
        except FloatingPointError as error:
            epoch, step = position
            if not step:
                epoch, step = epoch - 1, self.steps_per_epoch
            raise NonFiniteStepError(str(error), epoch, step - 1) from error


def _build_optimizer(model: keras.Model) -> None:
    if getattr(model, "optimizer", None) is None:
        raise ValueError("Compile the model before it is trained.")
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)
