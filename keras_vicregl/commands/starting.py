"""Keras, imported with the backend that a command asks for."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import pathlib
import re
import sys
import tempfile
from collections.abc import Iterator

from keras_vicregl._installed import missing
from keras_vicregl.commands.problems import UsageError

BACKENDS = ("tensorflow", "jax", "torch")
# What registers classes and conveniences, as `import keras_vicregl` does.
_PACKAGES = ("checkpoints", "recipes")
# Lines that TensorFlow and JAX print before they can be told not to.
_NOISE = re.compile(
    r"^([IW]\d{4} |WARNING: All log messages before absl|"
    r"To enable the following instructions|"
    r"W\d{4} .*torchvision is not installed|"
    r"E\d{4} .*(oneDNN supports|cuInit|cuda_(dnn|fft|blas)|"
    r"computation_placer))"
)


def start(
    backend: str | None, *, torch: bool = False, tensorflow: bool = True
) -> str:
    """Imports Keras and this package, without the noise of frameworks.

    Args:
        backend: one of `BACKENDS`, or None for that of `KERAS_BACKEND`, of
            Keras' file of settings, or the first that is installed.
        torch: whether PyTorch is needed beside another backend, if it is there.
        tensorflow: whether TensorFlow is, likewise.

    Returns:
        The backend's name.

    Raises:
        UsageError: if it is none of them, or is not installed.
    """
    backend = backend or _chosen() or _first_installed()
    if backend not in BACKENDS:
        raise UsageError(
            f"the backend must be one of {', '.join(BACKENDS)}; "
            f"received {backend!r}."
        )
    if not _is_installed(backend):
        have = [name for name in BACKENDS if _is_installed(name)]
        raise UsageError(
            f"{backend} is not installed: pip install {backend}, or choose "
            f"another backend by --backend ({', '.join(have) or 'none is'} "
            "there)."
        )
    os.environ["KERAS_BACKEND"] = backend
    # TensorFlow says its errors in exceptions as well.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with quiet():
        if torch:
            # Slow after TensorFlow.
            with contextlib.suppress(ImportError):
                importlib.import_module("torch")
        importlib.import_module("keras")
        for package in _PACKAGES:
            importlib.import_module(f"keras_vicregl.{package}")
        wanted = tensorflow or backend == "tensorflow"
        if wanted and _is_installed("tensorflow"):
            # Before anything is printed, and with its GPUs hidden elsewhere.
            tf = importlib.import_module("keras_vicregl._tensorflow").tf
            tf.config.list_physical_devices()
    return backend


def _chosen() -> str | None:
    """The backend that the environment, or Keras' file of settings, names."""
    if chosen := os.environ.get("KERAS_BACKEND"):
        return chosen
    home = os.environ.get("KERAS_HOME") or pathlib.Path.home() / ".keras"
    try:
        settings = json.loads((pathlib.Path(home) / "keras.json").read_text())
    except (OSError, ValueError):
        return None
    chosen = settings.get("backend")
    # Keras writes this file by itself, with its default.
    return chosen if chosen in BACKENDS and _is_installed(chosen) else None


def _first_installed() -> str:
    for name in BACKENDS:
        if _is_installed(name):
            return name
    raise UsageError(
        "Keras has no backend here: pip install torch, jax or tensorflow."
    )


def _is_installed(package: str) -> bool:
    return not missing(package)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps back what is known to say nothing, of what goes to stderr.

    The rest is printed when the block ends, also by an error.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)
            file.seek(0)
            for line in file.read().decode(errors="replace").splitlines():
                if not _NOISE.match(line):
                    print(line, file=sys.stderr)
