"""Where a training runs, and what it was started by, for its log."""

from __future__ import annotations

import pathlib
import platform
import shlex
import sys
from typing import Any

import keras

from keras_vicregl._installed import version_of
from keras_vicregl._running import PROGRAM, is_command
from keras_vicregl._version import __version__
from keras_vicregl.distribution.memory import devices

# What figures may depend on, by the names that are installed.
_PACKAGES = (
    "numpy",
    "tensorflow",
    "jax",
    "torch",
    "keras-cv",
    "tensorflow-datasets",
    "pillow",
)


def surroundings() -> dict[str, Any]:
    """Versions, devices, the commit if there is one, and the command.

    Returns:
        `"backend"`, `"keras"` (its version), `"versions"` of this package,
        Python and others that are installed, `"devices"`, `"platform"`,
        `"command"` as it was typed, and `"commit"` of the repository that the
        present folder is in, if any.

    Example:

    >>> sorted(surroundings())[:3]
    ['backend', 'command', ...]
    """
    found = {
        "backend": keras.backend.backend(),
        "keras": keras.__version__,
        "versions": {
            "keras_vicregl": __version__,
            "python": platform.python_version(),
            **{name: v for name in _PACKAGES if (v := version_of(name))},
        },
        "devices": devices(),
        "platform": platform.platform(),
        "command": _command(),
    }
    commit = commit_of(pathlib.Path.cwd())
    return {**found, "commit": commit} if commit else found


def commit_of(folder: pathlib.Path) -> str | None:
    """The commit that is checked out where a folder is, read without git.

    Args:
        folder: in a repository or not.

    Returns:
        Hexadecimal digits, or None.
    """
    try:
        for each in (folder, *folder.parents):
            if (each / ".git").exists():
                return _head(each / ".git")
    except (OSError, ValueError):
        pass  # it is no repository that we can read
    return None


def _head(git: pathlib.Path) -> str | None:
    if git.is_file():  # of a worktree: "gitdir: PATH"
        git = git.parent / git.read_text().partition(":")[2].strip()
    head = (git / "HEAD").read_text().strip()
    if not head.startswith("ref:"):
        return head
    name = head.partition(":")[2].strip()
    common = git / "commondir"
    places = [git]
    if common.exists():
        places.append(git / common.read_text().strip())
    for place in places:
        if (place / name).exists():
            return (place / name).read_text().strip()
        packed = place / "packed-refs"
        lines = packed.read_text().splitlines() if packed.exists() else ()
        for line in lines:
            digits, _, what = line.partition(" ")
            if what == name:
                return digits
    return None


def _command() -> str:
    name, *rest = sys.argv or [""]
    if is_command():
        name = pathlib.Path(name).name
        name = name if name.startswith(PROGRAM) else PROGRAM
    return f"{name} {shlex.join(rest)}"
