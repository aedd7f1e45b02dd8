"""Images that were read, kept as arrays."""

from __future__ import annotations

import os
import pathlib
import warnings
from collections.abc import Callable, Sequence

import numpy as np

from keras_vicregl.data.sources.file_cache import (
    folder_of,
    place_of,
    unfinished,
)


class ArrayCache:
    """Keeps what has been read, in memory or as `.npy` files in a folder.

    Args:
        folder: None to keep arrays in memory.
        names: Of all that will be asked for, and of what they were read by.
            Others have a folder of their own.
    """

    def __init__(
        self, folder: str | os.PathLike | None, names: Sequence[str]
    ) -> None:
        self._kept: dict[int, np.ndarray] = {}
        self._folder = None
        if folder is not None:
            self._folder = folder_of(pathlib.Path(folder), names)
        self._may_write = True

    def get(self, number: int, make: Callable[[], np.ndarray]) -> np.ndarray:
        """What is kept under a number, or is made now and kept."""
        if self._folder is None:
            kept = self._kept.get(number)
            if kept is None:
                kept = make().copy()  # of what a reader may write to again
                kept.flags.writeable = False
                self._kept[number] = kept
            return kept
        copy = place_of(self._folder, number)
        try:
            return np.load(copy, allow_pickle=False)
        except (OSError, ValueError, EOFError):  # not there, or damaged
            array = make()
            self._keep(copy, array)
            return array

    def _keep(self, copy: pathlib.Path, array: np.ndarray) -> None:
        try:
            # Of a file, not of its name, to which `np.save` adds a suffix.
            with unfinished(copy) as partial, open(partial, "wb") as file:
                np.save(file, array)
        except OSError as error:
            if self._may_write:
                self._may_write = False
                warnings.warn(
                    f"The cache cannot be written ({error}): what is not yet "
                    "in it is read from where it is.",
                    stacklevel=1,
                )
