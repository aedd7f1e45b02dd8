"""Backbones: networks from images to one feature map, and its pyramid.

In come the sizes of a network, out goes a `keras.Model`. Nothing here knows
of VICRegL: models, checkpoints, evaluation and recipes stand on it. A network
is a module (`resnet`, `convnext`), its sizes are rows of `registry`.
"""

from keras_vicregl.models.backbones.adapter import as_backbone
from keras_vicregl.models.backbones.convnext import ConvNeXt
from keras_vicregl.models.backbones.copies import with_output_stride
from keras_vicregl.models.backbones.layers import LayerScale, StochasticDepth
from keras_vicregl.models.backbones.pyramid import PyramidBackbone
from keras_vicregl.models.backbones.registry import (
    BACKBONES,
    backbone,
    state_dict_layout,
)
from keras_vicregl.models.backbones.resnet import ResNet
from keras_vicregl.models.backbones.state_dict import StateDictEntry

ResNet18 = BACKBONES["resnet18"]
ResNet34 = BACKBONES["resnet34"]
ResNet50 = BACKBONES["resnet50"]
ResNet101 = BACKBONES["resnet101"]
ResNet50x2 = BACKBONES["resnet50x2"]
ResNet50x4 = BACKBONES["resnet50x4"]
ResNet200x2 = BACKBONES["resnet200x2"]
SmallResNet = BACKBONES["small_resnet"]
ConvNeXtTiny = BACKBONES["convnext_tiny"]
ConvNeXtSmall = BACKBONES["convnext_small"]
ConvNeXtBase = BACKBONES["convnext_base"]
ConvNeXtLarge = BACKBONES["convnext_large"]
ConvNeXtXLarge = BACKBONES["convnext_xlarge"]

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
    "ResNet18",
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
