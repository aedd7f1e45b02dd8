"""The checkpoints of one training in a folder."""

from __future__ import annotations

import pathlib
import warnings
from collections.abc import Iterable
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_vicregl._version import __version__
from keras_vicregl.training.saving.archive import (
    DamagedArchiveError,
    read_description,
    write_archive,
)

_FORMAT = 1
_PATTERN = "epoch-*-step-*.npz"
_END = "end.npz"


class Position(NamedTuple):
    """How far a training is.

    Attributes:
        epoch: epochs that are complete.
        step: batches of the next epoch that are done. If all of them are, its
            end is not: evaluation, logs and what callbacks do there.
    """

    epoch: int
    step: int

    @property
    def words(self) -> str:
        """For people, as `3 epochs and 1 batch`."""
        epochs = f"{self.epoch} epoch{'' if self.epoch == 1 else 's'}"
        return f"{epochs} and {self.step} batch{'' if self.step == 1 else 'es'}"


def has_progress(folder: pathlib.Path) -> bool:
    """Whether there is a checkpoint of more than the beginning.

    Args:
        folder: of checkpoints; need not exist.
    """
    first = _name_of(Position(0, 0))
    return any(path.name != first for path in folder.glob(_PATTERN))


def check_checkpoints(
    folder: pathlib.Path, steps_per_epoch: int, allow_changes: Any
) -> None:
    """Raises a ValueError where training cannot go on for its epochs' length.

    Args:
        folder: of checkpoints; need not exist.
        steps_per_epoch: batches in a whole epoch.
        allow_changes: see `TrainingCheckpoint`.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # who reads them will say so
        CheckpointFolder(
            folder,
            keep=2,
            steps_per_epoch=steps_per_epoch,
            steps_may_change=steps_may_change(allow_changes),
        )


def steps_may_change(allow_changes: Any) -> bool:
    """Whether epochs may become of another length, see `TrainingCheckpoint`."""
    if isinstance(allow_changes, bool):
        return allow_changes
    return not {"batches", "steps_per_epoch"}.isdisjoint(allow_changes)


class CheckpointFolder:
    """Finds the newest sound checkpoint, and keeps the last few.

    Args:
        folder: need not exist before something is written.
        keep: number of files that stay.
        steps_per_epoch: of the training.
        anew: whether those that are there do not count. The first that is
            written replaces them.
        steps_may_change: whether training may go on from the end of an epoch
            with epochs of another length.

    Attributes:
        description: of the newest sound checkpoint, `None` without one.
        path: the same.
        steps_before: batches an epoch of that checkpoint, where they were
            others.

    Raises:
        ValueError: if there are checkpoints, but none that can be read, or of
            another version or length of an epoch.
    """

    def __init__(
        self,
        folder: pathlib.Path,
        keep: int,
        steps_per_epoch: int,
        anew: bool = False,
        steps_may_change: bool = False,
    ) -> None:
        self._steps_may_change = steps_may_change
        self.steps_before: int | None = None
        self.folder = folder
        self.steps_per_epoch = steps_per_epoch
        self.keep = keep
        self.description: Any = None  # a dictionary, where there is one
        self._kept = [] if anew else sorted(folder.glob(_PATTERN))
        found = len(self._kept)
        while self._kept and self.description is None:
            try:
                self.description = read_description(self._kept[-1])
            except DamagedArchiveError as error:
                self._kept.pop()
                before = self._kept[-1].name if self._kept else "none"
                warnings.warn(
                    "A checkpoint is damaged, and the one before it used "
                    f"instead ({before}): {error}",
                    RuntimeWarning,
                    stacklevel=4,
                )
        if found and not self._kept:
            raise ValueError(
                f"None of the {found} checkpoints in {folder} can be read. "
                "Remove them to begin anew."
            )
        if self.description is not None:
            self._check(self.description)

    def wrote(self, position: Position, description: dict[str, Any]) -> None:
        """Notes what another process has written.

        Not by looking: folders on a network may show it later.
        """
        self.description = {
            "epoch": position.epoch,
            "step": position.step,
            **description,
        }
        self._keep(position)

    def _keep(self, position: Position) -> None:
        """Lists a new checkpoint, and no longer those before the last ones."""
        path = self.path_of(position)
        # Of an epoch that has ended, also not that of its last step.
        last = Position(position.epoch - 1, self.steps_per_epoch)
        replaced = (path, self.path_of(last)) if not position.step else (path,)
        kept = [old for old in self._kept if old not in replaced]
        self._kept = [*kept, path][-self.keep :]

    def _check(self, found: dict[str, Any]) -> None:
        if found["format"] != _FORMAT:
            raise ValueError(
                f"{self.path} has format {found['format']}, of keras_vicregl "
                f"{found['version']}; this one reads {_FORMAT}."
            )
        before = found["steps_per_epoch"]
        if before == self.steps_per_epoch:
            return
        if self._steps_may_change and not found["step"]:
            self.steps_before = before
            return
        within = allowed = ""
        if found["step"]:
            within = f", in the middle of one ({self.position.words})"
        elif not self._steps_may_change:
            allowed = ", pass `allow_changes=True` to go on with what is now"
        raise ValueError(
            f"{self.path} was saved in a training of {before} batches an epoch"
            f"{within}; now they are {self.steps_per_epoch}. Continue with the "
            f"data and the batch size it began with{allowed}, or use another "
            "folder."
        )

    @property
    def path(self) -> pathlib.Path | None:
        """The last checkpoint that is there."""
        return self._kept[-1] if self._kept else None

    @property
    def position(self) -> Position:
        """That of the newest sound checkpoint; the beginning without one."""
        if self.description is None:
            return Position(0, 0)
        return Position(self.description["epoch"], self.description["step"])

    @property
    def missing(self) -> int:
        """Files that are yet to come, with one that is being written."""
        return max(self.keep + 1 - len(self._kept), 1)

    def path_of(self, position: Position) -> pathlib.Path:
        """Where the checkpoint of a position is, or would be."""
        return self.folder / _name_of(position)

    def write(
        self,
        position: Position,
        arrays: Iterable[tuple[str, np.ndarray]],
        description: dict[str, Any],
    ) -> None:
        """Writes a checkpoint, and then removes those before the last ones."""
        path = self.path_of(position)
        self.description = self._write(path, position, arrays, description)
        # What training ended with, before it went on.
        (self.folder / _END).unlink(missing_ok=True)
        self._keep(position)
        # Damaged ones are not among those kept.
        for old in set(self.folder.glob(_PATTERN)) - set(self._kept):
            old.unlink(missing_ok=True)

    def _write(
        self,
        path: pathlib.Path,
        position: Position,
        arrays: Iterable[tuple[str, np.ndarray]],
        description: dict[str, Any],
    ) -> dict[str, Any]:
        return write_archive(
            path,
            arrays,
            {
                "format": _FORMAT,
                "version": __version__,
                "keras": keras.__version__,
                "backend": keras.backend.backend(),
                "epoch": position.epoch,
                "step": position.step,
                "steps_per_epoch": self.steps_per_epoch,
                **description,
            },
        )

    def write_end(
        self,
        arrays: Iterable[tuple[str, np.ndarray]],
        dtypes: dict[str, str],
    ) -> None:
        """Writes what training ends with, where that is not what was trained.

        Args:
            arrays: of the model alone.
            dtypes: of these, by name, when they have been written.
        """
        path = self.folder / _END
        self._write(path, self.position, arrays, {"dtypes": dtypes})

    def read_end(self) -> tuple[pathlib.Path, dict[str, str]] | None:
        """Path and dtypes of what `write_end` wrote.

        Returns:
            `None` where there is none, or one of another position.
        """
        path = self.folder / _END
        if not path.exists():
            return None
        found = read_description(path)
        if (found["epoch"], found["step"]) != self.position:
            return None
        return path, found["dtypes"]


def _name_of(position: Position) -> str:
    epoch, step = position
    return f"epoch-{epoch:04d}-step-{step:08d}.npz"
