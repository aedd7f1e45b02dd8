"""Double precision, which JAX has to be asked for."""

import contextlib

import keras
import pytest


@pytest.fixture
def float64():
    """Variables and learning rates of a test are of double precision."""
    context = contextlib.nullcontext()
    if keras.backend.backend() == "jax":
        import jax

        context = jax.enable_x64(True)
    before = keras.config.floatx()
    keras.config.set_floatx("float64")
    with context:
        yield
    keras.config.set_floatx(before)
