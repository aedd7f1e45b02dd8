"""The step under JAX."""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import jax
import keras


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        if "is partitioned" not in str(error):
            raise
        raise ValueError(
            f"A batch must divide by the {jax.device_count()} devices, the "
            "last one too: use such a `batch_size` and `drop_remainder=True`. "
            f"JAX says: {error}"
        ) from error


if TYPE_CHECKING:
    from keras import Model as _Model
else:
    _Model = object


class TrainStep(_Model):
    """Mixed into a `keras.Model`: stateless, gradients by `jax.grad`."""

    def train_step(self, state: tuple, data: Any) -> tuple[dict, tuple]:
        """One step of the optimizer on a batch."""
        trainable, non_trainable, optimizer_state, metrics = state
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        gradient = jax.value_and_grad(
            self.compute_loss_and_updates, has_aux=True
        )
        (_, updates), gradients = gradient(
            trainable,
            non_trainable,
            metrics,
            x,
            y,
            sample_weight,
            training=True,
            optimizer_variables=optimizer_state,
        )
        loss, y_pred, non_trainable, metrics = updates
        trainable, optimizer_state = self.optimizer.stateless_apply(
            optimizer_state, gradients, trainable
        )
        logs, metrics = self._logs(metrics, loss, x, y, y_pred, sample_weight)
        return logs, (trainable, non_trainable, optimizer_state, metrics)

    def fit(self, *args: Any, **kwargs: Any) -> Any:
        """That of Keras; says what is wrong with batches that do not divide."""
        with _explained():
            return super().fit(*args, **kwargs)

    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        """That of Keras; says what is wrong with batches that do not divide."""
        with _explained():
            return super().evaluate(*args, **kwargs)

    def test_step(self, state: tuple, data: Any) -> tuple[dict, tuple]:
        """The objective of a batch in inference mode."""
        trainable, non_trainable, metrics = state
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        _, updates = self.compute_loss_and_updates(
            trainable, non_trainable, metrics, x, y, sample_weight
        )
        loss, y_pred, non_trainable, metrics = updates
        logs, metrics = self._logs(metrics, loss, x, y, y_pred, sample_weight)
        return logs, (trainable, non_trainable, metrics)

    def _logs(
        self,
        metrics: list,
        loss: Any,
        x: Any,
        y: Any,
        y_pred: Any,
        sample_weight: Any,
    ) -> tuple[dict, list]:
        """Adds the loss to its metric; returns logs and new metric state."""
        mapping = zip(self.metrics_variables, metrics, strict=True)
        with keras.StatelessScope(state_mapping=list(mapping)) as scope:
            size = keras.tree.flatten(x)[0].shape[0]
            self._loss_tracker.update_state(loss, sample_weight=size)
            logs = self.compute_metrics(x, y, y_pred, sample_weight)
            metrics = [
                scope.get_current_value(v) for v in self.metrics_variables
            ]
        return logs, metrics
