"""VICRegL self-supervised pretraining for Keras 3."""

import importlib
from typing import TYPE_CHECKING, Any

from keras_vicregl._running import is_command
from keras_vicregl._version import __version__

if not is_command():
    from keras_vicregl import (
        checkpoints,
        evaluation,
        losses,
        models,
        recipes,
        views,
    )
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


if not TYPE_CHECKING:  # to which all names would be known

    def __getattr__(name: str) -> Any:
        # Of what a command has not imported yet.
        if name not in __all__:
            raise AttributeError(
                f"module {__name__!r} has no attribute {name!r}"
            )
        if name == "VICRegL":
            return importlib.import_module("keras_vicregl.models").VICRegL
        if name == "backbone":
            return importlib.import_module(
                "keras_vicregl.models.backbones"
            ).backbone
        return importlib.import_module(f"keras_vicregl.{name}")
