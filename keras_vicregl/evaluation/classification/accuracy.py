"""Scores of linear classifiers, and their accuracy."""

import numpy as np

from keras_vicregl.evaluation.checks import warn_if_one_class


# Whoever needs them finite checks that.
@np.errstate(over="ignore", invalid="ignore")
def linear_scores(features: np.ndarray, parameters: np.ndarray) -> np.ndarray:
    """Scores (N, C) of features (N, F).

    Args:
        features: (N, F).
        parameters: (F + 1, C): weights, and in the last row biases.
    """
    return features @ parameters[:-1] + parameters[-1]


def warn_of_scores(scores: np.ndarray, labels: np.ndarray) -> None:
    """Warns where scores (N, C) are highest for one class, of several."""
    classes = scores.shape[1]
    warn_if_one_class(
        np.bincount(labels, minlength=classes),
        np.bincount(scores.argmax(axis=1), minlength=classes),
    )


def top_k_accuracy(scores: np.ndarray, labels: np.ndarray, k: int) -> float:
    """Fraction of examples whose class is among the k with the best scores.

    Args:
        scores: (N, classes). Equal scores rank in the order of the classes;
            a score of -inf is never among the best.
        labels: (N,) integers.
        k: Number of classes that may be right.

    Returns:
        A fraction in [0, 1].
    """
    own = scores[np.arange(len(labels)), labels][:, None]
    earlier = np.arange(scores.shape[1]) < labels[:, None]
    rank = np.sum((scores > own) | ((scores == own) & earlier), axis=1)
    return float(np.mean((rank < k) & np.isfinite(own[:, 0])))
