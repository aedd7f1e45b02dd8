"""Options of a pretraining: what was typed, in a file, or is usual."""

from __future__ import annotations

import argparse
import functools
import json
import pathlib
from typing import Any

from keras_vicregl.commands.given.data import chosen_data
from keras_vicregl.commands.given.evaluations import ON_FEATURES
from keras_vicregl.commands.given.options import add_settings
from keras_vicregl.commands.problems import UsageError
from keras_vicregl.commands.starting import BACKENDS

_LOGS = ("tensorboard", "wandb", "mlflow")
_EXPORTS = ("keras", "saved_model", "onnx", "pth")
# What options are where nothing is said. Of the others it is None: the
# recipe's, or none.
_USUAL = {
    "seed": 0,
    "strategy": "auto",
    "log_every": 50,
    "evaluate_every": 1,
    "skip_nonfinite": 0,
    "allow_changes": False,
    "deterministic": False,
    "evaluate": [],
    "export": [],
    "log": [],
}
_DICTIONARIES = ("data_options", "model", "views", "optimizer")
# What config.json of a run has, in this order.
NAMES = (
    *("recipe", "data", "split", "limit", "data_options"),
    *("train_masks", "test_masks", "batch_size", "epochs", "learning_rate"),
    *("alpha", "precision", "canvas", "model", "views", "optimizer", "seed"),
    *("backend", "strategy", "save_every", "log_every", "log"),
    *("allow_changes", "skip_nonfinite", "evaluate", "evaluate_every"),
    *("evaluate_split", "export", "deterministic"),
)
# Settings that do not bear upon what is learnt, and may change on the way.
FREE = (
    *("save_every", "log_every", "log", "export", "strategy", "deterministic"),
    *("evaluate", "evaluate_every", "evaluate_split"),
    *("train_masks", "test_masks", "allow_changes", "skip_nonfinite"),
)


_RARE = {
    "strategy": "auto; none: one device; or a backend's own",
    "canvas": "pixels within which images come to views on=device",
    "save_every": "steps between checkpoints, besides those of epochs",
    "log_every": "steps between rows of the log; 50",
    "evaluate_every": "epochs between evaluations; 1",
    "skip_nonfinite": "batches to leave out at most, if nothing is finite",
}


class _HelpAll(argparse.Action):
    """Help with what is rarely needed."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        for action in parser._actions:
            action.help = _RARE.get(action.dest, action.help)
        parser.print_help()
        parser.exit()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of this command. None of them has a value that nobody gave."""
    add = parser.add_argument

    def flag(name: str, text: str) -> None:
        add(name, action="store_true", default=None, help=text)

    settings = functools.partial(add_settings, add)

    def some(
        name: str, choices: tuple[str, ...], metavar: str, of: str
    ) -> None:
        text = f"{of}{', '.join(choices)}"
        add(name, nargs="*", choices=choices, metavar=metavar, help=text)

    add("folder", nargs="?", metavar="FOLDER", help=argparse.SUPPRESS)
    add(
        "--help-all",
        action=_HelpAll,
        nargs=0,
        default=argparse.SUPPRESS,
        help="rarely needed options too",
    )
    add("--data", metavar="NAME", help="or what load() takes: a name of TFDS")
    add("--split", metavar="A+B", help="folders in FOLDER, or none: all of it")
    add("--limit", type=int, metavar="N", help="images, evenly spread")
    settings("--data-options", "of load(): on_error=raise cache=true")
    add("--recipe", metavar="NAME", help="see: keras-vicregl recipes")
    add("--output", type=pathlib.Path, metavar="RUN", help="runs/NAME")
    add("--config", metavar="FILE", help="config.json of a run, to repeat it")
    add("--epochs", type=int, metavar="N", help="the recipe's")
    add("--batch-size", type=int, metavar="N", help="over all devices")
    add("--learning-rate", type=float, metavar="X", help="peak at 256 images")
    add(
        "--alpha", type=float, metavar="X", help="the global criterion's weight"
    )
    settings("--model", "of VICRegL: backbone=my.keras num_matches=[20,4]")
    settings("--views", "of MultiView and its groups: size=96 on=device")
    settings("--optimizer", "such as gradient_accumulation_steps=4")
    add("--precision", metavar="P", help="float32, mixed_bfloat16 or _float16")
    some("--evaluate", ON_FEATURES, "WHAT", "as it trains: ")
    add("--evaluate-split", metavar="A+B", help="to test on")
    add("--train-masks", metavar="FOLDER", help="of what is trained on")
    add("--test-masks", metavar="FOLDER", help="of what is tested on")
    some("--export", _EXPORTS, "KIND", "")
    some("--log", _LOGS, "TO", "besides files: ")
    add("--seed", type=int, metavar="N", help="0")
    add("--backend", metavar="B", help=", ".join(BACKENDS))
    flag("--deterministic", "the same bits in each run; slower")
    flag("--allow-changes", "go on with other settings")
    for name in _RARE:
        option = f"--{name.replace('_', '-')}"
        kind: dict[str, Any] = {"type": int} if name != "strategy" else {}
        add(option, metavar="N", help=argparse.SUPPRESS, **kind)


def settled(arguments: argparse.Namespace) -> argparse.Namespace:
    """Options as they are used: typed, else of --config, else usual.

    Args:
        arguments: as they were parsed.

    Returns:
        `NAMES`, and `output`, which is None where nobody named it. What a
        recipe says is None as well, and `given` has the names of options that
        are not.

    Raises:
        UsageError: if options contradict each other, or the file of --config is
            none.
    """
    config = {} if arguments.config is None else _read_config(arguments.config)
    data = chosen_data(arguments.folder, arguments.data)
    typed = {**vars(arguments), "data": data}
    chosen = argparse.Namespace(output=arguments.output)
    given = set()
    for name in NAMES:
        value = typed[name]
        if value is None:
            value = config.get(name)
        if value is not None:
            given.add(name)
        elif name in _USUAL:
            value = _USUAL[name]
        setattr(chosen, name, value)
    chosen.given = given
    for name in _DICTIONARIES:
        setattr(chosen, name, dict(getattr(chosen, name) or {}))
    if chosen.alpha is not None:
        chosen.model["alpha"] = chosen.alpha
    if chosen.data is None and chosen.recipe is None:
        raise UsageError(
            "FOLDER is needed, a folder of images; or --recipe, whose data are "
            "then taken, or --config."
        )
    for name in ("batch_size", "epochs", "log_every", "save_every"):
        value = getattr(chosen, name)
        if value is not None and value < 1:
            option = name.replace("_", "-")
            raise UsageError(f"--{option} must be 1 or more; received {value}.")
    return chosen


def _read_config(path: str) -> dict[str, Any]:
    try:
        config = json.loads(pathlib.Path(path).expanduser().read_text())
    except OSError as error:
        raise UsageError(
            f"--config {path}: {error.strerror or error}."
        ) from error
    except ValueError as error:
        raise UsageError(f"--config {path} is no JSON: {error}.") from error
    unknown = (
        sorted(set(config) - set(NAMES)) if isinstance(config, dict) else []
    )
    if unknown or not isinstance(config, dict):
        raise UsageError(
            f"--config {path} is no config.json of a run"
            + (f": it has {', '.join(unknown)}." if unknown else ".")
        )
    return config
