"""PyTorch checkpoint files, read without running what is in them."""

from __future__ import annotations

import argparse
import os
import pathlib
import pickle
import tempfile
from collections.abc import Mapping
from typing import Any, NoReturn

import numpy as np

from keras_vicregl._installed import check_torch
from keras_vicregl._warnings import warn

# Checkpoints trained with LARS pickle this function, by name, among the
# settings of the optimizer. It is never called.
_HARMLESS_GLOBAL = "optimizers.exclude_bias_and_norm"
# Keys under which programs keep the state dict of a network.
CONTAINERS = (
    "state_dict",
    "model_state_dict",
    "model",
    "network",
    "net",
    "teacher",
    "student",
    "backbone",
    "encoder",
    "weights",
    "model_state",
    "module",
    "params",
    "backbone_state_dict",
    "encoder_state_dict",
    "model_ema",
    "ema",
    "ema_state_dict",
    "state_dict_ema",
)
# Files of others, by their endings, and what to do with them.
_OF_OTHERS = {
    ".keras": "Pass it to keras.saving.load_model",
    ".h5": "Pass it to keras.saving.load_model, or to load_weights of a model",
    ".onnx": "Pass it to keras_vicregl.checkpoints.load_backbone",
    ".npz": "Save its arrays as tensors, by torch.save",
    ".safetensors": (
        "Install safetensors, with which recent versions of PyTorch read it, "
        "or save what safetensors.torch.load_file gives by torch.save"
    ),
}
# What DistributedDataParallel puts before every key.
_FULL_PREFIX = "module."


def read_state_dict(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Reads the tensors of a PyTorch checkpoint as NumPy arrays.

    Both published forms are known: the plain state dict of a backbone, and the
    full checkpoint `{"epoch", "model", "optimizer"}`, whose keys under "model"
    start with "module."; and so are those of others, with the state dict under
    a key of `CONTAINERS`. Of several the first is taken, and a warning says so.
    Needs PyTorch, under any Keras backend. Nothing but
    tensors and plain containers is unpickled (`weights_only`); the one name
    that the published checkpoints hold besides becomes a function that refuses
    to be called.

    Args:
        path: a `.pth` file.

    Returns:
        Dictionary from key to array, without the prefix "module."; the keys of
        a full checkpoint start with "backbone.", "projector.",
        "maps_projector." and "classifier.".

    Raises:
        FileNotFoundError: if there is no such file.
        ImportError: if PyTorch is not installed.
        ValueError: if the file is cut short, is no checkpoint, or holds
            anything but tensors.
    """
    torch = _import_torch()
    path = pathlib.Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no checkpoint {str(path)!r}.")
    # Settings of a run, beside the weights; a namespace runs nothing.
    allowed = [(_refuse, _HARMLESS_GLOBAL), argparse.Namespace]
    try:
        with torch.serialization.safe_globals(allowed):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(_of_others(path) or _refusal(torch, path)) from error
    except (RuntimeError, EOFError, OSError, KeyError, IndexError) as error:
        raise ValueError(
            _of_others(path)
            or f"{str(path)!r} is cut short or no PyTorch checkpoint. Remove "
            "it, with its .sha256 if there is one, and download or copy it "
            "again. "
            f"PyTorch says: {str(error).splitlines()[:1]}"
        ) from error
    return _arrays(content, path)


def write_state_dict(
    state_dict: Mapping[str, np.ndarray],
    path: str | os.PathLike,
    *,
    full: bool = False,
) -> None:
    """Writes arrays as a PyTorch checkpoint.

    The file appears when it is complete; an older one is replaced.

    Args:
        state_dict: arrays by key, in order.
        path: the file to write.
        full: whether to write the form of the full checkpoints, with the
            prefix "module." and without an optimizer's state.

    Raises:
        ImportError: if PyTorch is not installed.
    """
    torch = _import_torch()
    path = pathlib.Path(path)
    tensors = {
        (_FULL_PREFIX if full else "") + key: torch.from_numpy(np.array(value))
        for key, value in state_dict.items()
    }
    content = {"epoch": 0, "model": tensors} if full else tensors
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(
        dir=path.parent, prefix=f".{path.name}-"
    ) as folder:
        complete = pathlib.Path(folder, path.name)
        torch.save(content, complete)
        complete.replace(path)


def _arrays(content: Any, path: pathlib.Path) -> dict[str, np.ndarray]:
    content = _state_dict_in(content, path)
    if not isinstance(content, Mapping) or not content:
        raise ValueError(
            f"{str(path)!r} holds no state dict, but a "
            f"{type(content).__name__}."
        )
    others = [
        key
        for key, value in content.items()
        if not (isinstance(key, str) and hasattr(value, "detach"))
    ]
    if others:
        raise ValueError(
            f"{str(path)!r} is neither a state dict nor has one under one of "
            f"{', '.join(CONTAINERS)}: under {others} it holds no tensors. "
            "Save its state dict alone."
        )
    arrays = {}
    for key, value in content.items():
        key = key.removeprefix(_FULL_PREFIX)
        if key in arrays:
            raise ValueError(
                f"{str(path)!r} holds {key!r} twice, with and without the "
                f"prefix {_FULL_PREFIX!r}."
            )
        if value.is_floating_point():
            value = value.float()  # NumPy has no bfloat16
        arrays[key] = value.detach().numpy()
    return arrays


def _state_dict_in(content: Any, path: pathlib.Path) -> Any:
    """What is under the first of the known keys, and so on inwards."""
    found = [
        key
        for key in CONTAINERS
        if isinstance(content, Mapping)
        and isinstance(content.get(key), Mapping)
    ]
    if not found:
        return content
    if len(found) > 1:
        warn(
            f"{str(path)!r} holds {len(found)} networks, "
            f"{', '.join(map(repr, found))}: {found[0]!r} is taken. Save "
            "another's state dict alone to load that."
        )
    return _state_dict_in(content[found[0]], path)


def _of_others(path: pathlib.Path) -> str | None:
    """What to do with a file that has the name of another kind."""
    advice = _OF_OTHERS.get(path.suffix.lower())
    if advice is None:
        return None
    return (
        f"{str(path)!r} could not be read as a PyTorch checkpoint, and its "
        f"name is that of another kind of file. {advice}."
    )


def _refusal(torch: Any, path: pathlib.Path) -> str:
    """Says why a file was not unpickled."""
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # older files; it is only for the message
        names = []
    names = [name for name in names if name != _HARMLESS_GLOBAL]
    if not names:
        return (
            f"{str(path)!r} is cut short, no PyTorch checkpoint, or one that "
            "holds more than tensors; it was not loaded."
        )
    return (
        f"{str(path)!r} was not loaded, for it would run code: besides tensors "
        f"it names {', '.join(names)}. Load it where you trust it, and save "
        "its state dict alone."
    )


def _refuse(*_: Any, **__: Any) -> NoReturn:
    raise pickle.UnpicklingError(f"{_HARMLESS_GLOBAL} must not be called.")


def _import_torch() -> Any:
    check_torch()
    import torch

    return torch
