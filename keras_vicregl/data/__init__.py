"""Data: sources of images, digit scenes, and batches for `fit`."""

from keras_vicregl.data.array_batches import ArrayBatches
from keras_vicregl.data.arrays import as_dataset
from keras_vicregl.data.detection_batches import detection_batches
from keras_vicregl.data.image_source import ImageSource
from keras_vicregl.data.mask_labels import (
    ADE20K_LABELS,
    CITYSCAPES_TRAIN_IDS,
    relabel,
)
from keras_vicregl.data.pipeline import steps_per_epoch, view_batches
from keras_vicregl.data.scenes import (
    CLASS_NAMES,
    SEGMENTATION_CLASS_NAMES,
    digit_scenes,
)
from keras_vicregl.data.segmentation_sets import (
    ade20k,
    cityscapes,
    voc_segmentation,
)
from keras_vicregl.data.sources import load
from keras_vicregl.data.subset import labels_of, subset

__all__ = [
    "ADE20K_LABELS",
    "CITYSCAPES_TRAIN_IDS",
    "CLASS_NAMES",
    "SEGMENTATION_CLASS_NAMES",
    "ArrayBatches",
    "ImageSource",
    "ade20k",
    "as_dataset",
    "cityscapes",
    "detection_batches",
    "digit_scenes",
    "labels_of",
    "load",
    "relabel",
    "steps_per_epoch",
    "subset",
    "view_batches",
    "voc_segmentation",
]
