"""Whatever there is to say, a line of it fits."""

import math

import pytest

from keras_vicregl.training.progress.line import (
    LONGEST,
    Seen,
    duration,
    line,
    number,
)
from keras_vicregl.training.progress.speed import Rates

TERMS = {
    "loss": 27.1503,
    **{"inv": 2.1262, "var": 19.738, "cov": 0.0722},
    **{"local_inv": 7.6997, "local_var": 34.8359, "local_cov": 0.2562},
}
SEEN = Seen(
    epoch=3,
    epochs=60,
    step=120,
    steps=420,
    logs=TERMS,
    rates=Rates(412.3, "images", 0.031),
    peak=14_230_000_000,
    left=7500.0,
)


def test_a_step_says_loss_terms_speed_and_time_left():
    text, form = line(SEEN)
    assert text == (
        "3/60 120/420 loss 27.2 inv 2.13/7.70 var 19.7/34.8 cov 0.0722/0.256 "
        "412 img/s wait 3% 2h05m left"
    )
    assert len(text) <= LONGEST
    # The next line begins with the form of this one.
    assert line(SEEN, form=form) == (text, form)


def test_an_epoch_says_what_was_found_at_its_end():
    logs = {**TERMS, "knn_top1": 0.4123, "val_loss": 28.0}
    seen = SEEN._replace(
        step=None, logs=logs, figures=("val_loss", "knn_top1"), peak=None
    )
    text, _ = line(seen, 200)
    assert text == (
        "epoch 3/60 loss 27.15 val_loss 28.00 knn_top1 0.4123 inv 2.126/7.700 "
        "var 19.74/34.84 cov 0.07220/0.2562 412 images/s waited 3% 2h05m left"
    )


def test_where_there_is_room_it_is_said_in_words():
    text, form = line(SEEN, 200)
    assert form == 0
    assert text.startswith("epoch 3/60 step 120/420 loss 27.15 inv 2.126/7.700")
    assert text.endswith("412 images/s waited 3% 14.2 GB 2h05m left")


def test_what_is_not_known_is_not_said():
    assert line(Seen(1, 2, 0))[0] == "epoch 1/2 step 0"
    steps = Seen(1, 2, logs={"loss": 0.5}, rates=Rates(3.25, "steps", None))
    assert line(steps)[0] == "epoch 1/2 loss 0.5000 3.25 steps/s"


@pytest.mark.parametrize("width", [20, 40, 79, LONGEST])
@pytest.mark.parametrize(
    "value", [-1.2345e-300, 9.87654e300, math.nan, -math.inf, 99999.9, 0.0]
)
def test_no_line_is_longer_than_it_may_be(value, width):
    seen = Seen(
        epoch=1_234_567,
        epochs=1_234_567,
        step=1_234_567,
        steps=1_234_567,
        logs={**dict.fromkeys(TERMS, value), "segmentation_mean_iou": value},
        figures=("segmentation_mean_iou",),
        rates=Rates(1e12, "images", 1.0),
        peak=10**15,
        left=1e9,
    )
    for each in (seen, seen._replace(step=None), seen._replace(rates=None)):
        text, _ = line(each, width)
        assert len(text) <= width
        assert text.startswith("1234567/1234567")


def test_in_a_narrow_terminal_loss_and_time_left_are_what_stays():
    assert line(SEEN, 40)[0] == "3/60 120/420 loss 27.2 412/s 2h05m left"
    assert line(SEEN, 25)[0] == "3/60 120/420 loss 27.2"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (27.1503, "27.15"),
        (0.00012345, "1.234e-4"),
        (9.99999, "10.000"),
        (123456.0, "1.235e5"),
        (-2.5, "-2.500"),
        (math.nan, "nan"),
        (math.inf, "inf"),
        (0.0, "0"),
    ],
)
def test_numbers_have_four_digits(value, text):
    assert number(value, 4) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (59.4, "59s"), (59.6, "1m00s"), (3599.9, "1h00m")],
)
def test_durations_have_two_units(seconds, text):
    assert duration(seconds) == text
