"""Layers of residual networks: depth, scale and strides of branches."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

import keras
from keras import ops

from keras_vicregl.distribution.collectives import replica_count, replica_index

_SEED_STATE = "seed_generator_state"


@keras.saving.register_keras_serializable(package="keras_vicregl")
class StochasticDepth(keras.layers.Layer):
    """Drops a residual branch for whole samples at random in training.

    Huang et al., "Deep Networks with Stochastic Depth". Each sample's branch
    is zero with probability `rate`, and divided by `1 - rate` otherwise. In
    inference the layer does nothing. The state of the random numbers is saved
    with the weights, so that an interrupted training goes on as it would have.

    Args:
        rate: Probability of dropping, in `[0, 1)`.
        seed: Integer seed, or `None` for one of `keras.utils.set_random_seed`.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        inputs: Branch, `(B, ...)`.
        training: Whether to drop.

    Returns:
        Tensor of the shape of `inputs`.

    Raises:
        ValueError: If `rate` is out of range.

    Example:


    >>> layer = StochasticDepth(0.5, seed=1)
    >>> branch = layer(ops.ones((100, 1, 1, 1)), training=True)
    >>> sorted({float(value) for value in branch[:, 0, 0, 0]})
    [0.0, 2.0]
    """

    def __init__(
        self, rate: float, seed: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if not 0 <= rate < 1:
            raise ValueError(
                "`rate` must be at least 0 and less than 1. "
                f"Received: rate={rate}"
            )
        self.rate = rate
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Drops branches if `training`."""
        if not training or self.rate == 0:
            return inputs
        size, axes = ops.shape(inputs)[0], len(inputs.shape) - 1
        replicas = replica_count()
        if replicas == 1:
            return keras.random.dropout(
                inputs,
                self.rate,
                noise_shape=(size,) + (1,) * axes,
                seed=self.seed_generator,
            )
        # Replicas have the same seeds. Each draws for all and takes its share.
        factors = keras.random.dropout(
            ops.ones((size * replicas,) + (1,) * axes, inputs.dtype),
            self.rate,
            seed=self.seed_generator,
        )
        own = replica_index() * size + ops.arange(size, dtype="int32")
        return inputs * ops.take(factors, own, axis=0)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Returns the input's shape."""
        return input_shape

    def save_own_variables(self, store: MutableMapping[str, Any]) -> None:
        """Saves the random state, which Keras leaves out of weight files."""
        store[_SEED_STATE] = ops.convert_to_numpy(self.seed_generator.state)

    def load_own_variables(self, store: MutableMapping[str, Any]) -> None:
        """Restores the random state, if the file has it."""
        if _SEED_STATE in store.keys():  # noqa: SIM118 - not a whole mapping
            self.seed_generator.state.assign(store[_SEED_STATE])

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}


@keras.saving.register_keras_serializable(package="keras_vicregl")
class LayerScale(keras.layers.Layer):
    """Multiplies every channel by a learned factor that starts small.

    Touvron et al., "Going Deeper with Image Transformers".

    Args:
        initial_value: First value of all factors.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        inputs: Tensor `(..., C)`.

    Returns:
        Tensor of the shape of `inputs`.

    Example:


    >>> ops.convert_to_numpy(LayerScale(0.5)(ops.ones((1, 2)))).tolist()
    [[0.5, 0.5]]
    """

    def __init__(self, initial_value: float = 1e-6, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.initial_value = initial_value

    def build(self, input_shape: Any) -> None:
        """Creates the factors, `(C,)`."""
        self.gamma = self.add_weight(
            name="gamma",
            shape=(input_shape[-1],),
            initializer=keras.initializers.Constant(self.initial_value),
        )

    def call(self, inputs: Any) -> Any:
        """Scales the channels."""
        return inputs * self.gamma

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Returns the input's shape."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {**super().get_config(), "initial_value": self.initial_value}


@keras.saving.register_keras_serializable(package="keras_vicregl")
class Subsample(keras.layers.Layer):
    """Keeps every `stride`-th row and column, beginning with the first.

    With a 1 x 1 convolution after it, it is a strided 1 x 1 convolution in all
    numbers, and safe: the gradient of the latter corrupts memory under
    TensorFlow 2.21 with oneDNN on some CPUs, when a batch is one image.

    Args:
        stride: Rows and columns from one that is kept to the next.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        inputs: Map `(B, h, w, C)`.

    Returns:
        Tensor `(B, ceil(h / stride), ceil(w / stride), C)`.

    Example:

    >>> tuple(Subsample(2)(ops.ones((1, 5, 4, 3))).shape)
    (1, 3, 2, 3)
    """

    def __init__(self, stride: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.stride = stride

    def call(self, inputs: Any) -> Any:
        """Slices rows and columns."""
        return _every(inputs, (1, self.stride, self.stride, 1))

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Returns the shape of what is kept."""
        batch, *sizes, channels = input_shape
        sizes = [size and -(-size // self.stride) for size in sizes]
        return (batch, *sizes, channels)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {**super().get_config(), "stride": self.stride}


@keras.saving.register_keras_serializable(package="keras_vicregl")
class PointwiseConv2D(keras.layers.Conv2D):
    """A strided 1 x 1 convolution that slices first, see `Subsample`.

    It has arguments, weights and numbers of `keras.layers.Conv2D`, whose place
    it takes in copies of models.
    """

    def convolution_op(self, inputs: Any, kernel: Any) -> Any:
        """Slices rows and columns, and convolves what is left."""
        last = self.data_format == "channels_last"
        steps = (1, *self.strides, 1) if last else (1, 1, *self.strides)
        return ops.conv(
            _every(inputs, steps),
            kernel,
            padding="valid",
            data_format=self.data_format,
        )


def _every(x: Any, steps: tuple[int, ...]) -> Any:
    """Every so many entries along each axis, beginning with the first."""
    if keras.backend.backend() == "jax":
        from jax import lax

        # Whose size, where an export has it as a formula, is the same formula
        # as that of a strided convolution.
        return lax.slice(x, (0,) * len(steps), x.shape, steps)
    return x[tuple(slice(None, None, step) for step in steps)]
