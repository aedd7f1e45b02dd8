"""Data: sources of images, digit scenes, and batches of views for `fit`."""

from keras_vicregl.data.array_batches import ArrayBatches
from keras_vicregl.data.arrays import as_dataset
from keras_vicregl.data.image_source import ImageSource
from keras_vicregl.data.pipeline import steps_per_epoch, view_batches
from keras_vicregl.data.scenes import (
    CLASS_NAMES,
    SEGMENTATION_CLASS_NAMES,
    digit_scenes,
)
from keras_vicregl.data.sources import load
from keras_vicregl.data.subset import labels_of, subset

__all__ = [
    "CLASS_NAMES",
    "SEGMENTATION_CLASS_NAMES",
    "ArrayBatches",
    "ImageSource",
    "as_dataset",
    "digit_scenes",
    "labels_of",
    "load",
    "steps_per_epoch",
    "subset",
    "view_batches",
]
