"""Weights made from their PyTorch keys, and cheap ways to build and run.

The reference figures of the authors' release were computed with weights that
are not stored but drawn tensor by tensor, seeded by the tensor's key
(`tensor`). `goldens/NAME.keys.json` lists the keys and shapes of a published
layout, those of the PyTorch state dict. `goldens/NAME.npz` holds, for images
`rng.standard_normal((2, s, s, 3))` of s = 224 and then s = 96 pixels from one
`np.random.default_rng(seed)`, the feature maps `maps{s}`, (2, h * w, F), and
their means `pool{s}`, (2, F), in inference mode.
"""

import contextlib
import functools
import json
import math
import pathlib
import zlib

import keras
import numpy as np
from keras.src.backend.common import global_state

GOLDENS = pathlib.Path(__file__).parent / "goldens"
# Where Keras keeps variables that get their values later.
_WAITING = "uninitialized_variables"


def tensor(key, shape, seed):
    """The tensor of one state-dict key.

    Args:
        key: Key of a PyTorch state dict, with all its prefixes.
        shape: Shape in the PyTorch layout.
        seed: Seed of the whole model.

    Returns:
        A float32 array, or an int64 scalar for `num_batches_tracked`.
    """
    rng = np.random.default_rng([seed, zlib.crc32(key.encode())])
    if key.endswith("num_batches_tracked"):
        return np.zeros(shape, "int64")
    if key.endswith("running_var"):
        value = rng.uniform(0.5, 1.5, shape)
    elif key.endswith(("running_mean", "bias")):
        value = 0.1 * rng.standard_normal(shape)
    elif len(shape) == 1:
        value = rng.uniform(0.3, 0.6, shape)
    else:
        value = rng.standard_normal(shape) * math.sqrt(2 / math.prod(shape[1:]))
    return value.astype("float32")


def state_dict(shapes, seed):
    """The tensors of a whole model, from a dictionary of shapes."""
    return {key: tensor(key, shape, seed) for key, shape in shapes.items()}


def assign(layout, seed, prefix=""):
    """Gives the variables of a state-dict layout their seeded values.

    Args:
        layout: Key to `StateDictEntry`, as `state_dict_layout` gives it.
        seed: Seed of the whole model.
        prefix: What stands before the layout's keys, e.g. `"backbone."`.
    """
    for key, entry in layout.items():
        entry.assign(tensor(prefix + key, entry.shape, seed))


def published_shapes(name):
    """Keys and shapes of a published state dict, in its order."""
    shapes = json.loads((GOLDENS / f"{name}.keys.json").read_text())
    return {key: tuple(shape) for key, shape in shapes.items()}


@contextlib.contextmanager
def no_random_weights():
    """Kernels start at zero in this context.

    Drawing them takes a compilation per shape under JAX, which is most of
    the time of a test that then assigns all weights itself.
    """
    kinds = (
        keras.initializers.VarianceScaling,
        keras.initializers.RandomNormal,
    )
    originals = [kind.__call__ for kind in kinds]
    try:
        for kind in kinds:
            kind.__call__ = _zeros
        yield
    finally:
        for kind, original in zip(kinds, originals, strict=True):
            kind.__call__ = original


def _zeros(self, shape, dtype=None):
    dtype = keras.backend.standardize_dtype(dtype)
    return keras.ops.convert_to_tensor(np.zeros(shape, dtype))


@contextlib.contextmanager
def no_weights():
    """Variables made in this context have a shape but no values."""
    try:
        with keras.StatelessScope(initialize_variables=False):
            yield
    finally:
        # Or the next layer that is built, whichever, would give them values:
        # gigabytes.
        global_state.set_global_attribute(_WAITING, [])


def no_gradients():
    """No gradients are recorded in this context, which PyTorch does."""
    if keras.backend.backend() != "torch":
        return contextlib.nullcontext()
    import torch

    return torch.no_grad()


def run(model, images):
    """Calls a model in inference mode on NumPy images, gives NumPy arrays.

    Under JAX as one compiled function: one by one, each operation is
    compiled for each shape.
    """
    images = keras.ops.convert_to_tensor(images)
    if keras.backend.backend() == "jax":
        outputs, _ = _compiled(model)(
            [variable.value for variable in model.trainable_variables],
            [variable.value for variable in model.non_trainable_variables],
            images,
        )
    else:
        with no_gradients():
            outputs = model(images, training=False)
    return keras.tree.map_structure(keras.ops.convert_to_numpy, outputs)


@functools.lru_cache(maxsize=4)
def _compiled(model):
    import jax

    return jax.jit(
        functools.partial(model.stateless_call, training=False),
        # Compiling takes most of the time here, and half of it with this.
        compiler_options={
            "xla_backend_optimization_level": 0,
            "xla_llvm_disable_expensive_passes": True,
        },
    )
