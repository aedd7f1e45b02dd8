"""What is on top of the backbone: expanders, and the classifier's labels."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_vicregl.views.keys import NO_LABEL

NORMALIZATIONS = ("batch", "layer")


def expander(
    input_dim: int,
    units: Sequence[int] = (8192, 8192, 8192),
    normalization: str = "batch",
    *,
    name: str | None = None,
    dtype: Any = None,
) -> keras.Sequential:
    """A multi-layer perceptron on the last axis (section 4.1 of the paper).

    Linear layers with bias, normalisation and ReLU after each; the last is
    linear alone, without a bias. Weights and biases start uniform in
    `+-1 / sqrt(fan in)`.

    Args:
        input_dim: channels F of its input `(..., F)`.
        units: width of each linear layer.
        normalization: `"batch"`, the paper's for ResNets, or `"layer"`, for
            ConvNeXts.
        name: name of the model.
        dtype: dtype policy of its layers.

    Returns:
        A built `keras.Sequential`, `(..., input_dim)` to `(..., units[-1])`.

    Raises:
        ValueError: if there are no units, or not all are positive, or
            `normalization` is unknown.

    Example:

    >>> expander(4, (8, 8, 2), "layer").count_params()
    160
    """
    units = check_units("units", units)
    if normalization not in NORMALIZATIONS:
        raise ValueError(
            f"`normalization` knows {NORMALIZATIONS}; received "
            f"{normalization!r}."
        )
    layers = []
    fan_in = input_dim
    for width in units[:-1]:
        limit = fan_in**-0.5
        layers.append(_linear(width, bias_limit=limit, dtype=dtype))
        if normalization == "batch":
            # The running averages of the authors' framework: momentum 0.1 there
            # is 0.9 here.
            layers.append(
                keras.layers.BatchNormalization(
                    momentum=0.9, epsilon=1e-5, dtype=dtype
                )
            )
        else:
            layers.append(
                keras.layers.LayerNormalization(epsilon=1e-5, dtype=dtype)
            )
        layers.append(keras.layers.ReLU(dtype=dtype))
        fan_in = width
    layers.append(_linear(units[-1], bias_limit=None, dtype=dtype))
    model = keras.Sequential(layers, name=name)
    model.build((None, input_dim))
    return model


def check_units(name: str, units: Sequence[int]) -> tuple[int, ...]:
    """Returns widths as a tuple of positive integers, or raises."""
    units = tuple(units)
    if not units or any(int(u) != u or u <= 0 for u in units):
        raise ValueError(
            f"`{name}` must be one or more positive layer widths; received "
            f"{units}."
        )
    return tuple(int(u) for u in units)


def _linear(
    units: int, bias_limit: float | None, dtype: Any
) -> keras.layers.Dense:
    # VarianceScaling's uniform limit is sqrt(3 * scale / fan in).
    kernel = keras.initializers.VarianceScaling(
        scale=1 / 3, mode="fan_in", distribution="uniform"
    )
    if bias_limit is None:
        return keras.layers.Dense(
            units, use_bias=False, kernel_initializer=kernel, dtype=dtype
        )
    bias = keras.initializers.RandomUniform(-bias_limit, bias_limit)
    return keras.layers.Dense(
        units, kernel_initializer=kernel, bias_initializer=bias, dtype=dtype
    )


def checked_labels(y: Any, num_classes: int) -> tuple[Any, Any, Any]:
    """What the classifier learns from, and what it does not.

    Args:
        y: Labels `(B,)`; -1 is none.
        num_classes: their number of classes.

    Returns:
        Labels `(B,)`, int32 in 0..num_classes - 1; which of them count, `(B,)`
        of 0 or 1, float32; and a float32 scalar, 1, or 0 where one is neither
        a class nor -1.

    Raises:
        ValueError: if labels have another shape.
    """
    if len(y.shape) != 1 and tuple(y.shape[1:]) != (1,):
        raise ValueError(
            "Labels must be integers (B,), one an image; received shape "
            f"{tuple(y.shape)}. Of one-hot labels take the argmax."
        )
    labels = ops.reshape(ops.cast(y, "int32"), (-1,))
    counted = ops.logical_and(labels >= 0, labels < num_classes)
    are_right = ops.all(ops.logical_or(counted, labels == NO_LABEL))
    return (
        ops.where(counted, labels, 0),
        ops.cast(counted, "float32"),
        ops.cast(are_right, "float32"),
    )
