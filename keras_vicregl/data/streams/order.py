"""The seeds and the order of an epoch, with NumPy alone.

What feeds a model from tf.data and what feeds it without TensorFlow take them
from here, and so give it the same batches. The numbers are those of
`views._random`, which no version of any library changes.
"""

from __future__ import annotations

import numpy as np

from keras_vicregl.views.drawing import stateless

_STREAMS = np.array(
    [stateless.stream_name("order"), stateless.stream_name("views")], "uint64"
)


def epoch_seeds(seed: int, epoch: int) -> np.ndarray:
    """Seeds of an epoch's order and of its views, (2,) int64."""
    keys = stateless.example_keys(np.array([[seed, epoch]], "int64"))
    return stateless.fold_all(keys, _STREAMS)[0].view("int64")


def shuffled(count: int, order_seed: int) -> np.ndarray:
    """The numbers below `count` in an order of the seed's, (count,) int64."""
    seeds = np.empty((count, 2), "int64")
    seeds[:, 0], seeds[:, 1] = order_seed, np.arange(count)
    # No two keys are the same: each step of mixing can be undone.
    return np.argsort(stateless.example_keys(seeds)).astype("int64")
