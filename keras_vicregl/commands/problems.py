"""Errors that are told in a sentence, with their exit codes."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import sys
import traceback
import warnings
from collections.abc import Iterator
from typing import TextIO

from keras_vicregl._running import PROGRAM
from keras_vicregl.commands.translation import in_options

FAILURE, USAGE = 1, 2


# Errors that are no mistakes of this program's, as far as one can know.
_TOLD = (
    ArithmeticError,
    ImportError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)


class UsageError(Exception):
    """Arguments that nothing can be made of."""


# What backends say where memory is full.
_MEMORY = re.compile(
    "out of memory|RESOURCE_EXHAUSTED|OOM when allocating", re.IGNORECASE
)
# And where a disk is: the last are PyTorch's words, and those of HDF5.
_DISK = re.compile(
    "no space left on device|unexpected pos \\d+ vs|errno = 28", re.IGNORECASE
)
_FOREIGN = (
    "tensorflow",
    "jax",
    "jaxlib",
    "torch",
    "onnxruntime",
    "wandb",
    "mlflow",
)


def told(error: BaseException) -> str:
    """What an error says, in a line, without the name of its class."""
    if isinstance(error, OSError) and error.errno is not None:
        what = error.strerror or os.strerror(error.errno)
        if is_full(error) and not re.search("free|full", what):
            what = "the disk is full"
        where = f": {error.filename}" if error.filename else ""
        return f"{what}{where}"
    text = str(error) or type(error).__name__
    if is_full(error):
        return "the disk is full."
    if isinstance(error, MemoryError) or (
        _is_foreign(error) and _MEMORY.search(text)
    ):
        return "memory is full: take a smaller --batch-size."
    if _is_foreign(error):
        text = _said_within(text)
    absent = re.search(r"No module named '(\w+)", text)
    if absent:
        package = absent[1].replace("_", "-")
        text = f"{absent[0]}': pip install {package}"
    return " ".join(text.split())


def is_full(error: BaseException) -> bool:
    """Whether it came of a disk on which there is no room."""
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return True
    return _DISK.search(str(error)) is not None


def _is_foreign(error: BaseException) -> bool:
    """Whether it is of a class of a framework's own."""
    kinds = type(error).__mro__
    return any(kind.__module__.partition(".")[0] in _FOREIGN for kind in kinds)


def _said_within(text: str) -> str:
    """What Python said where a pipeline of TensorFlow called it.

    TensorFlow puts its own words before, and the traceback and the names of
    nodes after it.
    """
    text = re.sub(r"\{\{function_node [^}]*\}\}\s*", "", text)
    said = text.partition("Traceback (most recent call last)")[0]
    said = said.partition("[[")[0].strip() or text
    # Before it may stand where in a pipeline it was.
    return re.sub(r"^.*?\b([A-Z]\w+Error|[A-Z]\w+Exception):\s", "", said)


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
    except Exception as error:
        if not isinstance(error, _TOLD) and not _is_foreign(error):
            raise
        _tell(command, error, with_traceback)
        # Of these it does not matter where they came from.
        clear = isinstance(error, ImportError | OSError) or (
            type(error).__name__ == "UnreadableError"
        )
        if not with_traceback and not clear:
            print(
                f"({PROGRAM} --traceback {command} ... says where.)",
                file=sys.stderr,
            )
        sys.exit(FAILURE)


@contextlib.contextmanager
def told_warnings(command: str) -> Iterator[None]:
    """Has warnings of a command said in a line, without the place in code."""
    before = warnings.showwarning

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if issubclass(category, DeprecationWarning):
            before(message, category, filename, lineno, file, line)
            return
        text = in_options(" ".join(str(message).split()), command)
        print(f"warning: {text}", file=file or sys.stderr, flush=True)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


def _tell(command: str, error: Exception, with_traceback: bool) -> None:
    if with_traceback:
        traceback.print_exc()
    text = in_options(told(error), command)
    print(f"{PROGRAM} {command}: {text}", file=sys.stderr)
