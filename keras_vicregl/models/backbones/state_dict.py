"""Correspondence of Keras variables and PyTorch state-dict tensors."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

import keras
import numpy as np

from keras_vicregl.models.backbones.layers import LayerScale

# How each PyTorch layout is obtained from the Keras one (`np.transpose`).
_CONV = (3, 2, 0, 1)  # (kh, kw, in, out)   -> (out, in, kh, kw)
_DEPTHWISE = (2, 3, 0, 1)  # (kh, kw, channels, 1) -> (channels, 1, kh, kw)
_DENSE = (1, 0)  # (in, out)           -> (out, in)


@dataclasses.dataclass(frozen=True)
class StateDictEntry:
    """One tensor of a PyTorch state dict and where Keras keeps it.

    The conversion only permutes axes, so a round trip in either direction
    is exact bit for bit.

    Attributes:
        variable: The Keras variable, or `None` for a tensor that has no
            counterpart in Keras (`num_batches_tracked`, an int64 scalar that
            PyTorch reads only when a norm has no momentum).
        axes: Permutation from the Keras layout to the PyTorch layout, as in
            `np.transpose`. `()` leaves the tensor as it is.

    Example:

    >>> layer = keras.layers.Dense(2, use_bias=False)
    >>> layer.build((None, 3))
    >>> entries = dict(layer_entries(layer))
    >>> entries["weight"].shape
    (2, 3)
    """

    variable: Any
    axes: tuple[int, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the tensor in the PyTorch layout."""
        if self.variable is None:
            return ()
        shape = tuple(self.variable.shape)
        return tuple(shape[axis] for axis in self.axes) or shape

    def to_torch(self) -> np.ndarray:
        """Returns the current value in the PyTorch layout, contiguous.

        bfloat16, which NumPy does not have, becomes float32.
        """
        if self.variable is None:
            return np.zeros((), "int64")
        value = keras.ops.convert_to_numpy(self.variable.value)
        if self.variable.dtype == "bfloat16":
            value = value.astype("float32")
        if self.axes:
            value = np.transpose(value, self.axes)
        return np.ascontiguousarray(value)

    def assign(self, value: np.ndarray) -> None:
        """Writes an array in the PyTorch layout into the Keras variable.

        Args:
            value: Array of shape `self.shape`.

        Raises:
            ValueError: If the array has another shape.
        """
        value = np.asarray(value)
        if value.shape != self.shape:
            where = "a counter" if self.variable is None else self.variable.path
            raise ValueError(
                f"`value` has shape {value.shape}, but {where} takes shape "
                f"{self.shape} in the PyTorch layout."
            )
        if self.variable is None:
            return
        if self.axes:
            value = np.transpose(value, np.argsort(self.axes))
        self.variable.assign(value)


def layer_entries(
    layer: keras.layers.Layer,
) -> Iterator[tuple[str, StateDictEntry]]:
    """Yields the tensors of one layer under PyTorch's parameter names.

    Args:
        layer: A built convolution, depthwise convolution, dense, batch or
            layer normalization, or layer scale layer.

    Yields:
        `(name, entry)` in the order of `torch.nn.Module.state_dict`.

    Raises:
        TypeError: If the layer is of another kind.
    """
    # DepthwiseConv2D is no Conv2D, but the order keeps this true by itself.
    kernel_axes = (
        (keras.layers.DepthwiseConv2D, _DEPTHWISE),
        (keras.layers.Conv2D, _CONV),
        (keras.layers.Dense, _DENSE),
    )
    for kind, axes in kernel_axes:
        if isinstance(layer, kind):
            yield "weight", StateDictEntry(layer.kernel, axes)
            if layer.use_bias:
                yield "bias", StateDictEntry(layer.bias)
            return
    if isinstance(
        layer,
        keras.layers.BatchNormalization | keras.layers.LayerNormalization,
    ):
        yield "weight", StateDictEntry(layer.gamma)
        yield "bias", StateDictEntry(layer.beta)
        if isinstance(layer, keras.layers.BatchNormalization):
            yield "running_mean", StateDictEntry(layer.moving_mean)
            yield "running_var", StateDictEntry(layer.moving_variance)
            yield "num_batches_tracked", StateDictEntry(None)
        return
    if isinstance(layer, LayerScale):
        yield "gamma", StateDictEntry(layer.gamma)
        return
    raise TypeError(
        "`layer` must be a Conv2D, DepthwiseConv2D, Dense, "
        "BatchNormalization, LayerNormalization or LayerScale layer. "
        f"Received: {layer!r} (of type {type(layer).__name__})"
    )


def layer_name(module_name: str) -> str:
    """Keras layer name for a PyTorch module name (`"layer1.0.conv1"`).

    Dots become underscores, since PyTorch, as a Keras backend, refuses dots
    in the names of variables.
    """
    return module_name.replace(".", "_")


def entries_of_layers(
    model: keras.Model, module_names: Iterable[str]
) -> dict[str, StateDictEntry]:
    """Collects the tensors of a model's layers.

    Args:
        model: The model; its layers are named by `layer_name`.
        module_names: Names of PyTorch modules, in the order of the state
            dict.

    Returns:
        Ordered dictionary `"<module name>.<parameter>" -> entry`.
    """
    return {
        f"{name}.{parameter}": entry
        for name in module_names
        for parameter, entry in layer_entries(model.get_layer(layer_name(name)))
    }
