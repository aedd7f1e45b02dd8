"""ResNet backbones: the published sizes, and one for small images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keras_vicregl.models.backbones.residual_network import (
    ResNet,
    state_dict_layout,
)

__all__ = [
    "ResNet",
    "ResNet34",
    "ResNet50",
    "ResNet50x2",
    "ResNet50x4",
    "ResNet101",
    "ResNet200x2",
    "SmallResNet",
    "state_dict_layout",
]


def ResNet34(  # noqa: N802
    input_shape: Sequence[int | None] = (None, None, 3),
    output_stride: int | None = None,
    name: str = "resnet34",
    **kwargs: Any,
) -> ResNet:
    """ResNet-34: basic blocks, 21.3 million weights.

    Args:
        input_shape: `(height, width, channels)`, or `None` for any size.
        output_stride: 8, 16 or 32 (`None`) pixels per position.
        name: Name of the model.
        **kwargs: Further arguments of `ResNet`, e.g. `stem="small"`.

    Returns:
        A model from `(B, H, W, 3)` to `(B, H / 32, W / 32, 512)`.
    """
    return ResNet(
        (3, 4, 6, 3),
        block="basic",
        input_shape=input_shape,
        output_stride=output_stride,
        name=name,
        **kwargs,
    )


def ResNet50(  # noqa: N802
    input_shape: Sequence[int | None] = (None, None, 3),
    output_stride: int | None = None,
    name: str = "resnet50",
    **kwargs: Any,
) -> ResNet:
    """ResNet-50: bottleneck blocks, 23.5 million weights.

    Args:
        input_shape: `(height, width, channels)`, or `None` for any size.
        output_stride: 8, 16 or 32 (`None`) pixels per position.
        name: Name of the model.
        **kwargs: Further arguments of `ResNet`, e.g. `stem="small"`.

    Returns:
        A model from `(B, H, W, 3)` to `(B, H / 32, W / 32, 2048)`.
    """
    return ResNet(
        (3, 4, 6, 3),
        input_shape=input_shape,
        output_stride=output_stride,
        name=name,
        **kwargs,
    )


def ResNet101(  # noqa: N802
    input_shape: Sequence[int | None] = (None, None, 3),
    output_stride: int | None = None,
    name: str = "resnet101",
    **kwargs: Any,
) -> ResNet:
    """ResNet-101: bottleneck blocks, 42.5 million weights.

    Args:
        input_shape: `(height, width, channels)`, or `None` for any size.
        output_stride: 8, 16 or 32 (`None`) pixels per position.
        name: Name of the model.
        **kwargs: Further arguments of `ResNet`, e.g. `stem="small"`.

    Returns:
        A model from `(B, H, W, 3)` to `(B, H / 32, W / 32, 2048)`.
    """
    return ResNet(
        (3, 4, 23, 3),
        input_shape=input_shape,
        output_stride=output_stride,
        name=name,
        **kwargs,
    )


def ResNet50x2(  # noqa: N802
    input_shape: Sequence[int | None] = (None, None, 3),
    output_stride: int | None = None,
    name: str = "resnet50x2",
    **kwargs: Any,
) -> ResNet:
    """ResNet-50 with all channels doubled, the stem's too.

    Args:
        input_shape: `(height, width, channels)`, or `None` for any size.
        output_stride: 8, 16 or 32 (`None`) pixels per position.
        name: Name of the model.
        **kwargs: Further arguments of `ResNet`, e.g. `stem="small"`.

    Returns:
        A model from `(B, H, W, 3)` to `(B, H / 32, W / 32, 4096)`.
    """
    return ResNet(
        (3, 4, 6, 3),
        widths=(128, 256, 512, 1024),
        input_shape=input_shape,
        output_stride=output_stride,
        name=name,
        **kwargs,
    )


def ResNet50x4(  # noqa: N802
    input_shape: Sequence[int | None] = (None, None, 3),
    output_stride: int | None = None,
    name: str = "resnet50x4",
    **kwargs: Any,
) -> ResNet:
    """ResNet-50 with four times the channels, the stem's too.

    Args:
        input_shape: `(height, width, channels)`, or `None` for any size.
        output_stride: 8, 16 or 32 (`None`) pixels per position.
        name: Name of the model.
        **kwargs: Further arguments of `ResNet`, e.g. `stem="small"`.

    Returns:
        A model from `(B, H, W, 3)` to `(B, H / 32, W / 32, 8192)`.
    """
    return ResNet(
        (3, 4, 6, 3),
        widths=(256, 512, 1024, 2048),
        input_shape=input_shape,
        output_stride=output_stride,
        name=name,
        **kwargs,
    )


def ResNet200x2(  # noqa: N802
    input_shape: Sequence[int | None] = (None, None, 3),
    output_stride: int | None = None,
    name: str = "resnet200x2",
    **kwargs: Any,
) -> ResNet:
    """ResNet-200 with all channels doubled, the stem's too.

    Args:
        input_shape: `(height, width, channels)`, or `None` for any size.
        output_stride: 8, 16 or 32 (`None`) pixels per position.
        name: Name of the model.
        **kwargs: Further arguments of `ResNet`, e.g. `stem="small"`.

    Returns:
        A model from `(B, H, W, 3)` to `(B, H / 32, W / 32, 4096)`.
    """
    return ResNet(
        (3, 24, 36, 3),
        widths=(128, 256, 512, 1024),
        input_shape=input_shape,
        output_stride=output_stride,
        name=name,
        **kwargs,
    )


def SmallResNet(  # noqa: N802
    input_shape: Sequence[int | None] = (None, None, 3),
    widths: Sequence[int] = (24, 48, 96, 192),
    block_counts: Sequence[int] = (1, 1, 1, 1),
    block: str = "basic",
    stem_strides: int = 2,
    strides: Sequence[int] = (2, 2, 1, 1),
    name: str = "small_resnet",
    **kwargs: Any,
) -> ResNet:
    """A ResNet for images of about 64 pixels, meant to train on a CPU.

    64 x 64 pixels become a map of 8 x 8 positions. Most of the time goes into
    wide convolutions of fine maps. With as many features,
    `stem_strides=1, strides=(1, 2, 2, 2)` takes 4.5 times as long as the
    default, and `block="bottleneck", widths=(8, 16, 32, 48)` a third.

    Args:
        input_shape: `(height, width, channels)`, or `None` for any size.
        widths: Channels of each stage.
        block_counts: Blocks of each stage.
        block: `"basic"` or `"bottleneck"`.
        stem_strides: Stride of the 3x3 convolution that is the stem.
        strides: Stride of each stage.
        name: Name of the model.
        **kwargs: Further arguments of `ResNet`.

    Returns:
        A model from `(B, H, W, 3)` to `(B, H / 8, W / 8, 192)`.

    Example:

    >>> import keras
    >>> tuple(SmallResNet()(keras.ops.zeros((1, 64, 64, 3))).shape)
    (1, 8, 8, 192)
    """
    return ResNet(
        block_counts,
        widths=widths,
        block=block,
        strides=strides,
        stem="small",
        stem_strides=stem_strides,
        input_shape=input_shape,
        name=name,
        **kwargs,
    )
