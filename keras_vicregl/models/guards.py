"""The callback that ends a run which has gone wrong."""

import math
import operator
import time
from collections.abc import Callable, Iterable
from typing import Any, cast

import keras

from keras_vicregl.distribution.processes import process_count
from keras_vicregl.optimizers.rates import learning_rate_of

CLASSIFIER_LOSS = "classifier_loss"
"""The log that is NaN, and alone so, after labels that cannot be."""

# Seconds until the numbers of steps before one that is not finite must be read.
_LONGEST_WAIT = 10.0


class NonFiniteStepError(FloatingPointError):
    """A step of a training has made something that is not finite.

    Attributes:
        epoch: of the step, from 0.
        step: its batch in the epoch, from 0.
    """

    def __init__(self, message: str, epoch: int, step: int) -> None:
        super().__init__(message)
        self.epoch = epoch
        self.step = step


class StopOnNonFinite(keras.callbacks.Callback):
    """Raises when the loss or one of its terms is not finite.

    `VICRegL.fit` adds it by itself. Unlike `keras.callbacks.TerminateOnNaN` it
    says which terms are concerned, and ends with an error, so that no script
    goes on to save what is left.

    A `LossScaleOptimizer`, as in mixed_float16, leaves out steps whose
    gradients are not finite, and lowers its scale. That is no error as long as
    all weights are finite: the number of such steps is in the logs of the
    epoch, as `skipped_steps`, and means that a step has spoilt are of those
    after it. It is one if all steps of an epoch were skipped.

    It costs no time: under JAX and PyTorch, Keras reads the numbers of a step
    in another thread, while the next steps run, as long as all callbacks let
    it. The error may then come a few steps late, but names the step. (Under
    TensorFlow, and of several processes, Keras waits for the numbers of each
    step.)

    Args:
        first_batch: where in its first epoch training begins, for the message.
        on_reset: called when means begin anew in the middle of an epoch.

    Raises:
        NonFiniteStepError: after a batch with a NaN or infinite log; a
            `FloatingPointError`.
        ValueError: after a batch, of training or of validation, with labels
            that are neither classes nor -1. Weights are as they should be:
            such labels change none.

    Example:

    >>> import numpy as np
    >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    >>> model.compile("sgd", "mse")
    >>> x, guard = np.full((4, 1), np.inf), StopOnNonFinite()
    >>> model.fit(x, x, callbacks=[guard], verbose=0)
    Traceback (most recent call last):
    ...
    keras_vicregl.models.guards.NonFiniteStepError: loss not finite in ...
    """

    # Keras may call `on_train_batch_end` in another thread.
    async_safe = True

    def __init__(
        self,
        first_batch: int = 0,
        on_reset: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__()
        self._on_reset = on_reset
        self._skipped_before = self._steps = self._iterations = 0
        self._begun = False
        self.begin_at(first_batch)

    def begin_at(self, first_batch: int) -> None:
        """Takes the next epoch for one that begins at a batch."""
        self._first_batch = first_batch
        self._epoch: int | None = None
        self._forget()

    def _forget(self) -> None:
        # Lists, which threads may append to at once.
        self._found: list[tuple[int, int | None, list[str]]] = []
        self._read: list[int] = []
        self._to_read = 0

    def get_state(self) -> dict[str, Any]:
        """What a checkpoint keeps of it: steps skipped in this epoch."""
        return {"skipped": self._skipped()}

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes on from a checkpoint."""
        self._skipped_before = state["skipped"]

    def set_model(self, model: Any) -> None:
        """Has each step looked at, where several processes must stop alike."""
        super().set_model(model)
        if process_count(model) > 1:
            self.async_safe = False

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Remembers where training is, for the message."""
        if self._epoch is not None or not self._first_batch:
            self._first_batch = self._skipped_before = 0
        self._epoch = epoch
        self._steps, self._begun = 0, False
        self._forget()
        self._iterations = self._iterations_done()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Looks at the logs of a batch; touches no model, for its thread."""
        broken = [
            name
            for name, value in (logs or {}).items()
            if not math.isfinite(float(value))
        ]
        if broken:
            self._found.append((batch, self._epoch, broken))
        self._read.append(batch)

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Stops before the next step."""
        self._steps, self._begun = batch, True
        self._stop_if_found()
        self._to_read += 1

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Stops before anything is saved; logs what was skipped."""
        if self._begun:
            # The steps that began last are done, of which the epoch may have
            # fewer than others.
            steps = self._steps + self.model.steps_per_execution
            self._steps = min(steps, (self.params or {}).get("steps") or steps)
        self._stop_if_found()
        if not _scales_loss(self.model):
            return
        skipped = self._skipped()
        if logs is not None:
            logs["skipped_steps"] = skipped
        trained = self._first_batch + self._steps
        if skipped >= trained:
            raise NonFiniteStepError(
                f"The gradients of all {trained} steps of epoch {epoch + 1} "
                "were not finite, and nothing was trained. "
                f"{_CAUSES}",
                epoch,
                trained - 1,
            )

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        """Looks for labels only: what is not finite changes nothing here."""
        value = (logs or {}).get(CLASSIFIER_LOSS, 0.0)
        others = [v for k, v in (logs or {}).items() if k != CLASSIFIER_LOSS]
        if math.isnan(float(value)) and all(map(math.isfinite, others)):
            self._found.append((batch, None, [CLASSIFIER_LOSS]))

    def on_test_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Stops before the next batch."""
        self._stop_if_found()

    def on_test_end(self, logs: Any = None) -> None:
        """Stops before figures are used."""
        self._stop_if_found()

    def _stop_if_found(self) -> None:
        if not self._found:
            return
        # The step before may still be read: means are not finite after it.
        until = time.monotonic() + _LONGEST_WAIT
        while len(self._read) < self._to_read and time.monotonic() < until:
            time.sleep(1e-3)
        batch, epoch, broken = min(self._found, key=operator.itemgetter(0))
        self._forget()
        if broken == [CLASSIFIER_LOSS]:
            raise ValueError(self._about_labels(batch, epoch))
        if (
            _scales_loss(self.model)
            and self._skipped()
            and (_all_finite(self.model.variables))
        ):
            for metric in self.model.metrics:
                if not _all_finite(metric.variables):
                    metric.reset_state()
            self._on_reset()
            return
        rate = learning_rate_of(self.model.optimizer)
        told = "" if rate is None else f" (learning rate {rate:g})"
        epoch = cast("int", epoch)
        step = self._first_batch + batch
        raise NonFiniteStepError(
            f"{', '.join(broken)} not finite in epoch {epoch + 1}, batch "
            f"{step + 1}{told}. The weights may hold NaN as well: go back to a "
            f"checkpoint. {_CAUSES}",
            epoch,
            step,
        )

    def _about_labels(self, batch: int, epoch: int | None) -> str:
        where = f"batch {batch + 1} of the validation data"
        if epoch is not None:
            batch += self._first_batch
            where = f"epoch {epoch + 1}, batch {batch + 1}"
        classes = self.model.num_classes
        return (
            f"Labels in {where} are neither in 0..{classes - 1}, the classes "
            f"of num_classes={classes}, nor -1, which is no label. Nothing was "
            "learnt from them."
        )

    def _skipped(self) -> int:
        """Steps of this epoch that were not taken, before the present one."""
        if not _scales_loss(self.model):
            return 0
        done = self._iterations_done() - self._iterations
        return self._skipped_before + max(self._steps - done, 0)

    def _iterations_done(self) -> int:
        if not _scales_loss(self.model):
            return 0
        # `iterations` is fewer where gradients are accumulated.
        done = self.model.optimizer.inner_optimizer._iterations
        return int(keras.ops.convert_to_numpy(done))


_CAUSES = (
    "Usual causes are non-finite pixels, too high a learning rate, or float16 "
    "without loss scaling. `pretrain(skip_nonfinite=1)` leaves out such a "
    "batch."
)


def _scales_loss(model: Any) -> bool:
    optimizer = getattr(model, "optimizer", None)
    return isinstance(optimizer, keras.optimizers.LossScaleOptimizer)


def _all_finite(variables: Iterable[Any]) -> bool:
    return all(
        bool(keras.ops.all(keras.ops.isfinite(variable)))
        for variable in variables
        if keras.backend.is_float_dtype(variable.dtype)
    )
