"""Settings on the command line, of any function."""

import argparse
import contextlib
import json
import pathlib

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


def find_split(data, given, usual):
    """The split of a data set, as `keras_vicregl.data.load` takes it.

    Given none, it is the first of the usual ones, of a folder the first that is
    there. The word "none", or a folder in which none is, gives None: all of it.
    """
    if given is not None:
        return None if given.lower() == "none" else given
    folder = pathlib.Path(data).expanduser()
    if data == "digit_scenes" or not folder.is_dir():
        return usual[0]
    # Whatever their capital letters.
    found = {each.name.lower(): each.name for each in folder.glob("*/")}
    return next((found[name] for name in usual if name in found), None)
