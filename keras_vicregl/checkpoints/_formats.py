"""Formats of exports: names, what writes them, what they need."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
from typing import Any

import keras

from keras_vicregl._installed import missing

# Backends that write a format, and the packages that each needs for it.
_WRITERS: dict[str, dict[str, tuple[str, ...]]] = {
    "saved_model": {"tensorflow": ("tensorflow",), "jax": ("tensorflow",)},
    "onnx": {
        "tensorflow": ("tensorflow", "tf2onnx"),
        "torch": ("torch", "onnx", "onnxscript"),
    },
    "keras": {"tensorflow": (), "jax": (), "torch": ()},
    "pth": {each: ("torch",) for each in ("tensorflow", "jax", "torch")},
}
FORMATS = tuple(_WRITERS)
SUFFIXES = {
    "saved_model": "",
    "onnx": ".onnx",
    "keras": ".keras",
    "pth": ".pth",
}

# Run where the backend cannot write the format itself.
_CONVERSION = """
import importlib, json, sys, keras
from keras_vicregl.checkpoints import export
source, target, arguments, *modules = sys.argv[1:]
for module in modules:
    importlib.import_module(module)
export(keras.saving.load_model(source), target, **json.loads(arguments))
"""


def format_of(path: pathlib.Path, format: str | None) -> str:
    """The format that is asked for, or that the name of a file says.

    Raises:
        ValueError: if there is no such format, or the name says another.
    """
    if format is None:
        suffix = path.suffix
        if suffix[1:].isdigit():  # as in resnet50_alpha0.9
            suffix = ""
        names = {suffix: name for name, suffix in SUFFIXES.items()}
        format = names.get(suffix, suffix)
    if format not in FORMATS:
        raise ValueError(
            f"`format` must be one of {FORMATS}, or None with a path that ends "
            f"in .onnx, .keras, .pth or nothing. Received: format={format!r}, "
            f"path={str(path)!r}"
        )
    if format != "saved_model" and path.suffix != SUFFIXES[format]:
        raise ValueError(
            f"`path` must end in {SUFFIXES[format]} for the format {format!r}. "
            f"Received: path={str(path)!r}"
        )
    return format


def writers_of(format: str) -> list[str]:
    """Backends that can write a format here, the running one first.

    Args:
        format: one of `FORMATS`.

    Returns:
        One or more names. What is not the running backend does it in a process
        of its own.

    Raises:
        ImportError: if there is none, for want of packages, which it names.
    """
    lacking = _lacking(format)
    able = [backend for backend, packages in lacking.items() if not packages]
    if able:
        return able
    # What the running backend lacks, or else whoever lacks the fewest.
    ways = list(dict.fromkeys(map(tuple, lacking.values())))
    if keras.backend.backend() not in lacking:
        ways.sort(key=len)
    others = [each for each in FORMATS if not all(_lacking(each).values())]
    raise ImportError(
        f"The format {format!r} needs "
        f"{', or else '.join(' and '.join(way) for way in ways)}, not "
        f"installed here: pip install {' '.join(ways[0])}. What can be written "
        f"without is {', '.join(map(repr, others))}."
    )


def _lacking(format: str) -> dict[str, list[str]]:
    """Packages that are missing, by backend, with the running one first."""
    running = keras.backend.backend()
    writers = sorted(_WRITERS[format], key=lambda backend: backend != running)
    return {each: missing(*_WRITERS[format][each]) for each in writers}


def write_elsewhere(
    backend: str,
    backbone: keras.Model,
    path: pathlib.Path,
    format: str,
    settings: dict[str, Any],
) -> None:
    """Has a process of another backend write what this one cannot.

    Raises:
        RuntimeError: if it fails; with what it said.
    """
    saved = path.with_name("intermediate.keras")
    backbone.save(saved)
    result = subprocess.run(
        [
            sys.executable,
            "-c",
            _CONVERSION,
            str(saved),
            str(path),
            json.dumps({"format": format, **settings}),
            *_modules_of_layers(backbone),
        ],
        env={
            **os.environ,
            "KERAS_BACKEND": backend,
            # This process may have most of their memory.
            "CUDA_VISIBLE_DEVICES": "-1",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        raise RuntimeError(
            f"The export in a process of {backend} failed. It said:\n"
            + result.stderr[-2000:]
        )


def _modules_of_layers(model: keras.Model) -> list[str]:
    """Modules whose import registers the classes of a model's layers."""
    names = {type(layer).__module__ for layer in model._flatten_layers()}
    return sorted(
        name
        for name in names
        if name.split(".")[0] not in ("keras", "__main__")
    )
