"""Backbones by name."""

from __future__ import annotations

from typing import Any

import keras

from keras_vicregl.models.backbones import convnext, resnet
from keras_vicregl.models.backbones.pyramid import PyramidBackbone
from keras_vicregl.models.backbones.state_dict import StateDictEntry

BACKBONES = {
    "resnet34": resnet.ResNet34,
    "resnet50": resnet.ResNet50,
    "resnet101": resnet.ResNet101,
    "resnet50x2": resnet.ResNet50x2,
    "resnet50x4": resnet.ResNet50x4,
    "resnet200x2": resnet.ResNet200x2,
    "small_resnet": resnet.SmallResNet,
    "convnext_tiny": convnext.ConvNeXtTiny,
    "convnext_small": convnext.ConvNeXtSmall,
    "convnext_base": convnext.ConvNeXtBase,
    "convnext_large": convnext.ConvNeXtLarge,
    "convnext_xlarge": convnext.ConvNeXtXLarge,
}


def backbone(
    name: str, /, weights: Any = None, **kwargs: Any
) -> PyramidBackbone:
    """Builds a backbone by name.

    Args:
        name: A key of `BACKBONES`, e.g. `"resnet50"` or `"convnext_small"`.
        weights: `None` for random weights; a key of
            `keras_vicregl.checkpoints.PUBLISHED`, e.g. `"resnet50_alpha0.9"`,
            which is downloaded; or the path of a PyTorch checkpoint.
        **kwargs: Arguments of its constructor, e.g. `output_stride=16`.

    Returns:
        A functional model from `(B, H, W, 3)` to a feature map `(B, h, w, F)`.

    Raises:
        ValueError: If there is no backbone of this name, or the weights are
            another's.
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
    model = BACKBONES[name](**kwargs)
    if weights is not None:
        # Not at the top: checkpoints are about models.
        from keras_vicregl.checkpoints import load_checkpoint

        load_checkpoint(model, weights)
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
    if isinstance(model, resnet.ResNet):
        return resnet.state_dict_layout(model)
    if isinstance(model, convnext.ConvNeXt):
        return convnext.state_dict_layout(model)
    raise TypeError(
        "`model` must be a keras_vicregl ResNet or ConvNeXt. "
        f"Received: {model!r} (of type {type(model).__name__})"
    )
