"""Backbones by name: the table of their sizes, and the way in.

To add a size, add a row to `_SIZES`: `backbone("resnet50")` builds it. The
package gives the constructors names of their own, `ResNet50` and so on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras

from keras_vicregl._installed import check_torch
from keras_vicregl.models.backbones.convnext import ConvNeXt
from keras_vicregl.models.backbones.convnext import (
    state_dict_layout as convnext_layout,
)
from keras_vicregl.models.backbones.pyramid import PyramidBackbone
from keras_vicregl.models.backbones.resnet import ResNet
from keras_vicregl.models.backbones.resnet import (
    state_dict_layout as resnet_layout,
)
from keras_vicregl.models.backbones.state_dict import StateDictEntry
from keras_vicregl.models.extensions import provided


class _Size(NamedTuple):
    """A row of the table.

    Attributes:
        constructor: name of the function.
        network: class of the model.
        summary: what it is, the first line of the function's docstring.
        features: channels of the last map.
        arguments: of the class, that make this size.
        stride: pixels per position of the last map.
        note: further lines of the docstring.
    """

    constructor: str
    network: type[PyramidBackbone]
    summary: str
    features: int
    arguments: dict[str, Any]
    stride: int = 32
    note: str = ""


# Ways to fit a checkpoint's first convolution, not stems of a network.
FITTED_STEMS = ("cycle", "mean")
_X2 = {"widths": (128, 256, 512, 1024)}
_X4 = {"widths": (256, 512, 1024, 2048)}

_SIZES = {
    "resnet18": _Size(
        "ResNet18",
        ResNet,
        "ResNet-18: basic blocks, 11.2 million weights.",
        512,
        {"block_counts": (2, 2, 2, 2), "block": "basic"},
    ),
    "resnet34": _Size(
        "ResNet34",
        ResNet,
        "ResNet-34: basic blocks, 21.3 million weights.",
        512,
        {"block_counts": (3, 4, 6, 3), "block": "basic"},
    ),
    "resnet50": _Size(
        "ResNet50",
        ResNet,
        "ResNet-50: bottleneck blocks, 23.5 million weights.",
        2048,
        {"block_counts": (3, 4, 6, 3)},
    ),
    "resnet101": _Size(
        "ResNet101",
        ResNet,
        "ResNet-101: bottleneck blocks, 42.5 million weights.",
        2048,
        {"block_counts": (3, 4, 23, 3)},
    ),
    "resnet50x2": _Size(
        "ResNet50x2",
        ResNet,
        "ResNet-50 with all channels doubled, the stem's too.",
        4096,
        {"block_counts": (3, 4, 6, 3), **_X2},
    ),
    "resnet50x4": _Size(
        "ResNet50x4",
        ResNet,
        "ResNet-50 with four times the channels, the stem's too.",
        8192,
        {"block_counts": (3, 4, 6, 3), **_X4},
    ),
    "resnet200x2": _Size(
        "ResNet200x2",
        ResNet,
        "ResNet-200 with all channels doubled, the stem's too.",
        4096,
        {"block_counts": (3, 24, 36, 3), **_X2},
    ),
    "small_resnet": _Size(
        "SmallResNet",
        ResNet,
        "A ResNet for images of about 64 pixels, meant to train on a CPU.",
        192,
        {
            "block_counts": (1, 1, 1, 1),
            "widths": (24, 48, 96, 192),
            "block": "basic",
            "strides": (2, 2, 1, 1),
            "stem": "small",
            "stem_strides": 2,
        },
        stride=8,
        note="""
    64 x 64 pixels become a map of 8 x 8 positions. Most of the time goes into
    wide convolutions of fine maps. With as many features,
    `stem_strides=1, strides=(1, 2, 2, 2)` takes 4.5 times as long as the
    default, and `block="bottleneck", widths=(8, 16, 32, 48)` a third.
""",
    ),
    "convnext_tiny": _Size(
        "ConvNeXtTiny",
        ConvNeXt,
        "ConvNeXt-T: 27.8 million weights.",
        768,
        {"depths": (3, 3, 9, 3), "widths": (96, 192, 384, 768)},
    ),
    "convnext_small": _Size(
        "ConvNeXtSmall",
        ConvNeXt,
        "ConvNeXt-S: 49.4 million weights.",
        768,
        {"depths": (3, 3, 27, 3), "widths": (96, 192, 384, 768)},
    ),
    "convnext_base": _Size(
        "ConvNeXtBase",
        ConvNeXt,
        "ConvNeXt-B: 87.5 million weights.",
        1024,
        {"depths": (3, 3, 27, 3), "widths": (128, 256, 512, 1024)},
    ),
    "convnext_large": _Size(
        "ConvNeXtLarge",
        ConvNeXt,
        "ConvNeXt-L: 196.2 million weights.",
        1536,
        {"depths": (3, 3, 27, 3), "widths": (192, 384, 768, 1536)},
    ),
    "convnext_xlarge": _Size(
        "ConvNeXtXLarge",
        ConvNeXt,
        "ConvNeXt-XL: 348.1 million weights.",
        2048,
        {"depths": (3, 3, 27, 3), "widths": (256, 512, 1024, 2048)},
    ),
}

_DOCSTRING = """{summary}
{note}
    Args:
        input_shape: `(height, width, channels)`, or `None` for any size.
        output_stride: Pixels per position, one of the strides that its stages
            reach; `None` for {stride}.
        name: Name of the model.
        **kwargs: Further arguments of `{network}`, which replace those of this
            size.

    Returns:
        A model from `(B, H, W, 3)` to `(B, H / {stride}, W / {stride}, \
{features})`.
    """


def _constructor(name: str, size: _Size) -> Callable[..., PyramidBackbone]:
    def build(
        input_shape: Sequence[int | None] = (None, None, 3),
        output_stride: int | None = None,
        name: str = name,
        **kwargs: Any,
    ) -> PyramidBackbone:
        return size.network(
            **{**size.arguments, **kwargs},
            input_shape=input_shape,
            output_stride=output_stride,
            name=name,
        )

    build.__name__ = build.__qualname__ = size.constructor
    facts = size._asdict() | {"network": size.network.__name__}
    build.__doc__ = _DOCSTRING.format(**facts)
    return build


BACKBONES = {name: _constructor(name, size) for name, size in _SIZES.items()}
"""Functions that build the backbones, by the names that `backbone` takes."""


def backbone(
    name: str, /, weights: Any = None, stem: str | None = None, **kwargs: Any
) -> PyramidBackbone:
    """Builds a backbone by name.

    Args:
        name: A key of `BACKBONES`, e.g. `"resnet50"` or `"convnext_small"`.
        weights: `None` for random weights; a key of
            `keras_vicregl.checkpoints.PUBLISHED`, e.g. `"resnet50_alpha0.9"`,
            which is downloaded; or the path of a PyTorch checkpoint.
        stem: With `weights` of images of other channels than
            `input_shape=(None, None, C)` has, how they are put into the first
            convolution: `"cycle"` takes the filters of red, green and blue in
            turn, `"mean"` their mean. With either, C copies of a grey image
            give the same map. Any other value is the argument of a `ResNet`.
        **kwargs: Arguments of its constructor, e.g. `output_stride=16`.

    Returns:
        A functional model from `(B, H, W, C)` to a feature map `(B, h, w, F)`.

    Raises:
        ValueError: If there is no backbone of this name, or the weights are
            another's.
        ImportError: If PyTorch is not installed, which reads weights.
        FileNotFoundError: If `weights` is neither a name nor a file.

    Example:


    >>> backbone("small_resnet").output_shape
    (None, None, None, 192)
    """
    if name not in BACKBONES:
        raise ValueError(
            f"`name` must be one of {', '.join(BACKBONES)}. "
            f"Received: name={name!r}"
        )
    fitted = stem if stem in FITTED_STEMS else None
    if fitted is not None and weights is None:
        raise ValueError(
            f"`stem={stem!r}` says how the first convolution of `weights` "
            "becomes one of other channels, but there are no weights."
        )
    if stem is not None and fitted is None:
        kwargs["stem"] = stem
    if weights is not None:
        check_torch()
    model = BACKBONES[name](**kwargs)
    if weights is not None:
        provided("weights")(model, weights, stem=fitted)
    return model


def state_dict_layout(model: keras.Model) -> dict[str, StateDictEntry]:
    """Maps PyTorch state-dict keys to the variables of a backbone.

    Args:
        model: A `ResNet` or a `ConvNeXt`.

    Returns:
        Ordered dictionary from key to `StateDictEntry`, with the keys of the
        published checkpoints in their order.

    Raises:
        TypeError: If the model is of another class.

    Example:


    >>> layout = state_dict_layout(backbone("small_resnet"))
    >>> layout["conv1.weight"].shape
    (24, 3, 3, 3)
    """
    if isinstance(model, ResNet):
        return resnet_layout(model)
    if isinstance(model, ConvNeXt):
        return convnext_layout(model)
    raise TypeError(
        "`model` must be a keras_vicregl ResNet or ConvNeXt. "
        f"Received: {model!r} (of type {type(model).__name__})"
    )
