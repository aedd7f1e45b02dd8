"""Variance, covariance and invariance penalties against NumPy."""

import backend_tools
import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from keras_vicregl.losses import (
    covariance_loss,
    invariance_loss,
    variance_covariance,
    variance_loss,
)

# float32 rounds to 6e-8 and the sums here have at most a few thousand terms;
# a wrong divisor (B for B - 1) would show at 1e-2.
TOLERANCE = 1e-5

# More channels than samples, where the product over samples is formed, as many
# (the boundary), and fewer.
SHAPES = ((4, 9), (6, 6), (12, 5), (2, 1), (2, 8))


def samples(seed, shape):
    rng = np.random.default_rng(seed)
    scale = rng.uniform(0.2, 1.8, size=shape[-1])
    mixing = rng.normal(size=(shape[-1], shape[-1])) / np.sqrt(shape[-1])
    mixing += np.eye(shape[-1])
    return (rng.normal(size=shape) @ mixing * scale).astype(np.float32)


def expected_penalties(x, mask=None, epsilon=1e-4):
    """Per slot of x (..., B, C), by `numpy.cov`; 0 if under two are kept."""
    slots = np.asarray(x, np.float64).reshape(-1, *x.shape[-2:])
    kept = np.ones(slots.shape[:2], bool)
    if mask is not None:
        kept = np.asarray(mask, bool).reshape(kept.shape)
    results = []
    for slot, keep in zip(slots, kept, strict=True):
        if keep.sum() < 2:
            results.append((0.0, 0.0))
            continue
        matrix = np.atleast_2d(np.cov(slot[keep], rowvar=False, ddof=1))
        variance = np.diag(matrix)
        hinge = np.maximum(0.0, 1.0 - np.sqrt(variance + epsilon))
        shared = np.sum((matrix - np.diag(variance)) ** 2)
        results.append((hinge.mean(), shared / len(matrix)))
    return np.array(results).T.reshape(2, *x.shape[:-2])


@settings(max_examples=10 if backend_tools.BACKEND == "jax" else 40)
@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.sampled_from(SHAPES),
    slots=st.sampled_from(((), (3,), (2, 3))),
    masked=st.booleans(),
    epsilon=st.sampled_from((1e-4, 1e-2)),
)
def test_per_slot(seed, shape, slots, masked, epsilon):
    x = samples(seed, (*slots, *shape))
    arrays = [x]
    if masked:
        rng = np.random.default_rng(seed)
        arrays.append((rng.random(x.shape[:-1]) < 0.6).astype(np.float32))
    actual = backend_tools.value(
        lambda *tensors: variance_covariance(*tensors, epsilon=epsilon), arrays
    )
    # The diagonal is subtracted from a sum as large: an absolute tolerance.
    np.testing.assert_allclose(
        np.stack(actual),
        expected_penalties(*arrays, epsilon=epsilon),
        rtol=TOLERANCE,
        atol=TOLERANCE,
    )


@pytest.mark.parametrize("slots", [(), (3,), (2, 3)])
@pytest.mark.parametrize("shape", SHAPES[:3])
def test_means_over_slots(slots, shape):
    x = samples(1, (*slots, *shape))
    variance, covariance = expected_penalties(x)
    np.testing.assert_allclose(
        backend_tools.value(variance_loss, [x]), variance.mean(), rtol=TOLERANCE
    )
    np.testing.assert_allclose(
        backend_tools.value(covariance_loss, [x]),
        covariance.mean(),
        rtol=TOLERANCE,
    )


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("shape", SHAPES[:3])
def test_gradient(shape, masked):
    # The slots weigh differently, in variance and in covariance.
    x = samples(2, (3, *shape))
    mask = np.ones((3, shape[0]), np.float32)
    if masked:
        mask[0, 0] = mask[1, 1:3] = 0.0
        mask[2, 1:] = 0.0  # one sample is left: no gradient
    weights = np.float32([[1.0, -2.0, 0.5], [3.0, 0.7, -1.0]])

    def function(x):
        penalties = variance_covariance(x, mask if masked else None)
        return ops.sum(ops.stack(penalties) * ops.convert_to_tensor(weights))

    _, (gradient,) = backend_tools.value_and_grad(function, [x])
    if masked:
        np.testing.assert_array_equal(gradient[mask == 0.0], 0.0)
        np.testing.assert_array_equal(gradient[2], 0.0)

    def loss(arrays):
        return np.sum(expected_penalties(arrays[0], mask) * weights)

    rng = np.random.default_rng(0)
    for _ in range(5):
        direction = rng.normal(size=x.shape)
        expected = reference.directional_derivative(loss, [x], [direction])
        error = np.sum(gradient * direction) - expected
        assert abs(error) < TOLERANCE * np.linalg.norm(gradient)


def test_both_penalties_have_the_gradients_of_their_own():
    x = samples(3, (2, 4, 6))
    for function, index in ((variance_loss, 0), (covariance_loss, 1)):
        _, (alone,) = backend_tools.value_and_grad(function, [x])
        _, (together,) = backend_tools.value_and_grad(
            lambda x, i=index: ops.mean(variance_covariance(x)[i]), [x]
        )
        assert backend_tools.relative_error(alone, together) < TOLERANCE


def test_a_common_offset_changes_nothing():
    # Centred before anything is squared: an offset of 1000 costs the digits
    # that float32 numbers of that size lack (6e-5), no more.
    x = samples(4, (8, 5))
    np.testing.assert_allclose(
        np.stack(backend_tools.value(variance_covariance, [x + 1000.0])),
        expected_penalties((x + 1000.0).astype(np.float64)),
        rtol=TOLERANCE,
        atol=TOLERANCE,
    )


def test_invariance():
    rng = np.random.default_rng(5)
    x = rng.normal(size=(3, 2, 4, 6)).astype(np.float32)
    y = rng.normal(size=(2, 4, 6)).astype(np.float32)
    value, (to_x, to_y) = backend_tools.value_and_grad(invariance_loss, [x, y])
    difference = x.astype(np.float64) - y
    np.testing.assert_allclose(value, np.mean(difference**2), rtol=TOLERANCE)
    expected = 2 * difference / difference.size
    assert backend_tools.relative_error(to_x, expected) < TOLERANCE
    assert backend_tools.relative_error(to_y, -expected.sum(0)) < TOLERANCE


def test_half_precision_is_computed_in_float32():
    # Squares of hundreds are beyond the largest float16, 65504.
    x = (300 * samples(6, (4, 3))).astype(np.float16)
    for function, index in ((variance_loss, 0), (covariance_loss, 1)):
        value = backend_tools.value(function, [x])
        assert value.dtype == np.float32
        np.testing.assert_allclose(
            value, expected_penalties(x)[index], rtol=TOLERANCE
        )
    value = backend_tools.value(invariance_loss, [x, -x])
    assert value.dtype == np.float32
    np.testing.assert_allclose(
        value, np.mean((2 * x.astype(np.float64)) ** 2), rtol=TOLERANCE
    )
