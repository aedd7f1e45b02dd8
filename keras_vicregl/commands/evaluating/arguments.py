"""Options of an evaluation."""

from __future__ import annotations

import argparse
import pathlib
from typing import Any

from keras_vicregl.commands.given.data import SCENES, chosen_data
from keras_vicregl.commands.given.evaluations import ON_FEATURES, TRAINED
from keras_vicregl.commands.given.options import add_settings
from keras_vicregl.commands.given.values import add_value_options
from keras_vicregl.commands.problems import UsageError
from keras_vicregl.commands.starting import BACKENDS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of this command."""
    add = parser.add_argument
    add("model", metavar="MODEL", help=argparse.SUPPRESS)
    add("folder", nargs="?", metavar="FOLDER", help=argparse.SUPPRESS)
    add("--data", metavar="NAME", help="or what load() takes: a name of TFDS")
    add("--weights", metavar="W", help="of a name: .pth file, or published")
    add("--train-split", metavar="A+B", help="folders in FOLDER, or none: all")
    add("--test-split", metavar="A+B", help="likewise")
    text = "of load(): on_error=raise ignore_label=11"
    add_settings(add, "--data-options", text, default=[])
    add("--train-masks", metavar="FOLDER", help="of the images to train on")
    add("--test-masks", metavar="FOLDER", help="of those to test on")
    add("--size", type=int, metavar="N", help="side of the square cut out")
    add("--resize", type=int, metavar="N", help="shorter side before that")
    add("--limit", type=int, metavar="N", help="images of each split")
    add(
        "--batch-size",
        type=int,
        metavar="N",
        help="of frozen features; 256",
    )
    add(
        "--preprocessed",
        action="store_true",
        help="the model normalises images",
    )
    add_value_options(parser)
    add(
        "--protocols",
        nargs="+",
        default=["knn", "linear"],
        choices=ON_FEATURES + TRAINED,
        metavar="P",
        help="see above; knn and linear",
    )
    add_settings(
        add,
        "--options",
        "linear.epochs=50 finetuning.fraction=0.01",
        metavar="P.NAME=VALUE",
        default=[],
    )
    add("--output", type=pathlib.Path, metavar="FILE", help="figures as JSON")
    add("--backend", metavar="B", help=", ".join(BACKENDS))


def settled(arguments: argparse.Namespace) -> argparse.Namespace:
    """Options as they are used.

    Args:
        arguments: as they were parsed; they are changed.

    Returns:
        The same, with `options` by protocol.

    Raises:
        UsageError: if options contradict each other.
    """
    data = chosen_data(arguments.folder, arguments.data)
    if data is None:
        data = SCENES
        print(f"No FOLDER is given: {SCENES} are taken, which are built in.")
    arguments.data = data
    arguments.data_options = dict(arguments.data_options)
    options: dict[str, dict[str, Any]] = {p: {} for p in arguments.protocols}
    for name, value in arguments.options:
        protocol, _, argument = name.partition(".")
        if protocol not in options or not argument:
            raise UsageError(
                f"--options {name}: not PROTOCOL.NAME of one of --protocols "
                f"({', '.join(options)})."
            )
        options[protocol][argument] = value
    arguments.options = options
    for name in ("size", "resize", "limit", "batch_size"):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            option = name.replace("_", "-")
            raise UsageError(f"--{option} must be 1 or more; received {value}.")
    trained = [name for name in options if name in TRAINED]
    if arguments.batch_size is not None and trained:
        told = (
            f"--batch-size is of frozen features. Of {' and '.join(trained)} "
            f"give --options {trained[0]}.batch_size={arguments.batch_size}."
        )
        if len(trained) == len(options):
            raise UsageError(told)
        print(told)
    arguments.batch_size = arguments.batch_size or 256
    if arguments.preprocessed and {"linear_augmented", "finetuning"} & set(
        options
    ):
        raise UsageError(
            "--preprocessed: linear_augmented and finetuning normalise images."
        )
    output = arguments.output
    if output is not None and output.is_dir():
        raise UsageError(f"--output {output} is a folder, not a file.")
    return arguments
