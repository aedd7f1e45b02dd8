"""Ends: of epochs, without losing them, and of a training."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

if TYPE_CHECKING:
    from keras_vicregl.training.saving.checkpoint import TrainingCheckpoint


class SaveSteps(keras.callbacks.Callback):
    """Saves the last step of an epoch before what else is done at its end.

    Evaluations and callbacks may fail, or take long. It must come before them;
    when they are done, the checkpoint of the whole epoch replaces this one.

    Args:
        checkpoint: of the training.
    """

    def __init__(self, checkpoint: TrainingCheckpoint) -> None:
        super().__init__()
        self._checkpoint = checkpoint

    def on_test_begin(self, logs: Any = None) -> None:
        """Saves before validation."""
        self._checkpoint.on_test_begin()
        self._checkpoint.save_steps()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Saves before evaluations and callbacks."""
        self._checkpoint.save_steps()


def finish_epoch(
    model: keras.Model,
    callbacks: Sequence[keras.callbacks.Callback],
    epoch: int,
    validation_data: Any = None,
) -> None:
    """What `fit` does at the end of an epoch all of whose steps are done.

    Args:
        model: compiled.
        callbacks: of which one restores model and metrics.
        epoch: from 0.
        validation_data: of `fit`.
    """
    with scope_of(model):
        every = keras.callbacks.CallbackList(
            [*callbacks], model=model, epochs=epoch + 1, verbose=0
        )
        model.stop_training = False
        every.on_train_begin()
        model.reset_metrics()
        every.on_epoch_begin(epoch)
        logs = dict(model.get_metrics_result())
        if validation_data is not None:
            x, y, weight = keras.utils.unpack_x_y_sample_weight(validation_data)
            found = model.evaluate(
                x, y, sample_weight=weight, verbose=0, return_dict=True
            )
            logs |= {f"val_{name}": value for name, value in found.items()}
        every.on_epoch_end(epoch, logs)
        model.optimizer.finalize_variable_values(model.trainable_variables)
        every.on_train_end(logs)


def scope_of(model: keras.Model) -> Any:
    """A context in which variables of a model are set: of its strategy."""
    strategy = getattr(model, "distribute_strategy", None)
    return strategy.scope() if strategy else contextlib.nullcontext()


class EndOfTraining(keras.callbacks.Callback):
    """Notices whether callbacks change weights when training ends.

    It must come before them: they may go back to the best weights, which no
    checkpoint of what was trained holds. It also tells them of all epochs where
    one has a `fit` of its own.

    Args:
        epochs: of the whole training.
    """

    def __init__(self, epochs: int) -> None:
        super().__init__()
        self._epochs = epochs
        self._before: str | None = None

    def on_train_begin(self, logs: Any = None) -> None:
        """Tells all callbacks, which share their `params`."""
        self.params["epochs"] = self._epochs

    def on_train_end(self, logs: Any = None) -> None:
        """Notes the weights, of which the optimizer may have made averages."""
        self._before = _digest(self.model)

    def changed_weights(self, model: keras.Model) -> bool:
        """Whether weights are others than before the callbacks after it."""
        return self._before is not None and self._before != _digest(model)


def _digest(model: keras.Model) -> str:
    digest = hashlib.sha256()
    for variable in model.variables:
        array = np.asarray(keras.ops.convert_to_numpy(variable))
        digest.update(array.tobytes())
    return digest.hexdigest()


def who_stops(callbacks: Sequence[keras.callbacks.Callback]) -> str:
    """The callbacks that may have set `stop_training`, by name."""
    sure = [c for c in callbacks if getattr(c, "stopped_epoch", 0)]
    names = dict.fromkeys(type(c).__name__ for c in sure or callbacks)
    return " or ".join(names) or "what is called in a step"
