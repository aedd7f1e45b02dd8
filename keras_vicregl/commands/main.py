"""The command, its options, and where the others are."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from keras_vicregl._running import PROGRAM
from keras_vicregl._version import __version__
from keras_vicregl.commands.problems import exit_codes

COMMANDS = ("embed", "export", "convert", "recipes", "inspect", "doctor")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command.

    Args:
        arguments: those of the shell, by default those of this process.

    Returns:
        The exit code.
    """
    parser = make_parser()
    parsed = parser.parse_args(arguments)
    with exit_codes(parsed.command, parsed.traceback):
        return parsed.run(parsed) or 0


def make_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = argparse.ArgumentParser(
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
        dest="command", metavar="COMMAND", required=True
    )
    for name in COMMANDS:
        module = importlib.import_module(f"keras_vicregl.commands.{name}")
        command = commands.add_parser(
            name,
            help=module.SUMMARY,
            description=module.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    return parser


if __name__ == "__main__":
    sys.exit(main())
