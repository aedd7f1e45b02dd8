"""What a type checker knows of a user's program; `make check` reads it.

It is not run. Where a type is Keras' own, which has no types, it is `Any`.
"""

from collections.abc import Mapping
from typing import Any, assert_type

import keras
import numpy as np

from keras_vicregl import VICRegL, backbone
from keras_vicregl.checkpoints import to_state_dict
from keras_vicregl.data import (
    ImageSource,
    channel_statistics,
    load,
    view_batches,
)
from keras_vicregl.evaluation import evaluate_knn, evaluate_segmentation
from keras_vicregl.losses import vicregl_loss
from keras_vicregl.models.backbones import PyramidBackbone
from keras_vicregl.recipes import RECIPES
from keras_vicregl.training import pretrain
from keras_vicregl.views import MultiView, ViewGroup
from keras_vicregl.views.values import ChannelStatistics


def ten_lines_of_the_readme() -> None:
    """And what each name is."""
    images = load("photographs/")
    batches = view_batches(images, MultiView.resnet(), batch_size=256, seed=0)
    model = VICRegL(backbone("resnet50"), alpha=0.75)
    model.compile(keras.optimizers.AdamW(1e-3))
    model.fit(batches, epochs=100)
    model.backbone.save("backbone.keras")

    assert_type(images, ImageSource)
    assert_type(MultiView.resnet(), MultiView)
    assert_type(backbone("resnet50"), PyramidBackbone)
    assert_type(model, VICRegL)


def whatever_else(images: ImageSource, model: VICRegL) -> None:
    """Results of other functions."""
    views = MultiView.for_channels(channel_statistics(images), size=96)
    assert_type(channel_statistics(images), ChannelStatistics)
    assert_type(views.groups, tuple[ViewGroup, ...])
    assert_type(vicregl_loss([np.ones((4, 8))] * 2, alpha=1.0), dict[str, Any])
    assert_type(evaluate_knn(model.backbone, images, images), dict[str, float])
    assert_type(
        evaluate_segmentation(model.backbone, images, images), dict[str, float]
    )
    assert_type(to_state_dict(model), dict[str, np.ndarray])
    assert_type(VICRegL.from_recipe("resnet50"), VICRegL)
    history: Mapping[str, list[float]] = pretrain(
        model, lambda: None, epochs=1, output="runs"
    )
    assert_type(RECIPES["resnet50"].backbone, str)
    del history


def what_is_wrong() -> None:
    """A line that is ignored and has no such mistake would be an error."""
    VICRegL(backbone("resnet50"), alpha="0.75")  # type: ignore[arg-type]
    load("photographs/", masks=3)  # type: ignore[arg-type]
    from keras_vicregl.views import Multiview  # type: ignore[attr-defined]

    del Multiview
