"""Processes in which packages are not installed."""

import os

# All that stands on it.
TENSORFLOW = ("tensorflow", "keras_cv", "tensorflow_datasets", "tf2onnx")

# Python reads it when it begins. A module that is None in `sys.modules` cannot
# be imported either, but Keras takes it for one that is there.
_HIDING = """
import importlib.machinery

absent = {packages!r}
find = importlib.machinery.PathFinder.find_spec

def find_spec(name, path=None, target=None):
    if name.partition(".")[0] in absent:
        return None
    return find(name, path, target)

importlib.machinery.PathFinder.find_spec = find_spec
"""


def hide(packages):
    """The same for this process, which has not imported them."""
    exec(_HIDING.format(packages=tuple(packages)), {})


def environment(folder, *packages, **variables):
    """That of a process, and of those it starts, without some packages.

    Args:
        folder: Where a file is written for it.
        *packages: Names as they are imported.
        **variables: Further ones of the environment.

    Returns:
        A dictionary for `subprocess`.
    """
    text = _HIDING.format(packages=packages)
    (folder / "sitecustomize.py").write_text(text)
    path = [str(folder), os.environ.get("PYTHONPATH", "")]
    path = os.pathsep.join(filter(None, path))
    return {**os.environ, "PYTHONPATH": path, **variables}
