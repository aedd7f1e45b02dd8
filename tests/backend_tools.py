"""Gradients and compilation on whichever backend Keras runs."""

import contextlib
import functools

import keras
import numpy as np
from xla_options import knows_fusion_emitters

BACKEND = keras.backend.backend()

# The quicker way to run something once: without compilation JAX compiles each
# operation by itself.
FASTEST = BACKEND == "jax"

# Both values of a `compiled` parameter, where there are two on this backend.
MODES = (False,) if BACKEND == "torch" else (False, True)

# Compiling is nearly all the time a test takes; this makes a fifth of it.
_QUICK_COMPILATION = {"xla_backend_optimization_level": 0}
if knows_fusion_emitters():
    _QUICK_COMPILATION["xla_cpu_use_fusion_emitters"] = False


@contextlib.contextmanager
def eager_steps():
    """Under TensorFlow, steps of `fit` run without tracing, which takes longer
    than a few of them."""
    if BACKEND != "tensorflow":
        yield
        return
    import tensorflow as tf

    before = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(before)


def to_numpy(result):
    """Tensors in a structure or on their own, as NumPy arrays."""
    return keras.tree.map_structure(keras.ops.convert_to_numpy, result)


def value(fn, arrays, compiled=FASTEST):
    """`fn` of tensors made from `arrays`, as NumPy."""
    tensors = [keras.ops.convert_to_tensor(array) for array in arrays]
    return to_numpy(_compile(fn)(*tensors) if compiled else fn(*tensors))


def value_and_grad(fn, arrays, compiled=FASTEST):
    """Value and gradients of `fn`.

    Args:
        fn: Takes one tensor per array; returns a scalar, or a dictionary of
            scalars of which "loss" is differentiated.
        arrays: Floating point NumPy arrays.
        compiled: Whether to compile function and gradient with XLA
            (TensorFlow and JAX). What is compiled is kept as long as `fn` is.

    Returns:
        What `fn` returns and the list of gradients, as NumPy arrays. Where
        there is no path from an argument to the result, its gradient is zero.
    """
    step = _step(fn, compiled)
    tensors = [keras.ops.convert_to_tensor(array) for array in arrays]
    result, gradients = step(*tensors)
    return to_numpy(result), [to_numpy(gradient) for gradient in gradients]


def relative_error(actual, expected):
    """Largest absolute error over the largest absolute expected value.

    Where everything expected is zero, the error itself is returned.
    """
    actual = np.asarray(actual, np.float64)
    expected = np.asarray(expected, np.float64)
    if actual.shape != expected.shape:
        raise ValueError(f"Shapes differ: {actual.shape} and {expected.shape}.")
    scale = np.max(np.abs(expected), initial=0.0) or 1.0
    return float(np.max(np.abs(actual - expected), initial=0.0) / scale)


def _compile(fn):
    if BACKEND == "tensorflow":
        import tensorflow as tf

        return tf.function(fn, jit_compile=True, autograph=False)
    if BACKEND == "jax":
        import jax

        return jax.jit(fn, compiler_options=_QUICK_COMPILATION)
    raise ValueError("PyTorch is tested without compilation only.")


@functools.lru_cache(maxsize=8)
def _step(fn, compiled):
    def loss_of(result):
        return result["loss"] if isinstance(result, dict) else result

    def step_tensorflow(*tensors):
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch(tensors)
            result = fn(*tensors)
        return result, tape.gradient(
            loss_of(result),
            list(tensors),
            unconnected_gradients=tf.UnconnectedGradients.ZERO,
        )

    def step_jax(*tensors):
        import jax

        def loss(tensors):
            result = fn(*tensors)
            return loss_of(result), result

        (_, result), gradients = jax.value_and_grad(loss, has_aux=True)(tensors)
        return result, gradients

    def step_torch(*tensors):
        import torch

        tensors = [t.detach().clone().requires_grad_() for t in tensors]
        result = fn(*tensors)
        loss = loss_of(result)
        if not loss.requires_grad:  # no path from any argument
            return result, [torch.zeros_like(t) for t in tensors]
        gradients = torch.autograd.grad(
            loss, tensors, allow_unused=True, materialize_grads=True
        )
        return result, gradients

    step = {
        "tensorflow": step_tensorflow,
        "jax": step_jax,
        "torch": step_torch,
    }[BACKEND]
    return _compile(step) if compiled else step
