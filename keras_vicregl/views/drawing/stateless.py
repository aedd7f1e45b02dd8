"""Random numbers that depend on an example's own seed and nothing else.

TensorFlow's stateless operations take one seed for a whole tensor. Views need a
seed per example, so that an example gets the same views whatever batch it
falls into and whichever thread makes them. The generator here is SplitMix64
(Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA
2014), a counter put through a 64-bit mixing function, over a whole batch at
once.

Arrays are NumPy's or TensorFlow's, and the numbers the same: views made inside
a model get theirs where TensorFlow is not installed.
"""

import zlib
from typing import Any

import numpy as np

from keras_vicregl.views.drawing.arrays import bits_of, cast, shift_right

_MASK = 2**64 - 1
_INCREMENT = 0x9E3779B97F4A7C15
_MULTIPLIERS = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)


def example_keys(seeds: Any) -> Any:
    """Keys (B,) uint64 of examples with integer seeds (B, 2)."""
    seeds = bits_of(cast(seeds, "int64"))
    return _mix(seeds[:, 0] + _mix(seeds[:, 1] + np.uint64(_INCREMENT)))


def stream_name(stream: str) -> np.uint64:
    """What `fold` mixes into keys for the stream called `stream`."""
    return np.uint64(zlib.crc32(stream.encode()) * _INCREMENT & _MASK)


def fold(keys: Any, stream: str) -> Any:
    """Keys (B,) uint64 of the stream called `stream` of the given keys (B,)."""
    return _mix(keys ^ stream_name(stream))


def fold_all(keys: Any, names: np.ndarray) -> Any:
    """Keys (B, *names.shape) of many streams at once, see `stream_name`."""
    expanded = keys[(slice(None), *[None] * names.ndim)]
    return _mix(expanded ^ names[None])


def uniform(keys: Any, count: int) -> Any:
    """Draws (..., count) float32, uniform multiples of 2^-24 in [0, 1).

    Draw i of a key is the same whatever `count` is.
    """
    # By way of NumPy: in a graph, tf.constant takes a list of numbers below and
    # above 2^63 through floating point, and rounds them.
    counters = np.array(
        [_INCREMENT * (index + 1) & _MASK for index in range(count)], "uint64"
    )
    bits = shift_right(_mix(keys[..., None] + counters), 40)
    return cast(cast(bits, "int32"), "float32") * np.float32(2.0**-24)


def _mix(bits: Any) -> Any:
    for shift, multiplier in zip((30, 27), _MULTIPLIERS, strict=True):
        bits = (bits ^ shift_right(bits, shift)) * np.uint64(multiplier)
    return bits ^ shift_right(bits, 31)
