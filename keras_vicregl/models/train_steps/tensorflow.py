"""The step under TensorFlow."""

from typing import TYPE_CHECKING, Any

import keras

from keras_vicregl._tensorflow import tf
from keras_vicregl.distribution.backends.tensorflow import (
    apply_gradients,
    check_combination,
    reducible,
)
from keras_vicregl.distribution.collectives import replica_count, replica_sum

if TYPE_CHECKING:
    from keras import Model as _Model
else:
    _Model = object


class TrainStep(_Model):
    """Mixed into a `keras.Model`: gradients by `tf.GradientTape`."""

    def train_step(self, data: Any) -> dict[str, Any]:
        """One step of the optimizer on a batch."""
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        x, size = _checked(x)
        with tf.GradientTape() as tape:
            y_pred = self(x, training=True)
            loss = self.compute_loss(x, y, y_pred, sample_weight, training=True)
            self._loss_tracker.update_state(loss, sample_weight=size)
            # All replicas have the loss of the whole batch, and gradients are
            # those of the sum of what they have.
            scaled = self.optimizer.scale_loss(loss) / replica_count()
        variables = self.trainable_weights
        gradients = tape.gradient(scaled, variables)
        apply_gradients(self.optimizer, gradients, variables)
        return reducible(self.compute_metrics(x, y, y_pred, sample_weight))

    def test_step(self, data: Any) -> dict[str, Any]:
        """The objective of a batch in inference mode."""
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        x, size = _checked(x)
        y_pred = self(x, training=False)
        loss = self.compute_loss(x, y, y_pred, sample_weight, training=False)
        self._loss_tracker.update_state(loss, sample_weight=size)
        return reducible(self.compute_metrics(x, y, y_pred, sample_weight))

    def make_train_function(self, force: bool = False) -> Any:
        """That of Keras, unless Keras cannot make it under the strategy."""
        check_combination(self)
        return super().make_train_function(force)

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


def _checked(x: Any) -> tuple[Any, Any]:
    """The batch and this replica's size of it, for the network to wait for.

    What is computed from the batch that is returned runs after the check of its
    size: a batch of one image may end the process on CPUs (`Subsample`).
    """
    first = keras.tree.flatten(x)[0]
    size = tf.shape(first)[0]
    if first.shape[0] is not None:
        return x, size
    check = _assertion(size, replica_count())
    with tf.control_dependencies([check] if check is not None else []):
        return keras.tree.map_structure(tf.identity, x), tf.identity(size)


def _assertion(size: Any, replicas: int) -> Any:
    if replicas == 1:
        return tf.debugging.assert_greater(
            size,
            1,
            "The variance over a batch needs at least 2 samples. Use a larger "
            "batch and `drop_remainder=True`.",
        )
    everywhere = replica_sum(tf.cast(size, tf.float32))
    return tf.debugging.assert_equal(
        tf.cast(size, tf.float32) * replicas,
        everywhere,
        f"A batch must divide by the {replicas} devices, the last one "
        "too: use `drop_remainder=True` and such a batch size.",
    )
