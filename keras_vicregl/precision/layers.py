"""Layers whose products are in full precision."""

from typing import Any

import keras
from keras import ops

from keras_vicregl.precision.products import matmul


@keras.saving.register_keras_serializable(package="keras_vicregl")
class FullPrecisionDense(keras.layers.Dense):
    """`keras.layers.Dense` with `matmul` of this package; for `float32`.

    It has the arguments and weights of `keras.layers.Dense`.

    Call arguments:
        inputs: float32 tensor `(B, F)`.

    Returns:
        Float32 tensor `(B, units)`.

    Example:

    >>> tuple(FullPrecisionDense(3)(ops.ones((2, 5))).shape)
    (2, 3)
    """

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Multiplies by the kernel, adds the bias."""
        x = matmul(inputs, ops.convert_to_tensor(self.kernel))
        if self.bias is not None:
            x = ops.add(x, self.bias)
        return x if self.activation is None else self.activation(x)


@keras.saving.register_keras_serializable(package="keras_vicregl")
class FullPrecisionPointwise(keras.layers.Conv2D):
    """A 1 x 1 `keras.layers.Conv2D` with `matmul` of this package.

    For `float32`, stride 1 and channels that come last. It has the arguments
    and weights of `keras.layers.Conv2D`. Backends have no precision for a
    convolution alone; the product of all positions with the kernel is the same.

    Call arguments:
        inputs: float32 tensor `(B, h, w, F)`.

    Returns:
        Float32 tensor `(B, h, w, filters)`.

    Example:

    >>> layer = FullPrecisionPointwise(3, 1, data_format="channels_last")
    >>> tuple(layer(ops.ones((2, 4, 4, 5))).shape)
    (2, 4, 4, 3)
    """

    def convolution_op(self, inputs: Any, kernel: Any) -> Any:
        """Multiplies all positions by the kernel."""
        kernel = ops.convert_to_tensor(kernel)[0, 0]
        *sizes, channels = ops.shape(inputs)
        # A single product, whose gradient is a single one too.
        rows = ops.reshape(inputs, (-1, channels))
        return ops.reshape(matmul(rows, kernel), (*sizes, self.filters))
