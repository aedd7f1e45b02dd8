"""Warm-up and cosine, at the points that the paper gives."""

import math

import numpy as np
import pytest

from keras_vicregl.optimizers import warmup_cosine


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
