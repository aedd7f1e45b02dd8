"""Confusion matrix and intersection over union."""

import numpy as np
from numpy.typing import ArrayLike

from keras_vicregl.evaluation.checks import check_range


def confusion_matrix(
    labels: ArrayLike,
    predictions: ArrayLike,
    num_classes: int,
    ignore_label: int | None = 255,
) -> np.ndarray:
    """Counts pixels by class and predicted class.

    Args:
        labels: Integers in [0, num_classes) or `ignore_label`, any shape.
        predictions: Integers in [0, num_classes), the same shape.
        num_classes: Number of classes.
        ignore_label: Pixels with this label are not counted. None counts all.

    Returns:
        (num_classes, num_classes) int64: entry (i, j) is the number of pixels
        of class i that were predicted as j. Matrices of parts of a data set add
        up to that of the whole.

    Raises:
        ValueError: If shapes differ or a value is out of range.

    Example:

    >>> confusion_matrix([0, 0, 1, 255], [0, 1, 1, 1], num_classes=2)
    array([[1, 1],
           [0, 1]])
    """
    labels, predictions = np.asarray(labels), np.asarray(predictions)
    if labels.shape != predictions.shape:
        raise ValueError(
            "labels and predictions must have the same shape. Received: "
            f"{labels.shape} and {predictions.shape}"
        )
    if ignore_label is not None:
        counted = labels != ignore_label
        labels, predictions = labels[counted], predictions[counted]
    check_range(labels, num_classes, "labels")
    check_range(predictions, num_classes, "predictions")
    pairs = labels.astype(np.int64) * num_classes + predictions
    counts = np.bincount(pairs.ravel(), minlength=num_classes**2)
    return counts.reshape(num_classes, num_classes).astype(np.int64)


def class_iou(confusion: ArrayLike) -> np.ndarray:
    """Intersection over union of each class.

    Args:
        confusion: (C, C) as from `confusion_matrix`.

    Returns:
        (C,) float64: hits / (labelled + predicted - hits); NaN for a class that
        is neither labelled nor predicted.

    Example:

    >>> class_iou([[2, 1, 0], [1, 0, 0], [0, 0, 0]])
    array([0.5, 0. , nan])
    """
    confusion = np.asarray(confusion)
    hits = np.diag(confusion)
    union = confusion.sum(axis=0) + confusion.sum(axis=1) - hits
    return np.where(union > 0, hits / np.maximum(union, 1), np.nan)


def mean_iou(confusion: ArrayLike) -> float:
    """Mean intersection over union of the classes that occur.

    Args:
        confusion: (C, C) as from `confusion_matrix`. Classes that are neither
            labelled nor predicted are left out of the mean.

    Returns:
        A fraction in [0, 1].

    Raises:
        ValueError: If the matrix is empty, that is no pixel was counted.

    Example:

    >>> mean_iou([[2, 1, 0], [1, 0, 0], [0, 0, 0]])
    0.25
    """
    if not np.any(confusion):
        raise ValueError("No pixel was counted: the confusion matrix is zero.")
    return float(np.nanmean(class_iou(confusion)))
