"""The layers of a ResNet: stem, stages and blocks."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from keras_vicregl.models.backbones.layers import Subsample
from keras_vicregl.models.backbones.state_dict import layer_name

EXPANSION = {"basic": 1, "bottleneck": 4}


class ResidualGraph:
    """Adds the layers of a ResNet to a functional graph.

    All layers are of one dtype, channels last, and named (`layer_name`)
    after the modules of torchvision's ResNet.

    Args:
        dtype: Dtype or dtype policy of the layers.
        zero_init_residual: Whether the last norm of a block starts at zero.
    """

    def __init__(self, dtype: Any, zero_init_residual: bool = True) -> None:
        self._last_gamma = "zeros" if zero_init_residual else "ones"
        self._common = {"dtype": dtype}
        # Explicit, for the global default may be channels first.
        self._spatial = {"dtype": dtype, "data_format": "channels_last"}

    def stem(self, x: Any, kind: str, strides: int, width: int) -> Any:
        """Adds the first convolution and, for `"imagenet"`, the pooling."""
        if kind == "small":
            x = self._conv(x, width, 3, "conv1", strides)
            return self._relu(self._norm(x, "bn1"), "relu")
        x = self._conv(x, width, 7, "conv1", strides=2)
        x = self._relu(self._norm(x, "bn1"), "relu")
        # Zeros pad a maximum neutrally here: ReLU leaves nothing below them.
        x = layers.ZeroPadding2D(1, name="maxpool_pad", **self._spatial)(x)
        return layers.MaxPooling2D(
            3, strides=2, padding="valid", name="maxpool", **self._spatial
        )(x)

    def stage(
        self,
        x: Any,
        name: str,
        block: str,
        blocks: int,
        width: int,
        natural_stride: int,
        plan: tuple[int, int, int],
    ) -> Any:
        """Adds one stage of residual blocks.

        Args:
            x: Symbolic input, `(B, h, w, C)`.
            name: Name of the stage, a prefix of the layers' names.
            block: `"basic"` or `"bottleneck"`.
            blocks: Number of blocks.
            width: Channels of the 3x3 convolutions.
            natural_stride: The stage's stride without dilation.
            plan: Stride, dilation of the first and of the further
                convolutions, as `replace_strides_with_dilation` plans them.

        Returns:
            Symbolic output, `(B, h / stride, w / stride, C')`.
        """
        stride, first_dilation, dilation = plan
        channels = width * EXPANSION[block]
        for index in range(blocks):
            prefix = f"{name}.{index}"
            # Decided by the stride without dilation: the weights have to be
            # the same with it.
            project = index == 0 and (
                natural_stride > 1 or x.shape[-1] != channels
            )
            shortcut = x
            if project:
                shortcut = self._conv(
                    x, channels, 1, f"{prefix}.downsample.0", stride
                )
                shortcut = self._norm(shortcut, f"{prefix}.downsample.1")
            build = self._basic if block == "basic" else self._bottleneck
            x = build(
                x,
                width,
                prefix,
                stride if index == 0 else 1,
                first_dilation if index == 0 else dilation,
                dilation,
            )
            x = layers.Add(name=layer_name(f"{prefix}.add"), **self._common)(
                [x, shortcut]
            )
            x = self._relu(x, f"{prefix}.relu")
        return x

    def _basic(
        self, x: Any, width: int, name: str, stride: int, first: int, rest: int
    ) -> Any:
        x = self._conv(x, width, 3, f"{name}.conv1", stride, first)
        x = self._relu(self._norm(x, f"{name}.bn1"), f"{name}.relu1")
        x = self._conv(x, width, 3, f"{name}.conv2", dilation=rest)
        return self._norm(x, f"{name}.bn2", gamma=self._last_gamma)

    def _bottleneck(
        self, x: Any, width: int, name: str, stride: int, first: int, rest: int
    ) -> Any:
        del rest  # A bottleneck has a single 3x3 convolution.
        x = self._conv(x, width, 1, f"{name}.conv1")
        x = self._relu(self._norm(x, f"{name}.bn1"), f"{name}.relu1")
        x = self._conv(x, width, 3, f"{name}.conv2", stride, first)
        x = self._relu(self._norm(x, f"{name}.bn2"), f"{name}.relu2")
        x = self._conv(x, width * EXPANSION["bottleneck"], 1, f"{name}.conv3")
        return self._norm(x, f"{name}.bn3", gamma=self._last_gamma)

    def _conv(
        self,
        x: Any,
        filters: int,
        size: int,
        name: str,
        strides: int = 1,
        dilation: int = 1,
    ) -> Any:
        padding = "same"  # Symmetric where the stride is 1.
        if strides > 1 and size > 1:
            padding = "valid"
            x = layers.ZeroPadding2D(
                size // 2, name=layer_name(f"{name}_pad"), **self._spatial
            )(x)
        elif strides > 1:
            x = Subsample(
                strides, name=layer_name(f"{name}_slice"), **self._common
            )(x)
            strides = 1
        return layers.Conv2D(
            filters,
            size,
            strides=strides,
            padding=padding,
            dilation_rate=dilation,
            use_bias=False,
            # Kaiming normal over the fan-out, not truncated.
            kernel_initializer=keras.initializers.VarianceScaling(
                2.0, "fan_out", "untruncated_normal"
            ),
            name=layer_name(name),
            **self._spatial,
        )(x)

    def _norm(self, x: Any, name: str, gamma: str = "ones") -> Any:
        return layers.BatchNormalization(
            axis=-1,
            momentum=0.9,
            epsilon=1e-5,
            gamma_initializer=gamma,
            name=layer_name(name),
            **self._common,
        )(x)

    def _relu(self, x: Any, name: str) -> Any:
        return layers.ReLU(name=layer_name(name), **self._common)(x)
