"""Data: the built-in digit scenes, and batches of views for `fit`."""

from keras_vicregl.data.pipeline import as_dataset, view_batches
from keras_vicregl.data.scenes import (
    CLASS_NAMES,
    SEGMENTATION_CLASS_NAMES,
    digit_scenes,
)

__all__ = [
    "CLASS_NAMES",
    "SEGMENTATION_CLASS_NAMES",
    "as_dataset",
    "digit_scenes",
    "view_batches",
]
