"""Weights in and out: published checkpoints, conversion, export."""

from keras_vicregl.checkpoints.conversion import (
    load_checkpoint,
    save_checkpoint,
    to_state_dict,
)
from keras_vicregl.checkpoints.export import export, export_saved_model
from keras_vicregl.checkpoints.published import (
    PUBLISHED,
    download_checkpoint,
)

__all__ = [
    "PUBLISHED",
    "download_checkpoint",
    "export",
    "export_saved_model",
    "load_checkpoint",
    "save_checkpoint",
    "to_state_dict",
]
