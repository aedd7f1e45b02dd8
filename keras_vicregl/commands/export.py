"""Export a backbone for TensorFlow Serving, ONNX Runtime, PyTorch or Keras.

    keras-vicregl export runs/mine/backbone.keras served
    keras-vicregl export runs/mine/backbone.keras backbone.onnx

Without a suffix PATH is a SavedModel with the signatures `serve` (feature map),
`pooled` and `pyramid`. All but .keras take images as they are in files and
normalise them themselves, unless --raw.
"""

from __future__ import annotations

import argparse

from keras_vicregl.commands.starting import BACKENDS, start

SUMMARY = "a backbone as SavedModel, ONNX or .keras"


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
    start(arguments.backend)
    import keras

    from keras_vicregl.checkpoints import export
    from keras_vicregl.commands.models import keras_file
    from keras_vicregl.models.backbones import as_backbone

    path = keras_file(arguments.model)
    model = as_backbone(keras.saving.load_model(path, compile=False))
    export(model, arguments.path, preprocessing=not arguments.raw)
    images = "normalised images" if arguments.raw else "images as they are"
    print(f"{arguments.path} takes {images}")
