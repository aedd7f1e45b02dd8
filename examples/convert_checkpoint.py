"""Convert a published PyTorch checkpoint to Keras, and write it in many ways.

    python examples/convert_checkpoint.py resnet50_alpha0.9
    python examples/convert_checkpoint.py my.pth --backbone convnext_tiny

Writes NAME.keras, NAME.weights.h5 and NAME, a SavedModel, to --output, or what
--formats says. Takes seconds after the download (100 MB for ResNet-50). Needs
PyTorch, under any Keras backend: pip install "keras-vicregl[torch]"; a
SavedModel also needs TensorFlow, which --formats keras weights does without.

--reference FILE.npz compares the outputs with those of the network in PyTorch.
It holds "images" (B, H, W, 3) as the network takes them, normalised, and
"maps", its feature map as (B, h, w, F), (B, h * w, F) or, PyTorch's own order,
(B, F, h, w):

    maps = torch_backbone(images.permute(0, 3, 1, 2))
    np.savez("reference.npz", images=images.numpy(), maps=maps.detach().numpy())
"""

import argparse
import os
import pathlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from _settings import told

from keras_vicregl import backbone
from keras_vicregl.checkpoints import (
    LICENCE,
    PUBLISHED,
    check_export,
    export,
)
from keras_vicregl.commands.convert import largest_difference, write_weights
from keras_vicregl.models.backbones import BACKBONES

# What --formats knows, and how the files are called.
SUFFIXES = {
    "keras": ".keras",
    "weights": ".weights.h5",
    "saved_model": "",
    "onnx": ".onnx",
}


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "checkpoint",
        help=f"a .pth file, or one of {', '.join(PUBLISHED)}, downloaded",
    )
    parser.add_argument(
        "--backbone",
        choices=BACKBONES,
        help="what a file is of; a published name says it",
    )
    parser.add_argument("--output", type=pathlib.Path, default="converted")
    parser.add_argument(
        "--formats",
        nargs="+",
        choices=SUFFIXES,
        default=["keras", "weights", "saved_model"],
        help="what to write",
    )
    parser.add_argument("--reference", type=pathlib.Path)
    arguments = parser.parse_args()
    if arguments.backbone is None:
        if arguments.checkpoint not in PUBLISHED:
            parser.error("--backbone is needed with a file")
        arguments.backbone = PUBLISHED[arguments.checkpoint].backbone
    return arguments


def main():
    arguments = parse_arguments()
    name = pathlib.Path(arguments.checkpoint).name.removesuffix(".pth")
    output = pathlib.Path(arguments.output)
    paths = {
        format: output / f"{name}{SUFFIXES[format]}"
        for format in SUFFIXES
        if format in arguments.formats
    }
    with told():
        for format, path in paths.items():
            if format != "weights":
                check_export(path, format)
        model = backbone(arguments.backbone, weights=arguments.checkpoint)
    if name.removesuffix("_fullckpt") in PUBLISHED:
        print(LICENCE)
    output.mkdir(parents=True, exist_ok=True)
    for format, path in paths.items():
        if format == "weights":
            write_weights(model, path)
        else:
            export(model, path, format)
    print(
        f"{model.count_params():,} weights of {arguments.checkpoint} written "
        f"to {output}/: "
        + ", ".join(
            path.name + " (SavedModel)" * (format == "saved_model")
            for format, path in paths.items()
        )
    )
    if arguments.reference:
        difference = largest_difference(model, arguments.reference)
        print(
            f"Largest difference to {arguments.reference}, relative to its "
            f"largest value: {difference:.1e}"
        )


if __name__ == "__main__":
    main()
