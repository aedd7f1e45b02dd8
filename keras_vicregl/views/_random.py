"""Random numbers that depend on an example's own seed and nothing else.

TensorFlow's stateless operations take one seed for a whole tensor. Views need a
seed per example, so that an example gets the same views whatever batch it
falls into and whichever thread makes them. The generator here is SplitMix64
(Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA
2014), a counter put through a 64-bit mixing function, over a whole batch at
once.
"""

import functools
import zlib

import numpy as np
import tensorflow as tf

# Traced once for all layers and views: tracing costs more than computing here.
traced = functools.partial(tf.function, autograph=False, reduce_retracing=True)

_MASK = 2**64 - 1
_INCREMENT = 0x9E3779B97F4A7C15
_MULTIPLIERS = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)


@traced
def example_keys(seeds: tf.Tensor) -> tf.Tensor:
    """Keys (B,) uint64 of examples with integer seeds (B, 2)."""
    seeds = tf.bitcast(tf.cast(seeds, tf.int64), tf.uint64)
    return _mix(seeds[:, 0] + _mix(seeds[:, 1] + _uint64(_INCREMENT)))


def fold(keys: tf.Tensor, stream: str) -> tf.Tensor:
    """Keys (B,) uint64 of the stream called `stream` of the given keys (B,)."""
    name = zlib.crc32(stream.encode()) * _INCREMENT & _MASK
    return _fold(keys, _uint64(name))


@traced
def uniform(keys: tf.Tensor, count: int) -> tf.Tensor:
    """Draws (B, count) float32, uniform over the multiples of 2^-24 in [0, 1).

    Draw i of a key is the same whatever `count` is.
    """
    counters = [_INCREMENT * (index + 1) & _MASK for index in range(count)]
    # By way of NumPy: in a graph, tf.constant takes a list of numbers below and
    # above 2^63 through floating point, and rounds them.
    bits = _mix(keys[:, None] + tf.constant(np.array(counters, "uint64")))
    bits = tf.bitwise.right_shift(bits, _uint64(40))
    return tf.cast(tf.cast(bits, tf.int32), tf.float32) * 2.0**-24


@traced
def _fold(keys: tf.Tensor, name: tf.Tensor) -> tf.Tensor:
    return _mix(tf.bitwise.bitwise_xor(keys, name))


def _mix(bits: tf.Tensor) -> tf.Tensor:
    for shift, multiplier in zip((30, 27), _MULTIPLIERS, strict=True):
        bits = _xor_shift(bits, shift) * _uint64(multiplier)
    return _xor_shift(bits, 31)


def _xor_shift(bits: tf.Tensor, shift: int) -> tf.Tensor:
    shifted = tf.bitwise.right_shift(bits, _uint64(shift))
    return tf.bitwise.bitwise_xor(bits, shifted)


def _uint64(value: int) -> tf.Tensor:
    return tf.constant(value, tf.uint64)
