"""Export a backbone for TensorFlow Serving, ONNX Runtime, PyTorch or Keras.

    keras-vicregl export runs/mine/backbone.keras served
    keras-vicregl export runs/mine backbone.onnx
    keras-vicregl export runs/mine backbone.pth

MODEL is a .keras file, or the folder of a run that has one. Without a suffix
PATH is a SavedModel with the signatures `serve` (feature map), `pooled` and
`pyramid`. Models take images as they are in files and normalise them
themselves, unless --raw; a .pth file has weights alone, for torchvision.
"""

from __future__ import annotations

import argparse

from keras_vicregl.commands.starting import BACKENDS, quiet, start

SUMMARY = "a backbone as SavedModel, ONNX, .pth or .keras"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of this command."""
    add = parser.add_argument
    add("model", metavar="MODEL", help="a .keras file with a backbone")
    add("path", metavar="PATH", help="to write: NAME, NAME.onnx or NAME.keras")
    add(
        "--raw",
        action="store_true",
        help="take images that are normalised already, as float32",
    )
    add("--backend", choices=BACKENDS)


def run(arguments: argparse.Namespace) -> None:
    """Loads and exports it."""
    start(arguments.backend, torch=True)
    import keras

    from keras_vicregl.checkpoints import check_export, export
    from keras_vicregl.commands.given.models import keras_file
    from keras_vicregl.models.backbones import as_backbone

    path = keras_file(arguments.model)
    check_export(arguments.path)
    model = as_backbone(keras.saving.load_model(path, compile=False))
    is_weights = arguments.path.endswith(".pth")
    raw = arguments.raw or is_weights
    with quiet():
        export(model, arguments.path, preprocessing=not raw)
    images = "normalised images" if raw else "images as they are in files"
    if not raw and arguments.path.endswith(".onnx"):
        # ONNX has one type an input.
        images += ", of more than 8 bits as float32 of the same values"
    who = "The network that loads its weights" if is_weights else "It"
    print(f"{arguments.path} is written. {who} takes {images}.")
