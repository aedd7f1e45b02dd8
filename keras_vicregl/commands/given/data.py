"""Images by what is said of them: folder, split, masks, limit."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from keras_vicregl.commands.problems import UsageError

if TYPE_CHECKING:
    from keras_vicregl.data import ImageSource

SCENES = "digit_scenes"
TRAIN_SPLITS = ("train", "training")
TEST_SPLITS = ("test", "testing", "val", "valid", "validation", "dev", "eval")
# Functions of `keras_vicregl.data`: their numbers of classes, and the splits
# to train and to test on.
SEGMENTATION_SETS: dict[str, tuple[int, str, str]] = {
    "voc_segmentation": (21, "train", "val"),
    "cityscapes": (19, "train", "val"),
    "ade20k": (150, "training", "validation"),
    "camvid": (11, "train", "test"),
}


def segmentation_set(data: str) -> tuple[str, str] | None:
    """Name and folder of NAME:FOLDER, or None where it is something else."""
    name, found, folder = data.partition(":")
    return (name, folder) if found and name in SEGMENTATION_SETS else None


def chosen_data(folder: str | None, data: str | None) -> str | None:
    """What is meant by the argument FOLDER and the option --data.

    Returns:
        What `open_images` takes, or None where nothing was said.

    Raises:
        UsageError: if both are given, or FOLDER is not there.
    """
    if folder is None:
        return data
    if data is not None and data != folder:
        raise UsageError(f"FOLDER is {folder!r}, --data {data!r}: give one.")
    if folder == SCENES or segmentation_set(folder):
        return folder
    path = pathlib.Path(folder).expanduser()
    if path.is_file() and path.suffix == ".npy":
        return folder
    if path.is_file():
        raise UsageError(f"{folder!r} is a file, not a folder of images.")
    if not path.is_dir():
        raise UsageError(
            f"there is no folder {folder!r}. (A data set of TFDS goes by "
            "--data NAME.)"
        )
    return folder


def find_split(
    data: str | os.PathLike, given: str | None, usual: Sequence[str]
) -> str | None:
    """The split of a data set, as `keras_vicregl.data.load` takes it.

    Given none, it is the first of the usual ones, of a folder the first that is
    there. The word "none", a folder in which none is, or a file gives None: all
    of it.

    Args:
        data: a folder or a name.
        given: what was asked for, also several as "train+val".
        usual: `TRAIN_SPLITS` or `TEST_SPLITS`.
    """
    if given is not None:
        return None if given.lower() == "none" else given
    if known := segmentation_set(str(data)):
        _, train, test = SEGMENTATION_SETS[known[0]]
        return test if usual is TEST_SPLITS else train
    folder = pathlib.Path(data).expanduser()
    if not folder.exists() and folder.parts[1:]:
        return None  # a path, of which `load` says that it is not there
    if folder.is_file():
        return None  # a .npy file, or what `load` refuses
    if data == SCENES or not folder.is_dir():
        return usual[0]
    # Whatever their capital letters.
    found = {each.name.lower(): each.name for each in folder.glob("*/")}
    return next((found[name] for name in usual if name in found), None)


def open_images(
    data: str,
    split: str | None,
    *,
    masks: str | None = None,
    limit: int | None = None,
    options: Mapping[str, Any],
) -> ImageSource:
    """The images of a split. Of folders, what cannot be read is left out.

    Args:
        data: what `keras_vicregl.data.load` takes, or NAME:FOLDER of
            `SEGMENTATION_SETS`.
        split: of `find_split`.
        masks: folder of their masks.
        limit: images to take at the most, evenly spread.
        options: further arguments of `load`.

    Raises:
        UsageError: if there is no such thing, or nothing in it.
        ImportError: if a package is missing that it needs.
    """
    import keras_vicregl.data as sets
    from keras_vicregl.commands.given.options import as_usage

    options = dict(options)
    if is_folder(data) or segmentation_set(data):
        options.setdefault("on_error", "skip")
    if masks is not None:
        options["masks"] = masks
    with as_usage("images"):
        if known := segmentation_set(data):
            name, folder = known
            source = getattr(sets, name)(folder, split, **options)
        else:
            source = sets.load(data, split, **options)
    return limited(source, limit)


def limited(source: ImageSource, limit: int | None) -> ImageSource:
    """The source, or as many of its images, evenly spread over it.

    Raises:
        UsageError: if the limit is not positive.
    """
    import numpy as np

    from keras_vicregl.data import subset

    if limit is None:
        return source
    if limit < 1:
        raise UsageError(f"--limit must be 1 or more; received {limit}.")
    if limit >= len(source):
        return source
    return subset(source, np.arange(limit) * len(source) // limit)


def is_folder(data: str) -> bool:
    """Whether `load` takes it for a folder of images."""
    return data != SCENES and pathlib.Path(data).expanduser().is_dir()


def mask_classes(data: str) -> int | None:
    """The number of classes of its masks, where it is known by its name."""
    from keras_vicregl.data import SEGMENTATION_CLASS_NAMES

    if data == SCENES:
        return len(SEGMENTATION_CLASS_NAMES)
    known = segmentation_set(data)
    return SEGMENTATION_SETS[known[0]][0] if known else None
