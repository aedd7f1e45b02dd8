"""A backbone with linear layers on it, trained on augmented images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from keras import ops

from keras_vicregl.evaluation.progress import counted, say_once
from keras_vicregl.models.backbones.copies import copy_of
from keras_vicregl.models.plumbing import feature_channels
from keras_vicregl.precision import FullPrecisionDense
from keras_vicregl.views import MultiView, ViewGroup
from keras_vicregl.views.values import ValueRange

if TYPE_CHECKING:
    from keras_vicregl.data import ImageSource

_MOMENTUM = 0.9


class Classifier(keras.Model):
    """Linear layers, the heads, on the pooled features of a backbone's copy.

    Args:
        backbone: Maps (B, H, W, C) to one feature map (B, h, w, F).
        num_classes: C.
        learning_rates: One a head.
        backbone_learning_rate: Of the copy. 0: it is frozen and in inference
            mode.
        seed: Of the initial weights of the heads, the same for all.
        views: What makes the views of images that come without.
    """

    def __init__(
        self,
        backbone: keras.Model,
        num_classes: int,
        *,
        learning_rates: Sequence[float],
        backbone_learning_rate: float,
        seed: int,
        views: MultiView | None,
    ) -> None:
        channels = feature_channels(backbone)
        # The policy is for `compile`, which scales the loss in float16.
        super().__init__(autocast=False, dtype=backbone.dtype_policy)
        self.backbone = copy_of(backbone)
        self.backbone.trainable = backbone_learning_rate > 0
        self.num_classes = num_classes
        self.learning_rates = tuple(learning_rates)
        self.backbone_learning_rate = backbone_learning_rate
        self.views: Any = views  # a `MultiView`, or None
        heads = len(self.learning_rates)
        self.heads = FullPrecisionDense(heads * num_classes, dtype="float32")
        self.heads.build((None, channels))
        rng = np.random.default_rng(seed)
        initial = rng.normal(0, 0.01, (channels, num_classes))
        self.heads.kernel.assign(np.tile(initial, heads).astype(np.float32))
        self.built = True

    def call(self, inputs: dict[str, Any], training: bool = False) -> Any:
        """Scores (B, heads * C) of the views in a batch, see `fit_on`."""
        if "views" not in inputs:
            inputs = self.views.render(inputs)
        (images,) = inputs["views"]
        training = bool(training and self.backbone.trainable)
        maps = self.backbone(images, training=training)
        return self.heads(ops.mean(ops.cast(maps, "float32"), axis=(1, 2)))

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """The heads' mean cross-entropies, summed: none touches another."""
        heads = len(self.learning_rates)
        scores = ops.reshape(y_pred, (-1, heads, self.num_classes))
        own = ops.one_hot(ops.cast(y, "int32"), self.num_classes)
        own = ops.sum(scores * own[:, None], axis=-1)
        losses = ops.logsumexp(scores, axis=-1) - own
        return ops.sum(ops.mean(losses, axis=0))

    def fit_on(self, batches: Any, epochs: int, weight_decay: float) -> float:
        """Trains; returns the heads' summed loss in the last epoch.

        Args:
            batches: Of `augmented_batches`.
            epochs: Passes over them.
            weight_decay: See `SGD`.
        """
        rates = np.repeat(np.float32(self.learning_rates), self.num_classes)
        heads = {id(variable) for variable in self.heads.variables}
        self.compile(
            SGD(
                CosineByEpoch(len(batches), epochs),
                [
                    rates if id(v) in heads else self.backbone_learning_rate
                    for v in self.trainable_variables
                ],
                weight_decay,
            )
        )
        # The batches come in their own order.
        history = self.fit(
            batches,
            epochs=epochs,
            shuffle=False,
            verbose=0,
            callbacks=[_Counted(epochs * len(batches))],
        )
        return history.history["loss"][-1]

    @property
    def head_parameters(self) -> np.ndarray:
        """Weights, and in the last row biases, (F + 1, heads * C)."""
        kernel, bias = map(ops.convert_to_numpy, self.heads.variables)
        return np.concatenate([kernel, bias[None]])


class _Counted(keras.callbacks.Callback):
    """Tells how far a training is, where that is wanted."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self._steps: Any = counted(range(steps), "training on crops", "steps")

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """The step before is done."""
        next(self._steps, None)

    def on_train_end(self, logs: Any = None) -> None:
        """Ends the line."""
        next(self._steps, None)
        self._steps.close()


class SGD(keras.optimizers.Optimizer):
    """SGD with momentum 0.9 as PyTorch has it, with a rate a variable.

    With g the gradient plus `weight_decay` times the variable:
    v = 0.9 v + g, w -= rate * v. (Keras' own multiplies before it adds up, and
    decays weights by themselves.)

    Args:
        schedule: What all rates are multiplied with.
        rates: One a trainable variable: a number, or an array that broadcasts
            with it.
        weight_decay: Multiple of the weights added to their gradient.
    """

    def __init__(
        self, schedule: Any, rates: Sequence[Any], weight_decay: float
    ) -> None:
        super().__init__(schedule)
        self._rates = [np.asarray(rate, np.float32) for rate in rates]
        self._decay = weight_decay

    def build(self, variables: Sequence[Any]) -> None:
        """Creates a velocity for each variable."""
        if self.built:
            return
        super().build(variables)
        self._velocities = self.add_optimizer_variables(variables, "velocity")

    def update_step(
        self, gradient: Any, variable: Any, learning_rate: Any
    ) -> None:
        """One step of one variable."""
        index = self._get_variable_index(variable)
        gradient = ops.cast(gradient, variable.dtype)
        gradient = gradient + self._decay * variable
        velocity = self._velocities[index]
        self.assign(velocity, _MOMENTUM * velocity + gradient)
        rate = ops.convert_to_tensor(self._rates[index]) * learning_rate
        self.assign_sub(variable, ops.cast(rate, variable.dtype) * velocity)


class CosineByEpoch(keras.optimizers.schedules.LearningRateSchedule):
    """(1 + cos(pi * epoch / epochs)) / 2, from 1 on, within epochs constant."""

    def __init__(self, steps_per_epoch: int, epochs: int) -> None:
        self._steps = steps_per_epoch
        self._epochs = epochs

    def __call__(self, step: Any) -> Any:
        """Its value at a step."""
        epoch = ops.floor_divide(ops.cast(step, "int32"), self._steps)
        angle = ops.cast(epoch, "float32") * (math.pi / self._epochs)
        return 0.5 * (1.0 + ops.cos(angle))


def augmented_batches(
    source: ImageSource,
    *,
    size: int | tuple[int, int],
    scale: tuple[float, float],
    mean: tuple[float, ...],
    std: tuple[float, ...],
    batch_size: int,
    seed: int,
    value_range: ValueRange | None = None,
) -> tuple[MultiView | None, Any]:
    """Random crops and flips of all images, and their labels, for `fit`.

    Arrays go to the device as they are, and are cropped there, without
    TensorFlow, and so do other images where it is not installed; with it these
    are cropped in tf.data.

    Args:
        source: Labelled images.
        size: Rows and columns of a crop.
        scale: Smallest and largest fraction of the image's area.
        mean: The channels' means, on a scale of [0, 1].
        std: Their standard deviations.
        batch_size: At most; of the last batch, what does not fill it is
            dropped.
        seed: Of order and crops.
        value_range: Of the images, see `MultiView`.

    Returns:
        What makes the crops in the model, or None if they are made, and the
        batches.
    """
    from keras_vicregl.data import ArrayBatches, view_batches
    from keras_vicregl.data.batches.identity import left_out
    from keras_vicregl.data.engine import has_tensorflow
    from keras_vicregl.data.sources.arrays import ArraySource

    is_array = isinstance(source, ArraySource)
    on_device = is_array or not has_tensorflow()
    if is_array and value_range is None and source.dtype != "uint8":
        value_range = (0.0, 255.0)  # which is then to be said
    views = MultiView(
        [ViewGroup(size, 1, scale=scale, blur=(0.0,), solarize=(0.0,))],
        jitter=0.0,
        saturation=0.0,
        hue=0.0,
        grayscale=0.0,
        channels=len(mean),
        mean=mean,
        std=std,
        value_range=value_range,
        interpolation="bilinear",
        on="device" if on_device else "host",
    )
    make = ArrayBatches if is_array else view_batches
    batch_size = min(batch_size, len(source))
    if rest := left_out(len(source), batch_size):
        say_once(f"training on crops: {rest}")
    batches = make(source, views, batch_size=batch_size, seed=seed)
    return views if on_device else None, batches
