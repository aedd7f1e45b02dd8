"""A few of the labels, for semi-supervised evaluation."""

import numpy as np


def label_subset(
    labels: np.ndarray, fraction: float, seed: int = 0
) -> np.ndarray:
    """Indices of a fraction of the examples, with classes as equal as can be.

    Every class gets the same number of examples, give or take one, but for
    those that have fewer: these are taken whole, and the others get more. The
    choice depends on labels, seed and fraction alone, and of one seed a smaller
    subset is part of every larger one: 1 % of 10 %.

    Args:
        labels: (N,) integers.
        fraction: In (0, 1]; of all N examples, rounded to whole ones.
        seed: A non-negative integer.

    Returns:
        (round(fraction * N),) int64, sorted.

    Raises:
        ValueError: If labels are not integers of shape (N,), `fraction` is
            outside of its range, or too small for an example of each class.

    Example:

    >>> label_subset(np.repeat([0, 1], [90, 10]), 0.1, seed=0).shape
    (10,)
    >>> chosen = label_subset(np.repeat([0, 1], [90, 10]), 0.1, seed=0)
    >>> int(np.sum(chosen < 90)), int(np.sum(chosen >= 90))
    (5, 5)
    """
    labels = np.asarray(labels)
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            "labels must be integers of shape (N,). Received: "
            f"{labels.dtype} of shape {labels.shape}"
        )
    if not 0 < fraction <= 1:
        raise ValueError(
            "fraction must be above 0 and at most 1. Received: "
            f"fraction={fraction}"
        )
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(len(labels))
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    _, starts, sizes = np.unique(
        labels[by_class], return_index=True, return_counts=True
    )
    count = round(fraction * len(labels))
    if count < len(sizes) or not count:
        raise ValueError(
            f"fraction={fraction} of {len(labels)} labels are {count}, fewer "
            f"than one for each of {len(sizes)} classes. Raise fraction."
        )
    # First one example of each class, then a second of each, and so on; the
    # classes in one order each time.
    round_ = np.arange(len(labels)) - np.repeat(starts, sizes)
    turn = np.repeat(rng.permutation(len(sizes)), sizes)
    return np.sort(by_class[np.lexsort((turn, round_))[:count]])
