"""Errors that are told in a sentence, with their exit codes."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import traceback
from collections.abc import Iterator

from keras_vicregl._running import PROGRAM

FAILURE, USAGE = 1, 2


class UsageError(Exception):
    """Arguments that nothing can be made of."""


def told(error: BaseException) -> str:
    """What an error says, in a line, without the name of its class."""
    if isinstance(error, OSError) and error.errno is not None:
        what = error.strerror or os.strerror(error.errno)
        if error.errno == errno.ENOSPC and "free" not in what:
            what = "the disk is full"
        where = f": {error.filename}" if error.filename else ""
        return f"{what}{where}"
    if isinstance(error, MemoryError):
        return "memory is full: take a smaller --batch-size."
    text = str(error) or type(error).__name__
    return " ".join(text.split())


@contextlib.contextmanager
def exit_codes(command: str, with_traceback: bool) -> Iterator[None]:
    """Ends the process as the outcome of a command asks for.

    Args:
        command: its name, which begins the sentence.
        with_traceback: whether to say where an error came from as well.
    """
    try:
        yield
    except BrokenPipeError:  # of `keras-vicregl ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(FAILURE)
    except KeyboardInterrupt:
        print(f"{PROGRAM} {command}: stopped.", file=sys.stderr)
        sys.exit(130)
    except UsageError as error:
        _tell(command, error, with_traceback)
        print(f"See {PROGRAM} {command} --help.", file=sys.stderr)
        sys.exit(USAGE)
    except (
        ArithmeticError,
        ImportError,
        LookupError,
        MemoryError,
        OSError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:
        _tell(command, error, with_traceback)
        if not with_traceback:
            print(
                f"({PROGRAM} --traceback {command} ... says where.)",
                file=sys.stderr,
            )
        sys.exit(FAILURE)


def _tell(command: str, error: Exception, with_traceback: bool) -> None:
    if with_traceback:
        traceback.print_exc()
    print(f"{PROGRAM} {command}: {told(error)}", file=sys.stderr)
