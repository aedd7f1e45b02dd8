import keras
import numpy as np
import pytest

from keras_vicregl.models import collapse_monitors


def reference(z):
    """The definition, in float64, over the pairs d != e one by one."""
    z = np.asarray(z, "float64")
    unit = z / np.linalg.norm(z, axis=1, keepdims=True)
    standard = (z - z.mean(0)) / (z.std(0, ddof=1) + 1e-5)
    correlation = standard.T @ standard / (len(z) - 1)
    pairs = ~np.eye(z.shape[1], dtype=bool)
    return unit.std(0, ddof=1).mean(), correlation[pairs].mean()


@pytest.mark.parametrize("shape", [(2, 3), (8, 5), (5, 64)])
def test_equal_their_definition(shape):
    z = np.random.default_rng(0).normal(1.0, 2.0, shape).astype("float32")
    actual = [float(value) for value in collapse_monitors(z)]
    # float32 sums; the correlation is a difference of two of them.
    np.testing.assert_allclose(actual, reference(z), rtol=2e-5, atol=1e-6)


def test_tell_collapse_from_spread():
    rng = np.random.default_rng(0)
    point = np.ones((16, 8)) + 1e-7 * rng.normal(size=(16, 8))
    line = rng.normal(size=(16, 1)) * np.ones((1, 8))
    assert float(collapse_monitors(point)[0]) < 1e-6
    # Every channel is the same: all correlations are 1, but for the 1e-5.
    np.testing.assert_allclose(float(collapse_monitors(line)[1]), 1, atol=1e-4)


def test_half_precision_is_computed_in_float32():
    z = np.random.default_rng(0).normal(size=(6, 4)).astype("float32")
    half = keras.ops.cast(z, "float16")
    spread, _ = collapse_monitors(half)
    assert keras.backend.standardize_dtype(spread.dtype) == "float32"
    expected = reference(keras.ops.convert_to_numpy(half))[0]
    np.testing.assert_allclose(float(spread), expected, rtol=1e-5)
