"""The step under PyTorch."""

from typing import TYPE_CHECKING, Any

import keras
import torch

from keras_vicregl._warnings import warn
from keras_vicregl.distribution.backends.torch import (
    check_batch,
    data_parallel,
    means_to_sums,
)
from keras_vicregl.distribution.collectives import metric_weight, replica_count

_NO_COMPILATION = (
    "`jit_compile=True` does not work under PyTorch, whose torch.compile fails "
    "at views of several sizes and at the objective's own gradient"
)


if TYPE_CHECKING:
    from keras import Model as _Model
else:
    _Model = object


class TrainStep(_Model):
    """Mixed into a `keras.Model`: gradients by `backward`."""

    @property
    def jit_compile(self) -> bool:
        """Whether `torch.compile` is asked for, which it must not be.

        It follows shapes that differ from view to view into comparisons that it
        cannot decide, and no further than the gradient that `losses.statistics`
        writes out. Kept from both - sizes fixed, that gradient left out - it
        makes hundreds of small programs, one for each size, in minutes, and
        steps of a small network take many times as long as without it.

        Raises:
            ValueError: if it is set to True, by `compile` or by itself.
        """
        return super().jit_compile

    @jit_compile.setter
    def jit_compile(self, value: Any) -> None:
        if value:
            raise ValueError(
                f"{_NO_COMPILATION}. Compile the model without it."
            )
        keras.Model.jit_compile.fset(self, value)

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """As Keras does when a file is loaded, which may be of a backend's."""
        if config.get("jit_compile") is True:
            warn(f"{_NO_COMPILATION}: it is left out.")
            config = {**config, "jit_compile": False}
        super().compile_from_config(config)

    def train_step(self, data: Any) -> dict[str, Any]:
        """One step of the optimizer on a batch."""
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        check_batch(_batch_size(x))
        y_pred = data_parallel(self)(x, training=True)
        self.zero_grad()
        loss = self._tracked_loss(x, y, y_pred, sample_weight, training=True)
        # All processes have the loss of the whole batch, and gradients are
        # those of the sum of what they have.
        (self.optimizer.scale_loss(loss) / replica_count()).backward()
        variables = self.trainable_weights
        gradients = [variable.value.grad for variable in variables]
        with torch.no_grad():
            means_to_sums(gradients)
            self.optimizer.apply(gradients, variables)
        return self.compute_metrics(x, y, y_pred, sample_weight)

    def test_step(self, data: Any) -> dict[str, Any]:
        """The objective of a batch in inference mode."""
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        check_batch(_batch_size(x))
        y_pred = self(x, training=False)
        self._tracked_loss(x, y, y_pred, sample_weight, training=False)
        return self.compute_metrics(x, y, y_pred, sample_weight)

    def _tracked_loss(
        self, x: Any, y: Any, y_pred: Any, sample_weight: Any, training: bool
    ) -> Any:
        loss = self.compute_loss(x, y, y_pred, sample_weight, training=training)
        size = metric_weight(_batch_size(x))
        self._loss_tracker.update_state(loss, sample_weight=size)
        return loss


def _batch_size(x: Any) -> int:
    return keras.tree.flatten(x)[0].shape[0]
