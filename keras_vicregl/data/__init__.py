"""Data: sources of images, digit scenes, and batches for `fit`.

In come names, folders, files and arrays, out go batches of views. From the
ground up: `decoding` and `streams`, `sources`, `batches`. It stands on `views`
and knows no models; evaluation and training use it.
"""

from keras_vicregl.data.batches.array_batches import ArrayBatches
from keras_vicregl.data.batches.detection_batches import detection_batches
from keras_vicregl.data.batches.pipeline import steps_per_epoch, view_batches
from keras_vicregl.data.scenes import (
    CLASS_NAMES,
    SEGMENTATION_CLASS_NAMES,
    digit_scenes,
)
from keras_vicregl.data.sources.arrays import as_dataset
from keras_vicregl.data.sources.classes import match_classes
from keras_vicregl.data.sources.image_source import ImageSource
from keras_vicregl.data.sources.loading import load
from keras_vicregl.data.sources.mask_labels import (
    ADE20K_LABELS,
    CITYSCAPES_TRAIN_IDS,
    relabel,
)
from keras_vicregl.data.sources.segmentation_sets import (
    ade20k,
    camvid,
    cityscapes,
    voc_segmentation,
)
from keras_vicregl.data.sources.subset import labels_of, subset
from keras_vicregl.data.statistics import channel_statistics

__all__ = [
    "ADE20K_LABELS",
    "CITYSCAPES_TRAIN_IDS",
    "CLASS_NAMES",
    "SEGMENTATION_CLASS_NAMES",
    "ArrayBatches",
    "ImageSource",
    "ade20k",
    "as_dataset",
    "camvid",
    "channel_statistics",
    "cityscapes",
    "detection_batches",
    "digit_scenes",
    "labels_of",
    "load",
    "match_classes",
    "relabel",
    "steps_per_epoch",
    "subset",
    "view_batches",
    "voc_segmentation",
]
