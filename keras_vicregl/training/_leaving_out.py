"""Batches after which nothing is finite, left out on the way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from keras_vicregl.models.arguments import is_count
from keras_vicregl.models.guards import NonFiniteStepError
from keras_vicregl.training.log import TrainingLog
from keras_vicregl.training.saving.checkpoint import TrainingCheckpoint
from keras_vicregl.training.saving.folder import Position


class BatchLeftOutError(Exception):
    """A batch is left out; training goes on from the checkpoint after it."""


def check_skipping(most: int, model: keras.Model) -> None:
    """Raises a ValueError unless so many batches can be left out."""
    if not is_count(most, 0):
        raise ValueError(
            "`skip_nonfinite` must be 0 or more, a number of batches; received "
            f"skip_nonfinite={most!r}."
        )
    steps = model.steps_per_execution
    if most and steps > 1:
        raise ValueError(
            f"`skip_nonfinite={most}` needs to see each step, and the model "
            f"was compiled with steps_per_execution={steps}. Compile it with 1."
        )


class LeaveOut(keras.callbacks.Callback):
    """Saves a checkpoint after a batch instead of training it.

    Its place is after the log and the checkpoint. Which batches have been left
    out is saved along, and counts in every later run.

    Args:
        most: how many batches may be left out.
        checkpoint: of the training.
        log: the same.
    """

    def __init__(
        self, most: int, checkpoint: TrainingCheckpoint, log: TrainingLog
    ) -> None:
        super().__init__()
        self._most = most
        self._checkpoint = checkpoint
        self._log = log
        self._places: list[Position] = []
        self._left_out: list[Position] = []
        self.examples: Callable[[int, int], Any] | None = None

    def get_state(self) -> dict[str, Any]:
        """What has been left out."""
        return {"left_out": [list(place) for place in self._left_out]}

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes on from a checkpoint."""
        self._left_out = [Position(*place) for place in state["left_out"]]

    def accepts(self, error: NonFiniteStepError) -> bool:
        """Whether training can go back, and leave out a step that broke it."""
        place = Position(error.epoch, error.step)
        if place in self._left_out or place in self._places:
            return False
        # Weights were broken before the step in which that showed.
        later = place._replace(step=place.step + 1)
        if later in self._places:
            self._places.remove(later)
        if len({*self._left_out, *self._places}) >= self._most:
            return False
        self._places.append(place)
        return True

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Leaves out the batch, where its turn has come."""
        place = self._checkpoint.place_of(batch)
        if place not in self._places:
            return
        after = place._replace(step=place.step + 1)
        self._log.leave_out()
        self._left_out.append(place)
        try:
            self._checkpoint.save(after)
        except NonFiniteStepError as error:
            # Not this batch: the one before has broken the weights.
            self._left_out.remove(place)
            epoch, step = place
            raise NonFiniteStepError(str(error), epoch, step - 1) from error
        self._places.remove(place)
        what: dict[str, Any] = {"epoch": place.epoch + 1, "batch": after.step}
        if self.examples is not None:
            numbers = self.examples(place.epoch, place.step)
            what["examples"] = [int(number) for number in numbers]
        self._log.event("left out", **what)
        raise BatchLeftOutError
