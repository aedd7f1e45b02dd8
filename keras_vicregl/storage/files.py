"""Files that are there completely or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import pathlib
import shutil
from collections.abc import Iterator
from typing import Any, BinaryIO

_PARTIAL = ".partial-"


@contextlib.contextmanager
def replacing(path: pathlib.Path) -> Iterator[BinaryIO]:
    """A file to write, which takes the place of `path` when it is complete.

    It is on the disk, not in a cache, before it gets its name: a reader sees
    the old file or the new one, even after a power cut.
    """
    partial = path.with_name(f"{_PARTIAL}{path.name}")
    try:
        with open(partial, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
        sync_folder(path.parent)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise


def write_text(path: pathlib.Path, text: str) -> None:
    """Writes a whole text file."""
    with replacing(path) as file:
        file.write(text.encode())


def remove_partial(folder: pathlib.Path) -> None:
    """Removes what processes that were killed left half written."""
    for path in folder.glob(f"{_PARTIAL}*"):
        path.unlink(missing_ok=True)


def sync_folder(folder: pathlib.Path) -> None:
    """Makes renamed and new files of a folder last."""
    if not hasattr(os, "O_DIRECTORY"):  # where folders cannot be opened
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def check_writable(folder: pathlib.Path, needed: int = 0) -> None:
    """Makes a folder, and finds out whether a run can write to it.

    Args:
        folder: made with its parents where there is none.
        needed: bytes that must be free.

    Raises:
        OSError: if nothing can be written, or less than `needed` is free.
    """
    probe = folder / f"{_PARTIAL}probe"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(probe) as file:
            file.write(b"0" * 4096)
        probe.unlink()
    except OSError as error:
        raise type(error)(
            error.errno,
            f"Nothing can be written to the output folder ({error.strerror}), "
            "so that training would be lost. Make room or give another one",
            str(folder),
        ) from error
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OSError(
            errno.ENOSPC,
            f"Checkpoints need {readable(needed)}, but only {readable(free)} "
            "are free. Make room or give another folder",
            str(folder),
        )


def readable(size: float) -> str:
    """Bytes as people write them."""
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:,.1f} GB"


def explained(error: OSError, message: str) -> OSError:
    """The same kind of error, which says what it means for the run."""
    reason: Any = error.strerror or str(error)
    return type(error)(error.errno, f"{message} ({reason})", error.filename)
