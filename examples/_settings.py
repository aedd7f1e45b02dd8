"""Settings on the command line, of any function."""

import argparse
import contextlib
import importlib.util
import json
import os
import pathlib
import re
import sys

# Evaluations of frozen features, of `feature_evaluation` too.
ON_FEATURES = ("knn", "linear", "segmentation", "rank")
TRAIN_SPLITS = ("train", "training")
TEST_SPLITS = ("test", "testing", "val", "valid", "validation", "dev", "eval")


def setting(text):
    """A name and a value from NAME=JSON; what is no JSON is a string."""
    name, found, value = text.partition("=")
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    with contextlib.suppress(json.JSONDecodeError):
        value = json.loads(value)
    return name, value


@contextlib.contextmanager
def told():
    """Ends a script with one sentence where a package is missing.

    For what comes before anything is written: a traceback would hide it.
    """
    try:
        yield
    except Exception as error:
        # TensorFlow makes errors of its own of those within a pipeline.
        *_, said = ["", *filter(None, map(str.strip, str(error).splitlines()))]
        absent = re.search(r"No module named '(\w+)", said)
        if absent is None and not isinstance(error, ImportError):
            raise
        if absent is not None:
            said = f"{absent[0]}': pip install {absent[1].replace('_', '-')}"
        sys.exit(f"{pathlib.Path(sys.argv[0]).name}: error: {said}")


def check_installed(purpose, *packages):
    """Raises an ImportError that names the packages which are missing.

    Args:
        purpose: what they are for, as the beginning of a sentence.
        *packages: of the extra "examples", as they are imported.
    """
    found = map(importlib.util.find_spec, packages)
    pairs = zip(packages, found, strict=True)
    missing = [package for package, spec in pairs if spec is None]
    if missing:
        raise ImportError(
            f"{purpose} needs {' and '.join(missing)}, not installed here: pip "
            'install "keras-vicregl[examples]".'
        )


def default_backend():
    """That of `KERAS_BACKEND`, or the first that is installed."""
    if chosen := os.environ.get("KERAS_BACKEND"):
        return chosen
    backends = ("tensorflow", "jax", "torch")
    there = (name for name in backends if importlib.util.find_spec(name))
    return next(there, "tensorflow")


def find_split(data, given, usual):
    """The split of a data set, as `keras_vicregl.data.load` takes it.

    Given none, it is the first of the usual ones, of a folder the first that is
    there. The word "none", a folder in which none is, or a file gives None: all
    of it.
    """
    if given is not None:
        return None if given.lower() == "none" else given
    folder = pathlib.Path(data).expanduser()
    if not folder.exists() and folder.parts[1:]:
        return None  # a path, of which `load` says that it is not there
    if folder.is_file():
        return None  # a .npy file, or what `load` refuses
    if data == "digit_scenes" or not folder.is_dir():
        return usual[0]
    # Whatever their capital letters.
    found = {each.name.lower(): each.name for each in folder.glob("*/")}
    return next((found[name] for name in usual if name in found), None)
