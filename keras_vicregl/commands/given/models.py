"""Files of models that commands are given."""

from __future__ import annotations

import pathlib
import re
import sys
import zipfile
from typing import TYPE_CHECKING, Any

from keras_vicregl.commands.problems import UsageError

if TYPE_CHECKING:
    import keras


def keras_file(given: str, kinds: str = "a .keras file") -> pathlib.Path:
    """The `.keras` file that is meant, also by the folder of a run.

    Args:
        given: its path.
        kinds: what it may be, in words.

    Raises:
        UsageError: if it is not there, or another kind of file.
    """
    path = pathlib.Path(given).expanduser()
    if (path / "backbone.keras").is_file():
        path = path / "backbone.keras"
    if not path.exists():
        raise UsageError(f"there is no file {given!r}.")
    if path.is_dir():
        raise UsageError(
            f"{given!r} is a folder without a backbone.keras: the command "
            "pretrain writes one when the last epoch is done; after pretrain() "
            f"in Python, model.backbone.save({str(path / 'backbone.keras')!r})."
        )
    if path.suffix in (".pth", ".pt"):
        raise UsageError(
            f"MODEL must be {kinds}, and {given!r} has weights alone: "
            f"keras-vicregl convert {given} --backbone NAME makes one of it."
        )
    if path.suffix != ".keras":
        raise UsageError(f"MODEL must be {kinds}; received {given!r}.")
    check_readable(path)
    return path


def check_readable(path: pathlib.Path) -> None:
    """Raises an OSError, for Keras says that the file is not there."""
    with open(path, "rb"):
        pass


def any_model_file(given: str) -> pathlib.Path:
    """The model that is meant: .keras, .onnx, a SavedModel, a run's backbone.

    Raises:
        UsageError: if it is not there, or none of these.
    """
    path = pathlib.Path(given).expanduser()
    if (path / "saved_model.pb").is_file():
        return path
    if path.is_file() and path.suffix == ".onnx":
        check_readable(path)
        return path
    return keras_file(given, "a .keras or .onnx file, or a SavedModel")


def load_keras(path: pathlib.Path) -> keras.Model:
    """The model of a `.keras` file; of a whole VICRegL its backbone.

    Raises:
        UsageError: if there is none in it that can be loaded here.
    """
    import keras

    if not zipfile.is_zipfile(path):
        raise UsageError(
            f"{path} is damaged, or no .keras file in spite of its name."
        )
    try:
        model = keras.saving.load_model(path, compile=False)
    except (TypeError, ValueError) as error:
        unknown = re.search(r"Could not locate \w+ '([^']*)'", str(error))
        if unknown is None:
            raise
        raise UsageError(
            f"{path} has layers of a class of one's own, {unknown[1]!r}, which "
            "no command knows: load it in Python, where that class is."
        ) from error
    return getattr(model, "backbone", model)


def load_any(path: pathlib.Path, preprocessed: bool) -> Any:
    """The backbone of a file of `any_model_file`.

    Args:
        path: of the file, or the folder of a SavedModel.
        preprocessed: whether somebody said that it normalises images.

    Raises:
        UsageError: if it gives no feature map of images.
    """
    import keras

    from keras_vicregl.checkpoints import load_backbone
    from keras_vicregl.models.backbones.adapter import several_inputs
    from keras_vicregl.models.backbones.normalization import takes_integers

    if path.suffix != ".keras":
        model = load_backbone(path)
        if not preprocessed and not takes_integers(model):
            print(
                f"{path} takes float32 images, which are normalised for it. If "
                "it is an export that normalises them by itself (of more than "
                "8 bits), give --preprocessed.",
                file=sys.stderr,
            )
        return model
    model = load_keras(path)
    if isinstance(getattr(model, "inputs", None), list) and (
        len(model.inputs) > 1
    ):
        raise UsageError(f"{path} is no backbone: {several_inputs(model)}")
    shape = getattr(model, "output_shape", None)
    if isinstance(model, keras.Model) and (
        isinstance(shape, list | dict)
        or (isinstance(shape, tuple) and len(shape) != 4)
    ):
        raise UsageError(
            f"{path} is no backbone: it puts out {shape}, not one feature map "
            "(B, h, w, F). (Where one is inside, the command export --raw cuts "
            "it out.)"
        )
    return model


def as_feature_map(model: keras.Model, name: str) -> keras.Model:
    """A model as a backbone; where something is cut off, it is said.

    Args:
        model: of `load_keras`.
        name: of its file.
    """
    from keras_vicregl.models.backbones import as_backbone

    backbone = as_backbone(model)
    (before, *_), (taken, *_) = model.outputs, backbone.outputs
    if tuple(before.shape) != tuple(taken.shape):
        layer = taken._keras_history.operation.name
        print(
            f"{name} puts out {tuple(before.shape)}: of it, the feature map of "
            f"{layer!r}, {tuple(taken.shape)}, is taken."
        )
    return backbone
