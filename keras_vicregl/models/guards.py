"""Callbacks that stop a run which has gone wrong."""

import math
from typing import Any

import keras


class StopOnNonFinite(keras.callbacks.Callback):
    """Raises when the loss or one of its terms is not finite.

    `VICRegL.fit` adds it by itself. Unlike `keras.callbacks.TerminateOnNaN` it
    says which terms are concerned, and ends with an error, so that no script
    goes on to save what is left.

    Raises:
        FloatingPointError: after the first batch with a NaN or infinite log.
    """

    def __init__(self) -> None:
        super().__init__()
        self._epoch = 0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Remembers where training is, for the message."""
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Checks the logs of a batch."""
        broken = [
            name
            for name, value in (logs or {}).items()
            if not math.isfinite(float(value))
        ]
        if broken:
            rate = float(
                keras.ops.convert_to_numpy(self.model.optimizer.learning_rate)
            )
            raise FloatingPointError(
                f"Training stopped in epoch {self._epoch + 1}, batch {batch}: "
                f"{', '.join(broken)} not finite "
                f"(learning rate {rate:g}). The weights may hold NaN as well: "
                "go back to a checkpoint. Usual causes are non-finite pixels, "
                "too high a learning rate, or float16 without loss scaling."
            )
