"""Export a backbone for TensorFlow Serving, ONNX Runtime, PyTorch or Keras.

    keras-vicregl export runs/mine/backbone.keras served
    keras-vicregl export runs/mine backbone.onnx
    keras-vicregl export runs/mine backbone.pth

MODEL is a .keras file, or the folder of a run that has one. Without a suffix
PATH is a SavedModel with the signatures `serve` (feature map), `pooled` and
`pyramid`. Models take images as they are in files and normalise them
themselves, unless --raw. A .pth file has weights alone, under the names of
torchvision's ResNets or, of a ConvNeXt, of the published code; --layout gives
it those of torchvision's or timm's ConvNeXts.
"""

from __future__ import annotations

import argparse
import pathlib

from keras_vicregl.commands.given.models import (
    as_feature_map,
    keras_file,
    load_keras,
)
from keras_vicregl.commands.given.options import as_usage
from keras_vicregl.commands.given.outputs import check_output, written
from keras_vicregl.commands.problems import UsageError
from keras_vicregl.commands.starting import BACKENDS, quiet, start

SUMMARY = "a backbone as SavedModel, ONNX, .pth or .keras"
# Of `keras_vicregl.checkpoints.layouts`, whose import takes seconds.
LAYOUTS = ("published", "torchvision", "timm")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of this command."""
    add = parser.add_argument
    add("model", metavar="MODEL", help="a .keras file with a backbone")
    add("path", metavar="PATH", help="to write: NAME, or with a suffix")
    add(
        "--raw",
        action="store_true",
        help="take images that are normalised already, as float32",
    )
    add(
        "--layout",
        choices=LAYOUTS,
        default="published",
        help="whose names a .pth file has; by default published",
    )
    add("--backend", choices=BACKENDS)


def run(arguments: argparse.Namespace) -> None:
    """Loads and exports it."""
    start(arguments.backend, torch=True)
    from keras_vicregl.checkpoints import check_export, export
    from keras_vicregl.models.backbones.normalization import (
        takes_integers,
        whole_normalization_of,
    )

    path = keras_file(arguments.model)
    is_weights = arguments.path.endswith(".pth")
    with as_usage("PATH"):
        check_export(arguments.path, layout=arguments.layout)
    check_output(pathlib.Path(arguments.path), "the export")
    model = load_keras(path)
    raw = arguments.raw or is_weights
    if takes_integers(model):
        if not raw:
            raise UsageError(
                f"MODEL {arguments.model} is an export that normalises images "
                "by itself: give --raw to export it as it is."
            )
    else:
        with as_usage("MODEL"):
            model = as_feature_map(model, arguments.model)
    with quiet(), written(pathlib.Path(arguments.path), "the export"):
        export(
            model,
            arguments.path,
            preprocessing=not raw,
            layout=arguments.layout,
        )
    normalises = takes_integers(model) or not raw
    images = (
        "images as they are in files" if normalises else "normalised images"
    )
    hint = ""
    known = whole_normalization_of(model)
    if not raw and known is not None and known.value_range is not None:
        images += ", as float32 of the same values"
        # Of uint8 they know by themselves.
        hint = " The commands evaluate and embed need --preprocessed for it."
    who = "The network that loads its weights" if is_weights else "It"
    print(f"{arguments.path} is written. {who} takes {images}.{hint}")
