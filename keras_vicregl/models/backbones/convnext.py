"""ConvNeXt backbones in the published sizes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keras_vicregl.models.backbones.convnext_network import (
    ConvNeXt,
    state_dict_layout,
)

__all__ = [
    "ConvNeXt",
    "ConvNeXtBase",
    "ConvNeXtLarge",
    "ConvNeXtSmall",
    "ConvNeXtTiny",
    "ConvNeXtXLarge",
    "state_dict_layout",
]


def ConvNeXtTiny(  # noqa: N802
    input_shape: Sequence[int | None] = (None, None, 3),
    output_stride: int | None = None,
    name: str = "convnext_tiny",
    **kwargs: Any,
) -> ConvNeXt:
    """ConvNeXt-T: 27.8 million weights.

    Args:
        input_shape: `(height, width, channels)`, or `None` for any size.
        output_stride: 4, 8, 16 or 32 (`None`) pixels per position.
        name: Name of the model.
        **kwargs: Further arguments of `ConvNeXt`.

    Returns:
        A model from `(B, H, W, 3)` to `(B, H // 32, W // 32, 768)`.
    """
    return ConvNeXt(
        depths=(3, 3, 9, 3),
        widths=(96, 192, 384, 768),
        input_shape=input_shape,
        output_stride=output_stride,
        name=name,
        **kwargs,
    )


def ConvNeXtSmall(  # noqa: N802
    input_shape: Sequence[int | None] = (None, None, 3),
    output_stride: int | None = None,
    name: str = "convnext_small",
    **kwargs: Any,
) -> ConvNeXt:
    """ConvNeXt-S: 49.4 million weights.

    Args:
        input_shape: `(height, width, channels)`, or `None` for any size.
        output_stride: 4, 8, 16 or 32 (`None`) pixels per position.
        name: Name of the model.
        **kwargs: Further arguments of `ConvNeXt`.

    Returns:
        A model from `(B, H, W, 3)` to `(B, H // 32, W // 32, 768)`.
    """
    return ConvNeXt(
        depths=(3, 3, 27, 3),
        widths=(96, 192, 384, 768),
        input_shape=input_shape,
        output_stride=output_stride,
        name=name,
        **kwargs,
    )


def ConvNeXtBase(  # noqa: N802
    input_shape: Sequence[int | None] = (None, None, 3),
    output_stride: int | None = None,
    name: str = "convnext_base",
    **kwargs: Any,
) -> ConvNeXt:
    """ConvNeXt-B: 87.5 million weights.

    Args:
        input_shape: `(height, width, channels)`, or `None` for any size.
        output_stride: 4, 8, 16 or 32 (`None`) pixels per position.
        name: Name of the model.
        **kwargs: Further arguments of `ConvNeXt`.

    Returns:
        A model from `(B, H, W, 3)` to `(B, H // 32, W // 32, 1024)`.
    """
    return ConvNeXt(
        depths=(3, 3, 27, 3),
        widths=(128, 256, 512, 1024),
        input_shape=input_shape,
        output_stride=output_stride,
        name=name,
        **kwargs,
    )


def ConvNeXtLarge(  # noqa: N802
    input_shape: Sequence[int | None] = (None, None, 3),
    output_stride: int | None = None,
    name: str = "convnext_large",
    **kwargs: Any,
) -> ConvNeXt:
    """ConvNeXt-L: 196.2 million weights.

    Args:
        input_shape: `(height, width, channels)`, or `None` for any size.
        output_stride: 4, 8, 16 or 32 (`None`) pixels per position.
        name: Name of the model.
        **kwargs: Further arguments of `ConvNeXt`.

    Returns:
        A model from `(B, H, W, 3)` to `(B, H // 32, W // 32, 1536)`.
    """
    return ConvNeXt(
        depths=(3, 3, 27, 3),
        widths=(192, 384, 768, 1536),
        input_shape=input_shape,
        output_stride=output_stride,
        name=name,
        **kwargs,
    )


def ConvNeXtXLarge(  # noqa: N802
    input_shape: Sequence[int | None] = (None, None, 3),
    output_stride: int | None = None,
    name: str = "convnext_xlarge",
    **kwargs: Any,
) -> ConvNeXt:
    """ConvNeXt-XL: 348.1 million weights.

    Args:
        input_shape: `(height, width, channels)`, or `None` for any size.
        output_stride: 4, 8, 16 or 32 (`None`) pixels per position.
        name: Name of the model.
        **kwargs: Further arguments of `ConvNeXt`.

    Returns:
        A model from `(B, H, W, 3)` to `(B, H // 32, W // 32, 2048)`.
    """
    return ConvNeXt(
        depths=(3, 3, 27, 3),
        widths=(256, 512, 1024, 2048),
        input_shape=input_shape,
        output_stride=output_stride,
        name=name,
        **kwargs,
    )
