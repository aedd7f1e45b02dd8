"""Export a backbone for TensorFlow Serving, ONNX Runtime or Keras.

    python examples/export_backbone.py backbone.keras served
    python examples/export_backbone.py backbone.keras backbone.onnx

Without a suffix the result is a SavedModel with the signatures `serve` (feature
map), `pooled` and `pyramid`; it takes uint8 RGB images of any size and
normalises them itself, unless --raw. Works under every backend; takes seconds.
ONNX needs tf2onnx: pip install "keras-vicregl[onnx]".
"""

import argparse
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras

# Registers the classes of the backbones.
import keras_vicregl  # noqa: F401
from keras_vicregl.checkpoints import export
from keras_vicregl.models.backbones import as_backbone


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("model", help="a .keras file with a backbone")
    parser.add_argument("path", help="what to write: NAME, NAME.onnx or .keras")
    parser.add_argument(
        "--raw",
        action="store_true",
        help="take images that are normalised already, as float32",
    )
    arguments = parser.parse_args()
    model = as_backbone(keras.saving.load_model(arguments.model))
    export(model, arguments.path, preprocessing=not arguments.raw)
    images = "normalised images" if arguments.raw else "uint8 RGB images"
    print(f"{arguments.path} takes {images}")


if __name__ == "__main__":
    main()
