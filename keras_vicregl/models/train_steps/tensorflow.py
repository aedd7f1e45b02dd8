"""The step under TensorFlow."""

from typing import Any

import keras
import tensorflow as tf


class TrainStep:
    """Mixed into a `keras.Model`: gradients by `tf.GradientTape`."""

    def train_step(self, data: Any) -> dict[str, Any]:
        """One step of the optimizer on a batch."""
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        size = _checked_batch_size(x)
        with tf.GradientTape() as tape:
            y_pred = self(x, training=True)
            loss = self.compute_loss(x, y, y_pred, sample_weight, training=True)
            self._loss_tracker.update_state(loss, sample_weight=size)
            scaled = self.optimizer.scale_loss(loss)
        variables = self.trainable_weights
        gradients = tape.gradient(scaled, variables)
        self.optimizer.apply_gradients(zip(gradients, variables, strict=True))
        return self.compute_metrics(x, y, y_pred, sample_weight)

    def test_step(self, data: Any) -> dict[str, Any]:
        """The objective of a batch in inference mode."""
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        size = _checked_batch_size(x)
        y_pred = self(x, training=False)
        loss = self.compute_loss(x, y, y_pred, sample_weight, training=False)
        self._loss_tracker.update_state(loss, sample_weight=size)
        return self.compute_metrics(x, y, y_pred, sample_weight)

    def _maybe_symbolic_build(self, iterator: Any = None, **kwargs: Any) -> Any:
        """Takes no batch to build what is built.

        Under a distribution strategy Keras takes one in any case, and the
        strategy takes more ahead: near the end of an epoch, where a resumed
        training may begin, they would be all that is left of it.
        """
        layers = self._flatten_layers()
        if self._compile_metrics or not all(layer.built for layer in layers):
            return super()._maybe_symbolic_build(iterator, **kwargs)
        if self.optimizer is not None and not self.optimizer.built:
            with self.distribute_strategy.scope():
                self.optimizer.build(self.trainable_variables)
        return None


def _checked_batch_size(x: Any) -> Any:
    """The batch size, asserted to be 2 or more where it is not known yet."""
    first = keras.tree.flatten(x)[0]
    size = tf.shape(first)[0]
    if first.shape[0] is None:
        message = (
            "The variance over a batch needs at least 2 samples. Use a larger "
            "batch and `drop_remainder=True`."
        )
        check = tf.debugging.assert_greater(size, 1, message)
        with tf.control_dependencies([check] if check is not None else []):
            size = tf.identity(size)
    return size
