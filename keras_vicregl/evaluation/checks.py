"""Checks of arguments."""

import numpy as np


def count_classes(labels: np.ndarray, ignored: int | None = None) -> int:
    """One more than the largest label that is not ignored."""
    if ignored is not None:
        labels = labels[labels != ignored]
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
    classes = num_classes or count_classes(train)
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


def check_range(labels: np.ndarray, num_classes: int, name: str) -> None:
    """Raises a ValueError unless labels are in [0, num_classes)."""
    if not labels.size:
        return
    low, high = labels.min(), labels.max()
    if low < 0 or high >= num_classes:
        raise ValueError(
            f"{name} must be between 0 and num_classes - 1 = "
            f"{num_classes - 1}. Received: values from {low} to {high}"
        )


def check_training(
    epochs: int, learning_rate: float, weight_decay: float
) -> None:
    """Raises a ValueError for settings with which nothing can be trained."""
    if epochs < 1:
        raise ValueError(
            f"epochs must be at least 1. Received: epochs={epochs}"
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
