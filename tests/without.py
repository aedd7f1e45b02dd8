"""Processes in which packages are not installed."""

import importlib.machinery

# All that stands on it.
TENSORFLOW = ("tensorflow", "keras_cv", "tensorflow_datasets", "tf2onnx")


def hide(packages):
    """Has this process find no packages that it has not imported yet.

    A module that is None in `sys.modules` cannot be imported either, but Keras
    takes it for one that is there.

    Args:
        packages: Names as they are imported.
    """
    find = importlib.machinery.PathFinder.find_spec

    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in packages:
            return None
        return find(name, path, target)

    importlib.machinery.PathFinder.find_spec = find_spec
