"""Files that commands are to write."""

from __future__ import annotations

import contextlib
import errno
import os
import pathlib
from collections.abc import Iterator

from keras_vicregl.commands.problems import is_full


def check_output(path: pathlib.Path, what: str) -> None:
    """Finds out before anything is computed whether it can be written.

    No folder is made yet.

    Args:
        path: of a file or folder.
        what: it is, which begins the sentence.

    Raises:
        OSError: if it cannot, in a sentence that names the path.
    """
    from keras_vicregl.storage.files import check_writable

    folders = [path, *path.absolute().parents]
    there = next(folder for folder in folders if folder.is_dir())
    with written(path, what):
        check_writable(there)


@contextlib.contextmanager
def written(path: pathlib.Path, what: str) -> Iterator[None]:
    """Makes of errors of writing those that name what was asked for.

    Args:
        path: of a file or folder.
        what: it is, which begins the sentence.

    Raises:
        OSError: in their place.
    """
    try:
        yield
    except Exception as error:
        cause: BaseException = error
        while not _number(cause) and cause.__cause__ is not None:
            cause = cause.__cause__
        number = errno.ENOSPC if is_full(error) else _number(cause)
        if number is None:
            raise
        reason = os.strerror(number)
        if number == errno.ENOSPC:
            reason = "the disk is full"
        text = f"{what} cannot be written, {reason}"
        raise OSError(number, text, str(path)) from error


def _number(error: BaseException) -> int | None:
    return error.errno if isinstance(error, OSError) else None
