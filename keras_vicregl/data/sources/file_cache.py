"""Contents of files, kept where they are read faster the next time."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import pathlib
import threading
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import tensorflow as tf

_FILES_IN_A_FOLDER = 1000


class FileCache:
    """Reads files, and keeps what it has read as it was, not decoded.

    In tf.data the table in which it looks things up is TensorFlow's, so that
    Python is called only to make a copy on disk, the first time. What Python
    reads itself has a table of its own.

    Args:
        folder: Where to keep copies, or None to keep them in memory.
        paths: The files that will be asked for. Copies of other ones have a
            folder of their own.
    """

    def __init__(
        self, folder: str | os.PathLike | None, paths: Sequence[str]
    ) -> None:
        self._folder: Any = None  # a path, once it is known
        # From the number of a file to its contents, or to the path of its copy.
        self._kept: dict[int, bytes] = {}
        if folder is not None:
            self._folder = folder_of(pathlib.Path(folder), paths)
            self._kept = self._copies()
        self.table = functools.cache(self._make_table)
        self._may_write = True

    def contents(self, path: str, number: int) -> bytes:
        """Contents of the file with a number of its own, in Python."""
        kept = self._kept.get(number)
        if self._folder is None:
            if kept is None:
                kept = pathlib.Path(path).read_bytes()
                self._kept[number] = kept
            return kept
        if kept is None:
            kept = self._copy(os.fsencode(path), number)
            self._kept[number] = kept
        return pathlib.Path(os.fsdecode(kept)).read_bytes()

    def kept(self, number: int) -> bytes | str | None:
        """Contents of a file that is kept, or the path of its copy."""
        kept = self._kept.get(number)
        if kept is None or self._folder is None:
            return kept
        return os.fsdecode(kept)

    def read(self, path: tf.Tensor, number: tf.Tensor) -> tf.Tensor:
        """Contents of the file with a number of its own, in a graph."""
        from keras_vicregl._tensorflow import tf

        table = self.table()

        def keep() -> tf.Tensor:
            if self._folder is None:
                new = tf.io.read_file(path)
            else:
                new = tf.numpy_function(self._copy, [path, number], tf.string)
                new = tf.ensure_shape(new, ())
            with tf.control_dependencies([table.insert(number, new)]):
                return tf.identity(new)

        # The table does not tell the shape of what it holds.
        kept = tf.ensure_shape(table.lookup(number), ())
        kept = tf.cond(tf.equal(kept, ""), keep, lambda: kept)
        return kept if self._folder is None else tf.io.read_file(kept)

    def _make_table(self) -> Any:
        """TensorFlow's table: to be asked for eagerly at first."""
        from keras_vicregl._tensorflow import tf

        table = tf.lookup.experimental.MutableHashTable(
            tf.int64, tf.string, default_value=""
        )
        if self._kept and self._folder is not None:
            table.insert(
                np.array(list(self._kept), np.int64),
                np.array(list(self._kept.values())),
            )
        return table

    def _copies(self) -> dict[int, bytes]:
        """By number the paths of the copies that are there."""
        return {
            int(entry.name): os.fsencode(entry)
            for folder in self._folder.iterdir()
            for entry in folder.iterdir()
            if entry.suffix != ".part"
        }

    def _copy(self, path: bytes, number: int | np.int64) -> bytes:
        """Make a copy of a file; returns the path to read it from."""
        # In a graph it is bytes, and an array of them outside.
        path = np.asarray(path).item()
        source = pathlib.Path(os.fsdecode(path))
        contents = source.read_bytes()
        copy = place_of(self._folder, number)
        try:
            with unfinished(copy) as partial:
                partial.write_bytes(contents)
        except OSError as error:
            if self._may_write:
                self._may_write = False
                warnings.warn(
                    f"The cache cannot be written ({error}): files not yet in "
                    "it are read from where they are.",
                    stacklevel=1,
                )
            return path
        return os.fsencode(copy)


def place_of(folder: pathlib.Path, number: int | np.int64) -> pathlib.Path:
    """Where the copy with a number is, if it is there."""
    return folder / str(number // _FILES_IN_A_FOLDER) / str(number)


@contextlib.contextmanager
def unfinished(copy: pathlib.Path) -> Iterator[pathlib.Path]:
    """A file to write, which becomes the copy when it is complete.

    Its name is one that no other thread or process writes to, and the move is
    made wholly or not at all.

    Raises:
        OSError: if it cannot be written; nothing of it is left.
    """
    partial = copy.with_name(
        f"{copy.name}-{os.getpid()}-{threading.get_ident()}.part"
    )
    try:
        copy.parent.mkdir(exist_ok=True)
        yield partial
        partial.replace(copy)
    except OSError:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise


def folder_of(folder: pathlib.Path, paths: Sequence[str]) -> pathlib.Path:
    """The folder in a cache that is for these files, which is made.

    Raises:
        ValueError: If it cannot be.
    """
    digest = hashlib.sha256("\0".join(paths).encode(errors="surrogateescape"))
    folder = folder / digest.hexdigest()[:16]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(
            f"cache={str(folder.parent)!r} must be a folder that can be "
            f"written to: {error}"
        ) from error
    return folder
