"""The log of a training as it is on disk: JSON lines, read back."""

from __future__ import annotations

import json
import math
import os
import pathlib
from typing import Any

EPOCHS = "epochs.jsonl"
STEPS = "steps.jsonl"
EVENTS = "events.jsonl"


def read_rows(path: str | os.PathLike) -> list[dict[str, Any]]:
    """The rows of a log.

    Args:
        path: a file of JSON lines. A last line that is cut off, as by a full
            disk, is left out.

    Returns:
        A dictionary a row.

    Raises:
        FileNotFoundError: if there is no such file.
    """
    text = pathlib.Path(path).read_text()
    return [json.loads(line) for line in text.split("\n")[:-1]]


def read_history(folder: str | os.PathLike) -> dict[str, list[float]]:
    """The rows of `epochs.jsonl` as columns, like `History.history`.

    Args:
        folder: of a `TrainingLog`, or its file.

    Returns:
        By name a value an epoch, NaN where there is none.
    """
    path = pathlib.Path(folder)
    path = path if path.is_file() else path / EPOCHS
    rows = read_rows(path) if path.exists() else []
    names = dict.fromkeys(name for row in rows for name in row)
    for name in ("epoch", "step"):
        names.pop(name, None)
    return {
        name: [math.nan if row.get(name) is None else row[name] for row in rows]
        for name in names
    }
