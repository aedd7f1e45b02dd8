"""The learning rate of any optimizer."""

from __future__ import annotations

import keras


def learning_rate_of(optimizer: keras.optimizers.Optimizer) -> float | None:
    """The present learning rate, or None where there are several.

    Args:
        optimizer: of Keras; its `MultiOptimizer` has one rate for each of its
            optimizers.

    Example:

    >>> learning_rate_of(keras.optimizers.SGD(0.5))
    0.5
    """
    try:
        rate = optimizer.learning_rate
    except AttributeError:
        return None
    return float(keras.ops.convert_to_numpy(rate))
