"""Schedules against their formulas, at the points that the paper gives."""

import math

import keras
import numpy as np
import pytest

from keras_vicregl.optimizers import WarmupPolynomial, warmup_cosine


def test_the_rate_rises_from_zero_and_falls_along_a_cosine():
    schedule = warmup_cosine(0.3, 512, steps_per_epoch=10, epochs=100)
    peak = 0.3 * 512 / 256

    def expected(step):
        if step < 100:
            return peak * step / 100
        cosine = (1 + math.cos(math.pi * (step - 100) / 900)) / 2
        return peak * (0.001 + 0.999 * cosine)

    for step in (0, 1, 99, 100, 101, 550, 999, 1000):
        rate = float(schedule(step))
        # float32: a step of 2.4e-7 of the peak.
        np.testing.assert_allclose(rate, expected(step), 1e-5, 1e-7)
    assert float(schedule(5000)) == float(schedule(1000))


def test_without_warm_up_it_starts_at_the_peak():
    schedule = warmup_cosine(0.1, 128, 10, epochs=3, warmup_epochs=0)
    rates = [float(schedule(step)) for step in (0, 15, 30)]
    np.testing.assert_allclose(rates, [0.05, 0.0250250, 0.00005], rtol=1e-5)


def test_epochs_need_not_be_whole():
    schedule = warmup_cosine(
        0.256, 256, steps_per_epoch=3, epochs=1.5, warmup_epochs=0.5
    )
    assert schedule.get_config()["warmup_steps"] == 2  # of 1.5, rounded
    assert schedule.get_config()["decay_steps"] == 2  # of 4.5, rounded, less 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 10}, "of 10.0 epochs does not fit into a training of 10"),
        ({"warmup_epochs": -1}, "from 0 to less than `epochs`"),
        ({"batch_size": 0}, "`batch_size` must be positive; received 0"),
        ({"steps_per_epoch": 0}, "`steps_per_epoch` must be positive"),
        ({"base_learning_rate": -0.1}, "`base_learning_rate` must be positive"),
    ],
)
def test_numbers_out_of_range_are_refused(changes, message):
    arguments = {
        "base_learning_rate": 0.1,
        "batch_size": 256,
        "steps_per_epoch": 10,
        "epochs": 100,
    }
    with pytest.raises(ValueError, match=message):
        warmup_cosine(**{**arguments, **changes})


@pytest.mark.parametrize(
    ("power", "end", "warmup"), [(0.9, 1e-4, 0), (1.0, 0.0, 1500), (2, 0.1, 7)]
)
def test_warmup_times_polynomial(power, end, warmup):
    steps, peak = 40_000, 0.2
    schedule = WarmupPolynomial(peak, steps, power, end, warmup)
    reloaded = WarmupPolynomial.from_config(schedule.get_config())

    def expected(step):
        rate = end + (peak - end) * (1 - step / steps) ** power
        return rate * min(step / warmup, 1) if warmup else rate

    for step in (0, 1, 6, 7, 8, 750, 1499, 1500, 20_000, 39_999, steps):
        # float32, whose 1 - step / steps is exact to 6e-8.
        for each in (schedule, reloaded):
            np.testing.assert_allclose(
                float(each(step)), expected(step), 1e-5, 1e-7
            )
    assert float(schedule(2 * steps)) == float(schedule(steps))


def test_warmup_polynomial_survives_saving():
    schedule = WarmupPolynomial(0.2, 100, 0.9, 0.01, 10)
    optimizer = keras.optimizers.SGD(schedule)
    config = keras.optimizers.serialize(optimizer)
    reloaded = keras.optimizers.deserialize(config)
    assert reloaded._learning_rate.get_config() == schedule.get_config()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"peak": 0}, "`peak` must be positive; received 0"),
        ({"steps": 0}, "`steps` must be positive"),
        ({"power": -1}, "`power` must be positive"),
        ({"end": 2.0}, "`end` must be between 0 and peak=1.0; received 2.0"),
        ({"warmup_steps": 10}, "less than steps=10; received 10"),
    ],
)
def test_polynomials_that_cannot_be(arguments, message):
    with pytest.raises(ValueError, match=message):
        WarmupPolynomial(**{"peak": 1.0, "steps": 10, **arguments})
