"""Checks of arguments."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_vicregl._warnings import warn
from keras_vicregl.models.arguments import is_count

# Standard deviation of features over their size: of trained backbones 0.1 or
# more, of dead ones 1e-4 or less.
_HARDLY = 0.01


def count_classes(
    labels: np.ndarray, ignored: int | Sequence[int] | None = None
) -> int:
    """One more than the largest label that is not ignored."""
    if ignored is not None:
        labels = labels[~np.isin(labels, ignored)]
    return int(labels.max(initial=0)) + 1


def check_labels(labels: np.ndarray, num_classes: int, name: str) -> None:
    """Raises a ValueError unless labels are (N,) in [0, num_classes).

    Args:
        labels: Integers.
        num_classes: Number of classes.
        name: What to call the data set in the error.
    """
    if labels.ndim != 1:
        raise ValueError(
            f"labels of {name} must have the shape (N,). Received: shape "
            f"{labels.shape}"
        )
    check_range(labels, num_classes, f"labels of {name}")


def check_classes(
    train: np.ndarray, test: np.ndarray, num_classes: int | None
) -> int:
    """The number of classes of labels, or an error.

    Args:
        train: Labels of the training set.
        test: Labels of the test set.
        num_classes: Their number. None: they are those of the training set,
            and `test` has no others.

    Raises:
        ValueError: If labels are not (N,) in [0, num_classes), or `test` has
            one that cannot be learnt.
    """
    classes = number_of_classes(num_classes, train)
    check_labels(train, classes, "train")
    check_labels(test, classes, "test")
    if num_classes is None:
        missing = np.setdiff1d(test, train)
        if missing.size:
            raise ValueError(
                "test has classes without an example in train: "
                f"{missing[:10].tolist()}. Pass num_classes if that is right."
            )
    return classes


def check_mask_range(masks: np.ndarray, num_classes: int, name: str) -> None:
    """`check_range` of pixels, which says what to do about one of no class."""
    hint = " Is one no class? Pass it as ignore_label, here or to load."
    check_range(masks, num_classes, f"segmentation_masks of {name}", hint)


def check_range(
    labels: np.ndarray, num_classes: int, name: str, hint: str = ""
) -> None:
    """Raises a ValueError unless labels are in [0, num_classes)."""
    if not labels.size:
        return
    low, high = labels.min(), labels.max()
    if low < 0 or high >= num_classes:
        raise ValueError(
            f"{name} must be between 0 and num_classes - 1 = "
            f"{num_classes - 1}. Received: values from {low} to {high}.{hint}"
        )


def check_training(
    epochs: int, learning_rate: float, weight_decay: float
) -> None:
    """Raises a ValueError for settings with which nothing can be trained."""
    if not (hasattr(epochs, "__index__") and epochs >= 1):
        raise ValueError(
            f"epochs must be an integer of at least 1. Received: {epochs=}"
        )
    if not learning_rate > 0:
        raise ValueError(
            "learning_rate must be positive. Received: "
            f"learning_rate={learning_rate}"
        )
    if not weight_decay >= 0:
        raise ValueError(
            "weight_decay must not be negative. Received: "
            f"weight_decay={weight_decay}"
        )


def check_batch_size(batch_size: int) -> None:
    """Raises a ValueError unless there can be so many in a batch."""
    if not is_count(batch_size):
        raise ValueError(
            "batch_size must be at least 1, a whole number. Received: "
            f"batch_size={batch_size!r}"
        )


def number_of_classes(
    num_classes: int | None, labels: np.ndarray, ignored: int | None = None
) -> int:
    """The number that is given, or one more than the largest label.

    Raises:
        ValueError: If there cannot be so many classes.
    """
    if num_classes is None:
        return count_classes(labels, ignored)
    if not is_count(num_classes):
        raise ValueError(
            "num_classes must be None or at least 1, a whole number. Received: "
            f"num_classes={num_classes!r}"
        )
    return num_classes


def check_backbone(backbone: Any) -> None:
    """Raises a ValueError unless something is a model, and not its file."""
    if isinstance(backbone, type) or not hasattr(backbone, "predict_on_batch"):
        raise ValueError(
            "backbone must be a keras.Model, as keras.saving.load_model gives "
            f"it. Received: {backbone!r}"
        )


def warn_if_constant(features: np.ndarray, name: str) -> None:
    """Warns of features that hardly differ from example to example.

    Args:
        features: (N, F), or maps (N, h, w, F).
        name: What to call them.
    """
    if len(features) < 2:
        return
    rows = features.reshape(-1, features.shape[-1])
    mean = rows.mean(axis=0, dtype=np.float64)
    square = np.square(rows, dtype=np.float64).mean(axis=0)
    size = np.sqrt(square.mean())
    spread = np.sqrt(np.maximum(square - mean**2, 0).mean())
    if spread <= _HARDLY * size:
        warn(
            f"{name} hardly vary: their standard deviation is {spread:.2g}, "
            f"their size {size:.2g}. Figures that are made of them are by "
            "chance. Has the backbone collapsed, or do its batch "
            "normalisations still hold what they began with (see "
            "WarnOnSlowNorms)?"
        )


def warn_if_one_is_left(counts: np.ndarray, pixels: int) -> None:
    """Warns where a single class is left by what is left out.

    Args:
        counts: (C,) of the test pixels that count, by their class.
        pixels: Number of all of them.
    """
    classes = np.flatnonzero(counts)
    left_out = pixels - int(counts.sum())
    if len(classes) == 1 and left_out:
        warn(
            f"{left_out} of {pixels} pixels of test are left out, and all that "
            f"count are of the class {classes[0]}: figures say nothing. Are "
            "those left out a class? In masks of 0 and 255 "
            "load(mask_labels={0: 0, 255: 1}) makes one of 255, which is "
            "ignore_label otherwise."
        )


def warn_if_one_class(counts: np.ndarray, predicted: np.ndarray) -> None:
    """Warns where there are several classes, and one is predicted everywhere.

    Args:
        counts: (C,) of test examples, or pixels, by their class.
        predicted: (C,) of the same by the class that is predicted.
    """
    classes, found = np.flatnonzero(counts), np.flatnonzero(predicted)
    if len(classes) > 1 and len(found) == 1:
        warn(
            f"The single class {found[0]} is predicted everywhere in test, "
            f"which has {len(classes)} classes. Nothing has been learnt: do "
            "the features tell images apart, and was the training long enough?"
        )
