"""Files of models that commands are given."""

from __future__ import annotations

import pathlib

from keras_vicregl.commands.problems import UsageError


def keras_file(given: str) -> pathlib.Path:
    """The `.keras` file that is meant, also by the folder of a run.

    Raises:
        UsageError: if it is not there, or another kind of file.
    """
    path = pathlib.Path(given).expanduser()
    if (path / "backbone.keras").is_file():
        return path / "backbone.keras"
    if not path.exists():
        raise UsageError(f"there is no file {given!r}.")
    if path.is_dir():
        raise UsageError(
            f"{given!r} is a folder without a backbone.keras: the command "
            "pretrain writes one when the last epoch is done; after pretrain() "
            f"in Python, model.backbone.save({str(path / 'backbone.keras')!r})."
        )
    if path.suffix != ".keras":
        raise UsageError(f"MODEL must be a .keras file; received {given!r}.")
    return path


def any_model_file(given: str) -> pathlib.Path:
    """The model that is meant: .keras, .onnx, a SavedModel, a run's backbone.

    Raises:
        UsageError: if it is not there, or none of these.
    """
    path = pathlib.Path(given).expanduser()
    if (path / "saved_model.pb").is_file():
        return path
    if path.is_file() and path.suffix == ".onnx":
        return path
    return keras_file(given)
