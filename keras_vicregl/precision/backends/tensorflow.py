"""TensorFlow: products of parts that no device rounds.

Its switch for TF32 is the process's and is read when a program runs, or when
XLA compiles it, so that the backbone would be slowed too. A product with a
precision of its own, XLA's, is not in TensorFlow's public interface and has no
gradient.
"""

import functools
from typing import Any

from keras import ops

from keras_vicregl._tensorflow import tf

# Operations have this in their names, those of gradients as well.
SCOPE = "full_precision"
# Sign, exponent and 7 bits after the leading one: what bfloat16 has, and TF32.
_KEPT = -(2**16)
# From 8.0 on, NVIDIA's GPUs have TF32.
_TF32 = (8, 0)


def matmul(a: Any, b: Any) -> Any:
    """See `products.matmul`."""
    with tf.name_scope(SCOPE):
        if not devices_round():
            return ops.matmul(a, b)
        # Variables are read here: custom gradients do not take them.
        return _product(tf.convert_to_tensor(a), tf.convert_to_tensor(b))


def devices_round() -> bool:
    """Whether a device that is at hand rounds factors of products."""
    if not tf.config.experimental.tensor_float_32_execution_enabled():
        return False
    return bool(tf.config.list_logical_devices("TPU")) or gpus_round()


@functools.cache
def gpus_round() -> bool:
    """Whether one of the GPUs that TensorFlow sees has TF32."""
    return any(
        details.get("compute_capability", (0, 0)) >= _TF32
        for details in map(
            tf.config.experimental.get_device_details,
            tf.config.get_visible_devices("GPU"),
        )
    )


@tf.custom_gradient
def _product(a: Any, b: Any) -> tuple[Any, Any]:
    """The product, and gradients that are such products."""

    def gradient(upstream: Any) -> tuple[Any, Any]:
        with tf.name_scope(SCOPE):
            to_a = _product(upstream, tf.linalg.matrix_transpose(b))
            to_b = _product(tf.linalg.matrix_transpose(a), upstream)
            return _summed_like(to_a, a), _summed_like(to_b, b)

    return _product_of_parts(a, b), gradient


def _product_of_parts(a: Any, b: Any) -> Any:
    """Six of the nine products of parts: the others are too small to count."""
    a, b = parts(a), parts(b)
    # From the smallest on, so that what is small is not lost.
    pairs = ((2, 0), (0, 2), (1, 1), (1, 0), (0, 1), (0, 0))
    return sum(tf.linalg.matmul(a[i], b[j]) for i, j in pairs)


def parts(x: Any) -> list[Any]:
    """Three tensors of 8 bits each, whose sum is x.

    Cut off as integers: casts to bfloat16 and back are what compilers take out.
    """
    parts, rest = [], tf.cast(x, tf.float32)
    for _ in range(2):
        bits = tf.bitwise.bitwise_and(tf.bitcast(rest, tf.int32), _KEPT)
        parts.append(tf.bitcast(bits, tf.float32))
        rest = rest - parts[-1]
    return [*parts, rest]


def _summed_like(gradient: Any, x: Any) -> Any:
    """The gradient of x, summed over the axes along which it was broadcast."""
    if gradient.shape.is_fully_defined() and gradient.shape == x.shape:
        return gradient
    _, axes = tf.raw_ops.BroadcastGradientArgs(
        s0=tf.shape(gradient)[:-2], s1=tf.shape(x)[:-2]
    )
    return tf.reshape(tf.reduce_sum(gradient, axes), tf.shape(x))
