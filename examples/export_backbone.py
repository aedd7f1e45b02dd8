"""Export a backbone for TensorFlow Serving, ONNX Runtime, Keras or PyTorch.

    python examples/export_backbone.py backbone.keras served
    python examples/export_backbone.py backbone.keras backbone.onnx
    python examples/export_backbone.py backbone.keras backbone.pth

Without a suffix the result is a SavedModel with the signatures `serve` (feature
map), `pooled` and `pyramid`; it takes images of any size as they come - uint8,
or float32 with the values that the views of its training had - and normalises
them itself, unless --raw. So does an ONNX file. A .pth file has the weights
alone, as torchvision's ResNets load them. Works under every backend; takes
seconds, an ONNX file of ResNet-50 under PyTorch a minute or two. A SavedModel
needs TensorFlow, an ONNX file PyTorch or TensorFlow and
pip install "keras-vicregl[onnx]".
"""

import argparse
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
from _settings import told

# Registers the classes of the backbones.
import keras_vicregl  # noqa: F401
from keras_vicregl.checkpoints import check_export, export
from keras_vicregl.models.backbones import as_backbone


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("model", help="a .keras file with a backbone")
    parser.add_argument(
        "path", help="what to write: NAME, NAME.onnx, NAME.keras or NAME.pth"
    )
    parser.add_argument(
        "--raw",
        action="store_true",
        help="take images that are normalised already, as float32",
    )
    parser.add_argument(
        "--value-range",
        nargs=2,
        type=float,
        metavar=("LOW", "HIGH"),
        help="values that become 0 and 1; default: those of its training",
    )
    arguments = parser.parse_args()
    is_weights = arguments.path.endswith(".pth")
    with told():
        check_export(arguments.path)
    model = as_backbone(keras.saving.load_model(arguments.model))
    if arguments.raw and arguments.value_range:
        parser.error("--value-range: with --raw nothing is mapped")
    raw = arguments.raw or is_weights
    export(
        model,
        arguments.path,
        preprocessing=not raw,
        value_range=arguments.value_range,
    )
    channels = model.input_shape[-1]
    images = f"images of {channels} channel{'s' * (channels > 1)} as they come"
    if raw:
        images = "normalised images"
    who = "The network that loads its weights" if is_weights else "It"
    print(f"{arguments.path} is written. {who} takes {images}.")


if __name__ == "__main__":
    main()
