"""The recipes: what they train, for how long, and what came of it."""

from __future__ import annotations

import argparse
import json
import textwrap

from keras_vicregl.commands.problems import UsageError
from keras_vicregl.commands.starting import start

SUMMARY = "what can be trained, how long it takes, what came of it"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of this command."""
    parser.add_argument("name", nargs="?", help="of one, to see all it says")
    parser.add_argument(
        "--json", action="store_true", help="as JSON, of one with all settings"
    )


def run(arguments: argparse.Namespace) -> None:
    """Prints the table, or a recipe."""
    start(None, tensorflow=False)
    from keras_vicregl.recipes import RECIPES

    if arguments.name is not None and arguments.name not in RECIPES:
        raise UsageError(
            f"there is no recipe {arguments.name!r}; there are "
            f"{', '.join(RECIPES)}."
        )
    if arguments.name is not None:
        print(json.dumps(RECIPES[arguments.name].to_dict(), indent=2))
        return
    if arguments.json:
        print(
            json.dumps({k: r.to_dict() for k, r in RECIPES.items()}, indent=2)
        )
        return
    for name, recipe in RECIPES.items():
        epochs = f"{recipe.epochs} epochs of batches of {recipe.batch_size}"
        print(f"{name}: {recipe.backbone}, {epochs}, for {recipe.data}")
        for title, text in (
            ("time", recipe.time),
            ("accuracy", recipe.accuracy),
        ):
            print(
                textwrap.fill(
                    f"{title}: {text}",
                    76,
                    initial_indent="    ",
                    subsequent_indent="        ",
                )
            )
