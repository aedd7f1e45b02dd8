"""How many steps of an epoch have been trained, as callbacks know it."""

from __future__ import annotations

from typing import Any

import keras


class StepCounter(keras.callbacks.Callback):
    """Counts the steps that were trained, of epochs begun anywhere.

    What `fit` calls an epoch may be cut short: a callback sets
    `stop_training`, or the batches come to an end.

    Args:
        steps_per_epoch: batches in a whole epoch.
    """

    # Keras may call `on_train_batch_end` in another thread.
    async_safe = True

    def __init__(self, steps_per_epoch: float) -> None:
        super().__init__()
        self.steps_per_epoch: Any = steps_per_epoch  # an int, or infinity
        self._first_step = self._begun = self._trained = 0

    @property
    def reached(self) -> int:
        """Batches of the present epoch that are done."""
        return min(self._first_step + self._trained, self.steps_per_epoch)

    @property
    def is_within_epoch(self) -> bool:
        """Whether the epoch ends before its last step."""
        return self.reached < self.steps_per_epoch

    def count_from(self, first_step: int) -> None:
        """Begins to count, at a step of an epoch that now begins.

        Raises:
            ValueError: if `fit` is going to train more or fewer steps than are
                left of the epoch.
        """
        self._first_step, self._trained = first_step, 0
        steps = (self.params or {}).get("steps")
        left = self.steps_per_epoch - first_step
        if steps is not None and steps != left:
            raise ValueError(
                f"`fit` would train {steps} steps in this epoch, but "
                f"{left} are left of `steps_per_epoch={self.steps_per_epoch}`, "
                f"given to {type(self).__name__}. Pass `steps_per_epoch="
                f"{left}` to `fit`, or give both the number that the data has."
            )

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Notes the step that is now trained."""
        self._begun = batch

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Counts; touches no model, for its thread."""
        self._trained = max(self._trained, batch + 1)

    def on_test_begin(self, logs: Any = None) -> None:
        """Counts the last step, for whose thread Keras does not wait here."""
        steps = self.model.steps_per_execution
        self._trained = max(self._trained, self._begun + steps)
