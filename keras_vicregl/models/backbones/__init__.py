"""Backbones: networks from images to one feature map, and its pyramid."""

from keras_vicregl.models.backbones.adapter import as_backbone
from keras_vicregl.models.backbones.convnext import (
    ConvNeXt,
    ConvNeXtBase,
    ConvNeXtLarge,
    ConvNeXtSmall,
    ConvNeXtTiny,
    ConvNeXtXLarge,
)
from keras_vicregl.models.backbones.copies import with_output_stride
from keras_vicregl.models.backbones.layers import LayerScale, StochasticDepth
from keras_vicregl.models.backbones.pyramid import PyramidBackbone
from keras_vicregl.models.backbones.registry import (
    BACKBONES,
    backbone,
    state_dict_layout,
)
from keras_vicregl.models.backbones.resnet import (
    ResNet,
    ResNet34,
    ResNet50,
    ResNet50x2,
    ResNet50x4,
    ResNet101,
    ResNet200x2,
    SmallResNet,
)
from keras_vicregl.models.backbones.state_dict import StateDictEntry

__all__ = [
    "BACKBONES",
    "ConvNeXt",
    "ConvNeXtBase",
    "ConvNeXtLarge",
    "ConvNeXtSmall",
    "ConvNeXtTiny",
    "ConvNeXtXLarge",
    "LayerScale",
    "PyramidBackbone",
    "ResNet",
    "ResNet34",
    "ResNet50",
    "ResNet50x2",
    "ResNet50x4",
    "ResNet101",
    "ResNet200x2",
    "SmallResNet",
    "StateDictEntry",
    "StochasticDepth",
    "as_backbone",
    "backbone",
    "state_dict_layout",
    "with_output_stride",
]
