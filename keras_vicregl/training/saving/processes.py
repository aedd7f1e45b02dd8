"""What several processes that train together agree on."""

from __future__ import annotations

import pathlib
from typing import Any

from keras_vicregl.distribution.processes import gather_from_processes
from keras_vicregl.training.saving.folder import Position


def check_shared(
    folder: pathlib.Path, position: Position, steps: int, model: Any
) -> None:
    """Refuses folders in which processes find different checkpoints.

    Args:
        folder: of the checkpoints.
        position: of the newest one that this process finds.
        steps: of an epoch.
        model: of the training.

    Raises:
        ValueError: if another process finds another.
    """
    epoch, step = position
    reached = gather_from_processes(epoch * steps + step, model)
    if len(set(reached)) > 1:
        raise ValueError(
            f"Processes find different checkpoints in {folder}: of "
            f"{', '.join(map(str, reached))} batches. It must be a folder that "
            "all of them share."
        )


def agree(failed: int, folder: pathlib.Path, model: Any) -> None:
    """Waits for all processes.

    Args:
        failed: 1 in the first process if it could not write.
        folder: to which it writes.
        model: of the training.

    Raises:
        OSError: in the others, where the first could not write.
    """
    if any(gather_from_processes(failed, model)) and not failed:
        raise OSError(
            f"The first process cannot write to {folder}; it says why."
        )
