"""The settings of a run, from which it can be repeated."""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Collection
from typing import Any

from keras_vicregl.storage.files import check_writable, write_text

CONFIG = "config.json"


def keep_settings(
    output: str | os.PathLike,
    settings: dict[str, Any],
    free: Collection[str] = (),
) -> pathlib.Path:
    """Writes the settings of a run, or compares them with those it began with.

    A training that continues with another batch size or learning rate is none
    that anybody could repeat.

    Args:
        output: folder of the run.
        settings: what JSON can hold.
        free: names of those that may change, as they do not bear upon what is
            learnt. Their newest values are written.

    Returns:
        The path of `config.json`.

    Raises:
        OSError: if nothing can be written.
        ValueError: if a setting differs from the one that the run began with.

    Example:

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = keep_settings(folder, {"alpha": 0.75})
    ...     keep_settings(folder, {"alpha": 0.9})
    Traceback (most recent call last):
    ...
    ValueError: ... alpha=0.75, now alpha=0.9. ...
    """
    output = pathlib.Path(output)
    check_writable(output)
    path = output / CONFIG
    settings = json.loads(json.dumps(settings))  # tuples are lists there
    if path.exists():
        begun = json.loads(path.read_text())
        changed = [
            name
            for name in {**begun, **settings}
            if name not in free and begun.get(name) != settings.get(name)
        ]
        if changed:
            differences = "; ".join(
                f"{name}={begun.get(name)!r}, now {name}={settings.get(name)!r}"
                for name in changed
            )
            raise ValueError(
                f"The run in {output} began with {differences}. Continue with "
                "the settings it began with, or use another folder."
            )
    write_text(path, json.dumps(settings, indent=2) + "\n")
    return path
