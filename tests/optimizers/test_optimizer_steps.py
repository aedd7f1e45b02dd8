"""Steps of LARS and AdamW beside their definition in float64 NumPy."""

import keras
import numpy as np
import pytest
import references
import steps
from keras import ops

from keras_vicregl.optimizers import LARS, AdamW

SHAPES = [(3, 2), (2, 2, 3), (4,), (2, 3), ()]


def problem(steps):
    """Variables, of which the fourth is zero, and gradients of each step."""
    rng = np.random.default_rng(0)
    variables = [rng.normal(size=shape) for shape in SHAPES]
    variables[3][:] = 0
    gradients = [
        [rng.normal(size=shape) for shape in SHAPES] for _ in range(steps)
    ]
    for number in range(5):  # The zero variable stays zero for a while.
        gradients[min(number, steps - 1)][3][:] = 0
    gradients[steps // 2][0][:] = 0
    return variables, gradients


def trained(optimizer, variables, gradients, dtype="float64"):
    variables = [keras.Variable(v, dtype=dtype) for v in variables]
    steps.apply(optimizer, variables, gradients)
    return variables


def assert_equal(variables, expected, tolerance=1e-9):
    for variable, value in zip(variables, expected, strict=True):
        found = ops.convert_to_numpy(variable)
        np.testing.assert_allclose(found, value, tolerance, tolerance)


# Under TensorFlow Keras casts the betas to float64 by way of float32: 0.999 is
# wrong by 1e-8, and 1 - 0.999 by 1e-5.
ADAMW_TOLERANCE = 1e-5

LARS_ARGUMENTS = {"learning_rate": 0.3, "eta": 0.02, "weight_decay": 0.1}


def lars_reference(variables):
    return references.LARS(variables, 0.3, eta=0.02, decay=0.1)


# Of the adapted rates, 31, 60 and 100 % are below these.
@pytest.mark.parametrize("learning_rate", [0.005, 0.014, 0.3])
def test_lars_with_clipping_takes_no_longer_steps(learning_rate, float64):
    variables, gradients = problem(50)
    settings = {"eta": 0.02, "clip": True}
    expected = references.LARS(variables, learning_rate, decay=0.1, **settings)
    for gradient in gradients:
        expected.step(gradient)
    found = trained(
        LARS(learning_rate, weight_decay=0.1, **settings), variables, gradients
    )
    assert_equal(found, expected.variables)


def test_clipping_where_a_warm_up_begins(float64):
    variables, gradients = problem(1)
    found = trained(LARS(0.0, momentum=0.0, clip=True), variables, gradients)
    assert_equal(found, variables)


def test_lars_takes_the_steps_of_its_definition(float64):
    variables, gradients = problem(50)
    expected = lars_reference(variables)
    for gradient in gradients:
        expected.step(gradient)
    found = trained(LARS(**LARS_ARGUMENTS), variables, gradients)
    assert_equal(found, expected.variables)


def test_adamw_takes_the_steps_of_its_definition(float64):
    variables, gradients = problem(50)
    expected = references.AdamW(variables, 0.01, decay=0.3)
    for gradient in gradients:
        expected.step(gradient)
    found = trained(AdamW(0.01, weight_decay=0.3), variables, gradients)
    assert_equal(found, expected.variables, ADAMW_TOLERANCE)


def test_float32_steps_differ_by_rounding_only():
    # A velocity adds up ten steps, each rounded to 6e-8 of its size, over 50
    # steps: 1e-6 of the largest weight.
    variables, gradients = problem(50)
    expected = lars_reference(variables)
    optimizer = LARS(**LARS_ARGUMENTS)
    for gradient in gradients:
        expected.step(gradient)
    found = trained(optimizer, variables, gradients, "float32")
    for variable, value in zip(found, expected.variables, strict=True):
        error = np.abs(ops.convert_to_numpy(variable) - value).max()
        assert error < 1e-6 * max(np.abs(value).max(), 1)


def test_without_exclusion_vectors_are_decayed_and_adapted(float64):
    optimizer = LARS(1.0, eta=0.1, weight_decay=1.0, exclude_vectors=False)
    (found,) = trained(optimizer, [np.float64([3.0, 4.0])], [[np.zeros(2)]])
    # The gradient is the weight itself, so a tenth of it goes.
    np.testing.assert_allclose(ops.convert_to_numpy(found), [2.7, 3.6])


def test_half_precision_variables_have_their_norms_in_float32():
    # Squares of 300 are beyond float16.
    variable = keras.Variable(np.full((4, 4), 300.0), dtype="float16")
    gradient = ops.full((4, 4), 300.0, dtype="float16")
    LARS(1.0, eta=0.5, weight_decay=0.0).apply([gradient], [variable])
    np.testing.assert_array_equal(ops.convert_to_numpy(variable), 150.0)


# What every Keras optimizer does


def global_clip(gradients, limit):
    norm = np.sqrt(sum((g**2).sum() for g in gradients))
    return [g * min(1, limit / norm) for g in gradients]


CLIPPING = {
    "clipnorm": lambda gs: [
        g * min(1, 0.7 / max(np.linalg.norm(g), 1e-30)) for g in gs
    ],
    "clipvalue": lambda gs: [np.clip(g, -0.7, 0.7) for g in gs],
    "global_clipnorm": lambda gs: global_clip(gs, 0.7),
}


@pytest.mark.parametrize("argument", CLIPPING)
def test_gradients_are_clipped_before_they_are_decayed(argument, float64):
    variables, gradients = problem(3)
    expected = lars_reference(variables)
    for gradient in gradients:
        expected.step(CLIPPING[argument](gradient))
    optimizer = LARS(**LARS_ARGUMENTS, **{argument: 0.7})
    found = trained(optimizer, variables, gradients)
    # Under PyTorch Keras has the limit in float32.
    assert_equal(found, expected.variables, 1e-7)


def test_accumulated_gradients_make_one_step_with_their_mean(float64):
    variables, gradients = problem(6)
    means = [
        [(a + b) / 2 for a, b in zip(*pair, strict=True)]
        for pair in zip(gradients[::2], gradients[1::2], strict=True)
    ]
    for optimizer, expected, tolerance in (
        (
            LARS(**LARS_ARGUMENTS, gradient_accumulation_steps=2),
            lars_reference(variables),
            1e-9,
        ),
        (
            AdamW(0.01, weight_decay=0.3, gradient_accumulation_steps=2),
            references.AdamW(variables, 0.01, decay=0.3),
            ADAMW_TOLERANCE,
        ),
    ):
        for mean in means:
            expected.step(mean)
        found = trained(optimizer, variables, gradients)
        assert_equal(found, expected.variables, tolerance)


def test_weights_are_averaged_and_replaced_by_their_average(float64):
    variables, gradients = problem(4)
    expected = lars_reference(variables)
    for number, gradient in enumerate(gradients):
        expected.step(gradient)
        if number == 0:
            averages = [w.copy() for w in expected.variables]
        averages = [
            0.8 * average + 0.2 * w
            for average, w in zip(averages, expected.variables, strict=True)
        ]
    optimizer = LARS(**LARS_ARGUMENTS, use_ema=True, ema_momentum=0.8)
    found = trained(optimizer, variables, gradients)
    assert_equal(found, expected.variables)
    optimizer.finalize_variable_values(found)
    assert_equal(found, averages)


def test_a_scaled_loss_makes_the_same_step(float64):
    variables, gradients = problem(2)
    scaled = [[1024 * g for g in gradient] for gradient in gradients]
    optimizer = LARS(**LARS_ARGUMENTS, loss_scale_factor=1024.0)
    assert float(optimizer.scale_loss(ops.ones(()))) == 1024
    expected = trained(LARS(**LARS_ARGUMENTS), variables, gradients)
    found = trained(optimizer, variables, scaled)
    assert_equal(found, [ops.convert_to_numpy(v) for v in expected])


def test_a_step_whose_scaled_gradients_overflow_is_left_out():
    optimizer = keras.optimizers.LossScaleOptimizer(
        LARS(**LARS_ARGUMENTS), initial_scale=4.0
    )
    variable = keras.Variable([[1.0]])
    steps.apply(optimizer, [variable], [[[[np.inf]]], [[[4.0]]]])
    # The first only halves the scale; the second is 1 - 0.3 * 0.02.
    found = ops.convert_to_numpy(variable)
    np.testing.assert_allclose(found, [[0.994]], rtol=1e-6)
    assert int(ops.convert_to_numpy(optimizer.iterations)) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"momentum": 1.0}, r"`momentum` must be in \[0, 1\); received 1.0"),
        ({"eta": 0.0}, "`eta` must be positive; received 0.0"),
        ({"weight_decay": -1.0}, "`weight_decay` must be None or at least 0"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        LARS(**arguments)


of_torch = pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="PyTorch's own steps"
)


@of_torch
@pytest.mark.parametrize("values", [1, 7, 12])
@pytest.mark.parametrize("kind", ["lars", "adamw"])
def test_variables_are_taken_in_groups_of_any_size(
    values, kind, float64, monkeypatch
):
    from keras_vicregl.optimizers import _torch

    monkeypatch.setattr(_torch, "_TOGETHER", values)
    variables, gradients = problem(8)
    if kind == "lars":
        optimizer, expected = LARS(**LARS_ARGUMENTS), lars_reference(variables)
    else:
        optimizer = AdamW(0.1)
        expected = references.AdamW(variables, 0.1)
    for gradient in gradients:
        expected.step(gradient)
    found = trained(optimizer, variables, gradients)
    tolerance = 1e-9 if kind == "lars" else ADAMW_TOLERANCE
    assert_equal(found, expected.variables, tolerance)


@of_torch
@pytest.mark.parametrize("optimizer", [LARS(0.3), AdamW(0.1)])
def test_gradients_stay_as_they_are(optimizer):
    variables, (gradients, *_) = problem(1)
    variables = [keras.Variable(v, dtype="float32") for v in variables]
    given = [ops.convert_to_tensor(g, "float32") for g in gradients]
    before = [ops.convert_to_numpy(g).copy() for g in given]
    optimizer.apply(given, variables)
    for gradient, value in zip(given, before, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(gradient), value)


def test_norms_of_large_layers():
    # The plain sum of so many squares in float32 is off by 1e-3 on a CPU, and
    # the step with it.
    shape = (4096, 4096)
    rng = np.random.default_rng(0)
    weight = rng.standard_normal(shape, np.float32)
    slope = rng.standard_normal(shape, np.float32)
    variable = keras.Variable(weight)
    optimizer = LARS(1.0, eta=0.1, weight_decay=0.0)
    optimizer.apply([ops.convert_to_tensor(slope)], [variable])
    moved = ops.convert_to_numpy(variable).astype("float64") - weight
    rate = -np.vdot(moved, slope) / np.vdot(slope, slope.astype("float64"))
    norms = [np.linalg.norm(x.astype("float64")) for x in (weight, slope)]
    np.testing.assert_allclose(rate, 0.1 * norms[0] / norms[1], rtol=1e-5)
