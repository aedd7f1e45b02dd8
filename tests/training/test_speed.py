"""Speeds that are known, by a clock that tests set."""

import math
import types

import pytest

from keras_vicregl.training import ProgressLine
from keras_vicregl.training.progress.speed import Speed


class Fit:
    """Calls what `fit` calls, and lets time pass.

    Args:
        order: "before" takes a batch before a step begins, as PyTorch's, and
            "in" in the step, as those of TensorFlow and JAX.
        data: seconds that a batch takes to come.
        compute: of a step; None: it is not known when it is done, as on
            accelerators that are behind.
        callbacks: what other callbacks take before a step.
    """

    def __init__(self, order="in", data=0.0, compute=1.0, callbacks=0.0):
        self.order, self.data, self.compute = order, data, compute
        self.callbacks = callbacks
        self.now = 100.0
        self.taken = (0, 0.0)
        self.identity = {"batch_size": 8, "examples": 8000}
        self.model = types.SimpleNamespace(
            steps_per_execution=1, get_metrics_result=dict
        )

    def last_taken(self):
        return self.taken

    def speed(self, steps, epochs=3):
        speed = Speed(steps, clock=lambda: self.now)
        speed.set_model(self.model)
        speed.set_params({"epochs": epochs})
        speed.begin_at(0, self)
        return speed

    def take(self):
        self.now += self.data
        self.taken = (self.taken[0] + 1, self.now)

    def epoch(self, speed, number, steps, compile_seconds=0.0, end=0.0):
        """An epoch, and what comes after its steps."""
        speed.on_epoch_begin(number)
        for step in range(steps):
            if self.order == "before":
                self.take()
            speed.on_train_batch_begin(step)
            self.now += self.callbacks
            speed.last.on_train_batch_begin(step)
            if self.order == "in":
                self.take()
            self.now += compile_seconds * (step == 0) + (self.compute or 1.0)
            if self.compute is not None:
                speed.on_train_batch_end(step)
        # What comes late.
        speed.on_train_batch_end(steps - 1)
        speed.on_epoch_end(number)
        self.now += end


def test_images_are_of_steps_after_the_first_which_compiles():
    fit = Fit(compute=0.5)
    speed = fit.speed(5)
    fit.epoch(speed, 0, 5, compile_seconds=60, end=30)
    rates = speed.rates(of_epoch=True)
    assert (rates.per_second, rates.of) == (pytest.approx(16), "images")
    # Nor is what comes between epochs in it.
    fit.epoch(speed, 1, 5)
    assert speed.rates(of_epoch=True).per_second == pytest.approx(16)
    assert speed.rates().per_second == pytest.approx(16)


def test_an_epoch_of_one_step_is_measured_from_the_second_on():
    fit = Fit(compute=0.5)
    speed = fit.speed(1)
    fit.epoch(speed, 0, 1, compile_seconds=60)
    assert speed.rates(of_epoch=True) is None
    fit.epoch(speed, 1, 1)
    assert speed.rates(of_epoch=True).per_second == pytest.approx(16)


def test_a_smaller_last_batch_counts_as_what_it_is():
    fit = Fit(compute=1.0)
    fit.identity = {"batch_size": 8, "examples": 20}
    speed = fit.speed(3)
    fit.epoch(speed, 0, 3)
    assert speed.rates(of_epoch=True).per_second == pytest.approx(12 / 2)


def test_steps_are_counted_where_batches_do_not_tell():
    fit = Fit(compute=0.25)
    speed = fit.speed(4)
    speed.begin_at(0, object())
    fit.epoch(speed, 0, 4)
    rates = speed.rates(of_epoch=True)
    assert rates == (pytest.approx(4), "steps", None)
    assert "images_per_second" not in speed.figures()


@pytest.mark.parametrize("order", ["before", "in"])
def test_waiting_is_what_data_takes_when_nothing_is_computed(order):
    fit = Fit(order, data=1.0, compute=3.0)
    speed = fit.speed(6)
    fit.epoch(speed, 0, 6, end=50)
    # Of five steps, of which one may have got its batch in the first.
    assert speed.rates(of_epoch=True).waited in (
        pytest.approx(5 / 20),
        pytest.approx(4 / 19),
    )
    fit.epoch(speed, 1, 6, end=50)
    assert speed.figures()["waited"] == pytest.approx(0.25)


def test_what_callbacks_take_is_no_waiting():
    fit = Fit("in", data=1.0, compute=2.0, callbacks=1.0)
    speed = fit.speed(6)
    fit.epoch(speed, 0, 6)
    fit.epoch(speed, 1, 6)
    assert speed.rates(of_epoch=True).waited == pytest.approx(0.25)


@pytest.mark.parametrize("order", ["before", "in"])
def test_a_device_that_still_computes_does_not_wait(order):
    fit = Fit(order, data=1.0, compute=None)
    speed = fit.speed(6)
    fit.epoch(speed, 0, 6)
    fit.epoch(speed, 1, 6)
    assert speed.rates(of_epoch=True).waited < 0.1


def test_nobody_sees_waiting_inside_an_execution_of_several_steps():
    fit = Fit(data=1.0)
    fit.model.steps_per_execution = 2
    speed = fit.speed(4)
    fit.epoch(speed, 0, 4)
    assert speed.rates().waited is None


def test_time_left_has_steps_and_ends_of_epochs():
    fit = Fit(compute=2.0)
    speed = fit.speed(5, epochs=4)
    assert speed.seconds_left() is None
    fit.epoch(speed, 0, 5, compile_seconds=60, end=7)
    assert speed.seconds_left() == pytest.approx(3 * (5 * 2 + 7))
    fit.epoch(speed, 1, 5, end=7)
    assert speed.seconds_left() == pytest.approx(2 * (5 * 2 + 7))
    assert speed.figures()["seconds_left"] == 34


def test_a_resumed_epoch_counts_from_where_it_begins():
    fit = Fit(compute=2.0)
    speed = fit.speed(10, epochs=1)
    speed.begin_at(7, fit)
    fit.epoch(speed, 0, 3)
    assert speed.reached == 10
    assert speed.rates(of_epoch=True).per_second == pytest.approx(4)
    assert speed.seconds_left() == 0


def test_old_steps_count_for_little():
    fit = Fit(compute=10.0)
    speed = fit.speed(200, epochs=2)
    fit.epoch(speed, 0, 200)
    fit.compute = 1.0
    fit.epoch(speed, 1, 200)
    assert speed.rates().per_second == pytest.approx(8 / 1, rel=0.2)


def test_validation_is_not_training():
    fit = Fit(compute=1.0)
    speed = fit.speed(4)
    speed.on_epoch_begin(0)
    for step in range(4):
        speed.on_train_batch_begin(step)
        fit.now += 1.0
        speed.on_train_batch_end(step)
    speed.on_test_begin()
    fit.now += 1000.0
    speed.on_epoch_end(0)
    assert speed.rates(of_epoch=True).per_second == pytest.approx(8)


def test_unknown_lengths_have_no_time_left():
    fit = Fit()
    speed = fit.speed(math.inf)
    fit.epoch(speed, 0, 4)
    assert speed.seconds_left() is None


@pytest.mark.parametrize("verbose", [3, -1, "yes", None, [1]])
def test_verbose_is_one_of_four(verbose):
    with pytest.raises(ValueError, match=r"`verbose` must be 'auto' or 1 .*2"):
        ProgressLine(verbose=verbose)
