"""Batches to make views of, and comparisons of views."""

import numpy as np
from keras import ops

from keras_vicregl.views import MultiView, ViewGroup

SOURCE = (96, 60)
GROUPS = [
    ViewGroup((32, 24), 2, scale=(0.3, 1.0)),
    ViewGroup(16, 1, scale=(0.1, 0.3)),
]
SIZES = [(32, 24)] * 2 + [(16, 16)]
# Only crops and flips, and pixel values as they are.
PLAIN = {
    "jitter": 0.0,
    "grayscale": 0.0,
    "mean": (0.0, 0.0, 0.0),
    "std": (1 / 255, 1 / 255, 1 / 255),
}


def make_views(*arguments, **options):
    """Without XLA, whose compilation takes most of the time here."""
    return MultiView(*arguments, **{"jit_compile": False, **options})


def to_numpy(tensor):
    return ops.convert_to_numpy(tensor)


def batch_of(count, **keys):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, *SOURCE, 3), dtype=np.uint8)
    seeds = np.stack([np.full(count, 5), np.arange(count)], 1).astype("int32")
    return {"images": images, "seeds": seeds, **keys}


def rows_of(batch, rows):
    return {key: value[rows] for key, value in batch.items()}


def flat(views):
    """Everything that a batch of views holds, as arrays."""
    arrays = {}
    for key, value in views.items():
        parts = value if isinstance(value, tuple) else (value,)
        for index, part in enumerate(parts):
            arrays[f"{key}/{index}"] = to_numpy(part)
    return arrays


def assert_same(first, second, rows=slice(None)):
    first, second = flat(first), flat(second)
    assert first.keys() == second.keys()
    for key in first:
        np.testing.assert_array_equal(first[key], second[key][rows], key)


def assert_close(first, second, rows=slice(None)):
    """Equal but for the order of sums in matmuls of other shapes."""
    first, second = flat(first), flat(second)
    assert first.keys() == second.keys()
    for key in first:
        # 1e-4 of normalised values, that is 0.006 of 255: a blur and a hue
        # near a grey value, in float32.
        np.testing.assert_allclose(
            first[key], second[key][rows], atol=1e-4, err_msg=key
        )
