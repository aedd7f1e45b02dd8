"""Contents of files, kept where they are read faster the next time."""

from __future__ import annotations

import contextlib
import hashlib
import os
import pathlib
import threading
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import tensorflow as tf

_FILES_IN_A_FOLDER = 1000


class FileCache:
    """Reads files, and keeps what it has read as it was, not decoded.

    The table in which it looks things up is TensorFlow's, so that Python is
    called only to make a copy on disk, the first time.

    Args:
        folder: Where to keep copies, or None to keep them in memory.
        paths: The files that will be asked for. Copies of other ones have a
            folder of their own.
    """

    def __init__(
        self, folder: str | os.PathLike | None, paths: Sequence[str]
    ) -> None:
        from keras_vicregl._tensorflow import tf

        # From the number of a file to its contents, or to the path of its copy.
        self._kept = tf.lookup.experimental.MutableHashTable(
            tf.int64, tf.string, default_value=""
        )
        self._folder = None
        if folder is not None:
            self._folder = _folder_of(pathlib.Path(folder), paths)
            self._find_copies()
        self._may_write = True

    def read(self, path: tf.Tensor, number: tf.Tensor) -> tf.Tensor:
        """Contents of the file with a number of its own, in a graph."""
        from keras_vicregl._tensorflow import tf

        def keep() -> tf.Tensor:
            if self._folder is None:
                new = tf.io.read_file(path)
            else:
                new = tf.numpy_function(self._copy, [path, number], tf.string)
                new = tf.ensure_shape(new, ())
            with tf.control_dependencies([self._kept.insert(number, new)]):
                return tf.identity(new)

        # The table does not tell the shape of what it holds.
        kept = tf.ensure_shape(self._kept.lookup(number), ())
        kept = tf.cond(tf.equal(kept, ""), keep, lambda: kept)
        return kept if self._folder is None else tf.io.read_file(kept)

    def _find_copies(self) -> None:
        copies = [
            entry
            for folder in self._folder.iterdir()
            for entry in folder.iterdir()
            if entry.suffix != ".part"
        ]
        if copies:
            self._kept.insert(
                np.array([int(copy.name) for copy in copies], np.int64),
                np.array([os.fsencode(copy) for copy in copies]),
            )

    def _copy(self, path: bytes, number: np.int64) -> bytes:
        """Make a copy of a file; returns the path to read it from."""
        # In a graph it is bytes, and an array of them outside.
        path = np.asarray(path).item()
        source = pathlib.Path(os.fsdecode(path))
        contents = source.read_bytes()
        folder = self._folder / str(number // _FILES_IN_A_FOLDER)
        copy = folder / str(number)
        # A name that no other thread or process writes to, and a move that is
        # made wholly or not at all.
        unfinished = folder / (
            f"{number}-{os.getpid()}-{threading.get_ident()}.part"
        )
        try:
            folder.mkdir(exist_ok=True)
            unfinished.write_bytes(contents)
            unfinished.replace(copy)
        except OSError as error:
            with contextlib.suppress(OSError):
                unfinished.unlink()
            if self._may_write:
                self._may_write = False
                warnings.warn(
                    f"The cache cannot be written ({error}): files not yet in "
                    "it are read from where they are.",
                    stacklevel=1,
                )
            return path
        return os.fsencode(copy)


def _folder_of(folder: pathlib.Path, paths: Sequence[str]) -> pathlib.Path:
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
