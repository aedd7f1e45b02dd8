"""ConvNeXt, in the layout of the published code."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
from keras import layers

from keras_vicregl.models.backbones.layers import LayerScale, StochasticDepth
from keras_vicregl.models.backbones.pyramid import (
    PyramidBackbone,
    pyramid_keys,
    replace_strides_with_dilation,
    validate_input_shape,
    validate_positive,
)
from keras_vicregl.models.backbones.state_dict import (
    StateDictEntry,
    entries_of_layers,
    layer_name,
)

_STEM_STRIDE = 4


@keras.saving.register_keras_serializable(package="keras_vicregl")
class ConvNeXt(PyramidBackbone):
    """Convolutional network of depthwise 7x7 blocks with layer norm.

    Liu et al., "A ConvNet for the 2020s", as VICRegL trains it: without layer
    scale by default, and with a layer norm of every position at the end,
    before any pooling. The maps of the pyramid are without that norm. Weights
    start as N(0, 0.02), not truncated, biases at zero.

    Args:
        depths: Blocks of each stage.
        widths: Channels of each stage.
        stochastic_depth_rate: Probability of dropping the last block's
            branch in training; it rises linearly from 0 at the first block.
        layer_scale: Initial factor of each channel of each branch, or `None`
            for branches without such factors.
        output_stride: Input pixels per position of the last feature map.
            Strides beyond it are replaced by dilation, with the same weights.
            `None` replaces nothing.
        input_shape: `(height, width, channels)`, height and width `None` for
            any size from the last map's stride upwards.
        seed: Integer seed of the stochastic depth, or `None`.
        dtype: Dtype or dtype policy of the layers.
        name: Name of the model.
        **kwargs: `trainable`, as in `keras.Model`.

    Returns:
        A functional model from `(B, H, W, channels)` to `(B, h, w, F)`.

    Raises:
        ValueError: If an argument is none of the above, or if `depths` and
            `widths` differ in length.

    Example:


    >>> backbone = ConvNeXt(depths=(1, 1), widths=(8, 16))
    >>> tuple(backbone(keras.ops.zeros((2, 64, 96, 3))).shape)
    (2, 8, 12, 16)
    """

    def __init__(
        self,
        depths: Sequence[int] = (3, 3, 9, 3),
        widths: Sequence[int] = (96, 192, 384, 768),
        stochastic_depth_rate: float = 0.1,
        layer_scale: float | None = None,
        output_stride: int | None = None,
        input_shape: Sequence[int | None] = (None, None, 3),
        seed: int | None = None,
        dtype: Any = None,
        name: str = "convnext",
        **kwargs: Any,
    ) -> None:
        depths, widths = tuple(depths), tuple(widths)
        _validate(depths, widths, stochastic_depth_rate)
        plan = replace_strides_with_dilation(
            _STEM_STRIDE, (1,) + (2,) * (len(depths) - 1), output_stride
        )
        validate_input_shape(
            input_shape, _STEM_STRIDE * math.prod(stage[0] for stage in plan)
        )

        graph = _GraphBuilder(dtype, layer_scale, seed)
        rates = iter(np.linspace(0, stochastic_depth_rate, sum(depths)))
        inputs = keras.Input(shape=tuple(input_shape), name=f"{name}_images")
        x = inputs
        pyramid_outputs, pyramid_strides = {}, {}
        stride_so_far = _STEM_STRIDE
        for stage, key in enumerate(pyramid_keys(len(plan))):
            stride, first_dilation, dilation = plan[stage]
            if stage == 0:
                x = graph.stem(x, widths[0])
            else:
                x = graph.downsample(
                    x, stage, widths[stage], stride, first_dilation
                )
            for block in range(depths[stage]):
                x = graph.block(
                    x, f"stages.{stage}.{block}", dilation, float(next(rates))
                )
            stride_so_far *= stride
            pyramid_outputs[key] = x
            pyramid_strides[key] = stride_so_far

        super().__init__(
            inputs,
            graph.norm(x, "norm"),
            pyramid_outputs=pyramid_outputs,
            pyramid_strides=pyramid_strides,
            dtype=dtype,
            name=name,
            **kwargs,
        )
        self.depths = depths
        self.widths = widths
        self.stochastic_depth_rate = stochastic_depth_rate
        self.layer_scale = layer_scale
        self.output_stride = output_stride
        self.seed = seed

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {
            "depths": tuple(self.depths),
            "widths": tuple(self.widths),
            "stochastic_depth_rate": self.stochastic_depth_rate,
            "layer_scale": self.layer_scale,
            "output_stride": self.output_stride,
            "seed": self.seed,
            **super().get_config(),
        }


class _GraphBuilder:
    """Adds the layers of a ConvNeXt to a functional graph."""

    def __init__(
        self, dtype: Any, layer_scale: float | None, seed: int | None
    ) -> None:
        self._common = {"dtype": dtype}
        # Explicit, for the global default may be channels first.
        self._spatial = {"dtype": dtype, "data_format": "channels_last"}
        self._layer_scale = layer_scale
        self._next_seed = seed

    def stem(self, x: Any, width: int) -> Any:
        x = layers.Conv2D(
            width,
            _STEM_STRIDE,
            strides=_STEM_STRIDE,
            kernel_initializer=_normal(),
            name=layer_name("downsample_layers.0.0"),
            **self._spatial,
        )(x)
        return self.norm(x, "downsample_layers.0.1")

    def downsample(
        self, x: Any, stage: int, width: int, stride: int, dilation: int
    ) -> Any:
        name = f"downsample_layers.{stage}"
        x = self.norm(x, f"{name}.0")
        if stride == 1:
            # The kernel's first tap stays in place, as it does with a stride.
            x = layers.ZeroPadding2D(
                ((0, dilation), (0, dilation)),
                name=layer_name(f"{name}.pad"),
                **self._spatial,
            )(x)
        return layers.Conv2D(
            width,
            2,
            strides=stride,
            dilation_rate=dilation,
            kernel_initializer=_normal(),
            name=layer_name(f"{name}.1"),
            **self._spatial,
        )(x)

    def block(self, x: Any, name: str, dilation: int, drop_rate: float) -> Any:
        width = x.shape[-1]
        branch = layers.DepthwiseConv2D(
            7,
            padding="same",
            dilation_rate=dilation,
            depthwise_initializer=_normal(),
            name=layer_name(f"{name}.dwconv"),
            **self._spatial,
        )(x)
        branch = self.norm(branch, f"{name}.norm")
        branch = self._linear(branch, 4 * width, f"{name}.pwconv1")
        branch = layers.Activation(  # Exact, by the error function.
            "gelu", name=layer_name(f"{name}.act"), **self._common
        )(branch)
        branch = self._linear(branch, width, f"{name}.pwconv2")
        if self._layer_scale is not None:
            # PyTorch keeps these factors in the block itself.
            branch = LayerScale(
                self._layer_scale, name=layer_name(name), **self._common
            )(branch)
        branch = StochasticDepth(
            drop_rate,
            seed=self._new_seed(),
            name=layer_name(f"{name}.drop_path"),
            **self._common,
        )(branch)
        return layers.Add(name=layer_name(f"{name}.add"), **self._common)(
            [x, branch]
        )

    def norm(self, x: Any, name: str) -> Any:
        return layers.LayerNormalization(
            epsilon=1e-6, name=layer_name(name), **self._common
        )(x)

    def _linear(self, x: Any, units: int, name: str) -> Any:
        return layers.Dense(
            units,
            kernel_initializer=_normal(),
            name=layer_name(name),
            **self._common,
        )(x)

    def _new_seed(self) -> int | None:
        # One seed for all blocks would drop them all together.
        seed = self._next_seed
        if seed is not None:
            self._next_seed = seed + 1
        return seed


def state_dict_layout(model: ConvNeXt) -> dict[str, StateDictEntry]:
    """Maps the keys of the PyTorch state dict to the model's variables.

    The keys are those of the published ConvNeXt checkpoints, in their order.

    Args:
        model: A `ConvNeXt`.

    Returns:
        Ordered dictionary from key to `StateDictEntry`.

    Example:


    >>> layout = state_dict_layout(ConvNeXt((1,), widths=(8,)))
    >>> layout["stages.0.0.pwconv1.weight"].shape
    (32, 8)
    """
    return entries_of_layers(model, _module_names(model))


def _module_names(model: ConvNeXt) -> Iterator[str]:
    for stage in range(len(model.depths)):
        yield f"downsample_layers.{stage}.0"
        yield f"downsample_layers.{stage}.1"
    for stage, depth in enumerate(model.depths):
        for block in range(depth):
            name = f"stages.{stage}.{block}"
            if model.layer_scale is not None:
                yield name
            for part in ("dwconv", "norm", "pwconv1", "pwconv2"):
                yield f"{name}.{part}"
    yield "norm"


def _normal() -> keras.initializers.Initializer:
    # A new one each time: an initializer repeats its values.
    return keras.initializers.RandomNormal(stddev=0.02)


def _validate(
    depths: tuple[int, ...], widths: tuple[int, ...], rate: float
) -> None:
    validate_positive("depths", depths)
    validate_positive("widths", widths)
    if not len(depths) == len(widths) > 0:
        raise ValueError(
            "`depths` and `widths` must have one entry for each stage. "
            f"Received: depths={depths}, widths={widths}"
        )
    if not 0 <= rate < 1:
        raise ValueError(
            "`stochastic_depth_rate` must be at least 0 and less than 1. "
            f"Received: stochastic_depth_rate={rate}"
        )
