"""The command, its options, and where the others are."""

from __future__ import annotations

import argparse
import functools
import importlib
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any

from keras_vicregl._running import PROGRAM
from keras_vicregl._version import __version__
from keras_vicregl.commands.parsing import AnyOrder, Parser
from keras_vicregl.commands.problems import exit_codes, told_warnings

COMMANDS = (
    "pretrain",
    "evaluate",
    "embed",
    "export",
    "convert",
    "recipes",
    "inspect",
    "doctor",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command.

    Args:
        arguments: those of the shell, by default those of this process.

    Returns:
        The exit code.
    """
    return _run(make_parser().parse_args(arguments))


def run_alone(name: str) -> int:
    """Runs one command with the arguments of this process: for scripts.

    Args:
        name: one of `COMMANDS`.

    Returns:
        The exit code.
    """
    parser = _add_to(name, AnyOrder, prog=f"{PROGRAM} {name}")
    parser.set_defaults(command=name)
    return _run(parser.parse_args())


def _run(parsed: argparse.Namespace) -> int:
    traceback = parsed.traceback
    with exit_codes(parsed.command, traceback), told_warnings(parsed.command):
        return parsed.run(parsed) or 0


class _OnAScreen(argparse.RawDescriptionHelpFormatter):
    """An option a line, where that is possible."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30, width=80)

    def _format_args(self, action: argparse.Action, default: str) -> str:
        text = super()._format_args(action, default)
        # Not "NAME=VALUE [NAME=VALUE ...]".
        return re.sub(r"^(\S+) \[\1 \.\.\.\]$", r"\1 ...", text)


def make_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = Parser(
        prog=PROGRAM,
        description="Self-supervised pretraining of dense features.",
        epilog=f"{PROGRAM} COMMAND --help says more.",
    )
    parser.add_argument(
        "--version", action="version", version=f"%(prog)s {__version__}"
    )
    parser.add_argument(
        "--traceback",
        action="store_true",
        help="after an error, say where it came from",
    )
    commands = parser.add_subparsers(
        dest="command",
        metavar="COMMAND",
        required=True,
        parser_class=AnyOrder,
    )
    for name in COMMANDS:
        summary = _module(name).SUMMARY
        make = functools.partial(commands.add_parser, name)
        # Where it stands after the command's name as well.
        _add_to(name, make, argparse.SUPPRESS, help=summary)
    return parser


def _add_to(
    name: str,
    make: Callable[..., argparse.ArgumentParser],
    traceback: Any = False,
    **of_parser: Any,
) -> argparse.ArgumentParser:
    """A parser of one command, made by `make`."""
    module = _module(name)
    parser = make(
        **of_parser,
        description=module.__doc__,
        formatter_class=_OnAScreen,
        usage=getattr(module, "USAGE", None),
    )
    module.add_arguments(parser)
    parser.add_argument(
        "--traceback",
        action="store_true",
        default=traceback,
        help=argparse.SUPPRESS,
    )
    parser.set_defaults(run=module.run)
    return parser


def _module(name: str) -> Any:
    return importlib.import_module(f"keras_vicregl.commands.{name}")


if __name__ == "__main__":
    sys.exit(main())
