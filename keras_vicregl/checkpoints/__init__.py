"""Weights in and out: published checkpoints, conversion, export.

In come files of PyTorch and names of published ones, out go models with their
weights; in come models, out go files. Evaluation, trainings and scripts may
use it. It stands on the models, to which it adds `from_checkpoint` and
`backbone(weights=...)` (`models.extensions`).
"""

from keras_vicregl.checkpoints.conversion import (
    load_checkpoint,
    save_checkpoint,
    to_state_dict,
)
from keras_vicregl.checkpoints.export import check_export, export
from keras_vicregl.checkpoints.exported import ExportedBackbone, load_backbone
from keras_vicregl.checkpoints.published import (
    LICENCE,
    PUBLISHED,
    download_checkpoint,
)

__all__ = [
    "LICENCE",
    "PUBLISHED",
    "ExportedBackbone",
    "check_export",
    "download_checkpoint",
    "export",
    "load_backbone",
    "load_checkpoint",
    "save_checkpoint",
    "to_state_dict",
]
