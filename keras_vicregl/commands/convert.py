"""Convert a PyTorch checkpoint to Keras.

    keras-vicregl convert resnet50_alpha0.9
    keras-vicregl convert my.pth --backbone convnext_tiny --output converted

Writes NAME.keras, NAME.weights.h5 and, with TensorFlow, NAME, a SavedModel.
Needs PyTorch, whatever the backend.

--reference FILE.npz compares the outputs with those of the network in PyTorch.
It holds "images" (B, H, W, C) as the network takes them, normalised, and
"maps", its feature map as (B, h, w, F), (B, h * w, F) or (B, F, h, w).
"""

from __future__ import annotations

import argparse
import pathlib
from typing import TYPE_CHECKING

from keras_vicregl.commands.given.models import check_readable
from keras_vicregl.commands.given.outputs import check_output, written
from keras_vicregl.commands.problems import UsageError
from keras_vicregl.commands.starting import BACKENDS, start

if TYPE_CHECKING:
    import keras

SUMMARY = "a PyTorch checkpoint, also a published one, to Keras"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of this command."""
    add = parser.add_argument
    add(
        "checkpoint",
        metavar="CHECKPOINT",
        help="a .pth file, or a published name, which is downloaded",
    )
    add("--backbone", help="what a file is of; a published name says it")
    add("--output", type=pathlib.Path, default=pathlib.Path("converted"))
    add("--channels", type=int, default=3, help="of images; default 3")
    add(
        "--stem",
        choices=("cycle", "mean"),
        help="how RGB weights are fitted to other --channels",
    )
    add("--reference", type=pathlib.Path, metavar="FILE.npz")
    add("--backend", choices=BACKENDS)


def run(arguments: argparse.Namespace) -> None:
    """Converts, writes and compares."""
    start(arguments.backend, torch=True)
    from keras_vicregl.checkpoints import LICENCE, PUBLISHED, export
    from keras_vicregl.models.backbones import BACKBONES, backbone

    checkpoint, name = arguments.checkpoint, arguments.backbone
    if name is None:
        if checkpoint not in PUBLISHED:
            raise UsageError(
                "a file does not say what it is of: pass --backbone, one of "
                f"{', '.join(BACKBONES)}. Published names are "
                f"{', '.join(PUBLISHED)}."
            )
        name = PUBLISHED[checkpoint].backbone
    elif name not in BACKBONES:
        raise UsageError(
            f"--backbone must be one of {', '.join(BACKBONES)}; received "
            f"{name!r}."
        )
    if checkpoint not in PUBLISHED and not pathlib.Path(checkpoint).is_file():
        raise UsageError(
            f"there is no file {checkpoint!r}, and no published checkpoint of "
            f"this name: {', '.join(PUBLISHED)}."
        )
    if pathlib.Path(checkpoint).is_file():
        check_readable(pathlib.Path(checkpoint))
    output = arguments.output
    check_output(output, "converted files")
    model = backbone(
        name,
        weights=checkpoint,
        stem=arguments.stem,
        input_shape=(None, None, arguments.channels),
    )
    name = pathlib.Path(checkpoint).name.removesuffix(".pth")
    if name.removesuffix("_fullckpt") in PUBLISHED:
        print(LICENCE)
    names = [f"{name}.keras", f"{name}.weights.h5"]
    with written(output, "converted files"):
        export(model, output / names[0])
        write_weights(model, output / names[1])
        try:
            export(model, output / name, "saved_model")
            names.append(f"{name} (SavedModel)")
        except ImportError as error:
            print(f"No SavedModel: {error}")
    print(
        f"{model.count_params():,} weights of {checkpoint} written to "
        f"{output}/: {', '.join(names)}"
    )
    if arguments.reference:
        difference = largest_difference(model, arguments.reference)
        print(
            f"Largest difference to {arguments.reference}, relative to its "
            f"largest value: {difference:.1e}"
        )


def largest_difference(model: keras.Model, reference: pathlib.Path) -> float:
    """Largest difference to a reference, over its largest value."""
    import keras
    import numpy as np

    with np.load(reference) as file:
        images, expected = file["images"], file["maps"]
    found = keras.ops.convert_to_numpy(
        model(images.astype("float32"), training=False)
    )
    if expected.ndim == 4 and expected.shape != found.shape:
        expected = expected.transpose(0, 2, 3, 1)
    difference = np.abs(found - expected.reshape(found.shape)).max()
    return float(difference / np.abs(expected).max())


def write_weights(model: keras.Model, path: pathlib.Path) -> None:
    """`save_weights` that leaves nothing half written."""
    partial = path.with_name(f"partial-{path.name}")
    try:
        model.save_weights(partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
