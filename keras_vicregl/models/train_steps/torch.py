"""The step under PyTorch."""

from typing import Any

import keras
import torch

from keras_vicregl.distribution.backends.torch import (
    check_batch,
    data_parallel,
    means_to_sums,
)
from keras_vicregl.distribution.collectives import metric_weight, replica_count


class TrainStep:
    """Mixed into a `keras.Model`: gradients by `backward`."""

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
