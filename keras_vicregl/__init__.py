"""VICRegL self-supervised pretraining for Keras 3."""

from keras_vicregl import (
    checkpoints,
    evaluation,
    losses,
    models,
    recipes,
    views,
)
from keras_vicregl._version import __version__
from keras_vicregl.models import VICRegL
from keras_vicregl.models.backbones import backbone

__all__ = [
    "VICRegL",
    "__version__",
    "backbone",
    "checkpoints",
    "evaluation",
    "losses",
    "models",
    "recipes",
    "views",
]
