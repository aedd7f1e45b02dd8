"""A grid of learning rates, one of which held-out examples choose."""

from collections.abc import Mapping, Sequence

import numpy as np

from keras_vicregl.evaluation.classification.accuracy import top_k_accuracy


def as_rates(learning_rate: float | Sequence[float]) -> tuple[float, ...]:
    """The rates of a grid, or the one that is given.

    Raises:
        ValueError: If there is none, or one of them twice.
    """
    try:
        rates = tuple(float(rate) for rate in np.atleast_1d(learning_rate))
    except (TypeError, ValueError):
        rates = ()
    if not rates or len(set(rates)) < len(rates):
        raise ValueError(
            "learning_rate must be a number or a sequence of different "
            f"numbers. Received: learning_rate={learning_rate!r}"
        )
    return rates


def hold_out(
    count: int, fraction: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Examples to train on, and examples to choose by.

    Args:
        count: Number of all.
        fraction: Share of those to choose by, rounded to whole examples.
        seed: Of the split, which is random.

    Returns:
        Their indices, sorted, without any in common.

    Raises:
        ValueError: If either would be empty.
    """
    held = round(fraction * count) if 0 < fraction < 1 else 0
    if not 0 < held < count:
        raise ValueError(
            "validation_fraction must be between 0 and 1 and leave examples to "
            f"train on and to choose a learning rate by, of {count}. Received: "
            f"validation_fraction={fraction}"
        )
    # A stream of its own: the training's must not depend on the split.
    order = np.random.default_rng((seed, 1)).permutation(count)
    return np.sort(order[held:]), np.sort(order[:held])


def choose_rate(
    scores: np.ndarray, labels: np.ndarray, rates: Sequence[float]
) -> tuple[float, Mapping[str, float]]:
    """The rate of the most accurate head; of equals, the smallest.

    Args:
        scores: (N, rates, classes), of held-out examples.
        labels: (N,).
        rates: One a head.

    Returns:
        It, and `"learning_rate"` and `"validation_top1_{rate}"` of all rates,
        NaN of those whose scores are not finite.

    Raises:
        ValueError: If none has finite scores.
    """
    finite = np.isfinite(scores).all(axis=(0, 2))
    if not finite.any():
        raise ValueError(
            "The linear classifier diverged at every learning rate. Lower "
            f"them. Received: learning_rate={tuple(rates)}"
        )
    accuracies = {
        rate: top_k_accuracy(scores[:, head], labels, 1)
        if finite[head]
        else np.nan
        for head, rate in enumerate(rates)
    }
    best = max(
        (rate for rate, fine in zip(rates, finite, strict=True) if fine),
        key=lambda rate: (accuracies[rate], -rate),
    )
    return best, {
        "learning_rate": best,
        **{f"validation_top1_{rate}": accuracies[rate] for rate in rates},
    }
