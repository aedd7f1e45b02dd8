"""What the features of a backbone are worth.

    keras-vicregl evaluate runs/mine photographs/ --size 224

MODEL: .keras, .onnx, a SavedModel, the folder of a run, or a backbone's name.
FOLDER has train and test, or is voc_segmentation:, cityscapes:, ade20k: or
camvid: and a folder. Protocols on frozen features, of any model:
  knn                nearest neighbours      linear  linear classifier
  segmentation       linear segmentation     rank    effective rank (RankMe)
those that train on images, of .keras files:
  linear_augmented   linear, on new crops in each epoch
  finetuning         all weights; finetuning.fraction=0.01: few labels
  train_segmentation linear, or train_segmentation.frozen=false
  detection          RetinaNet; needs boxes and --size
"""

from __future__ import annotations

import argparse

from keras_vicregl.commands.evaluating import arguments as options
from keras_vicregl.commands.starting import start

SUMMARY = "what a backbone's features are worth, by eight protocols"
USAGE = "%(prog)s MODEL FOLDER [options]"

add_arguments = options.add_arguments


def run(arguments: argparse.Namespace) -> None:
    """Evaluates and prints."""
    settings = options.settled(arguments)
    start(settings.backend, torch=True)
    from keras_vicregl.commands.evaluating.running import evaluate

    evaluate(settings)
