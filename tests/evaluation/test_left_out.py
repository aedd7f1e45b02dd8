"""Trainings within evaluations say what their epochs leave out, once."""

import io

import numpy as np
import pytest

from keras_vicregl.evaluation import evaluate_segmentation, show_progress
from keras_vicregl.evaluation.progress import say_once

COUNT = 5


@pytest.mark.parametrize(
    ("batch_size", "said"),
    [
        (3, "segmentation head: 2 of 5 images are left out of each epoch, oth"),
        (5, ""),
        (9, ""),  # all in one
    ],
)
def test_of_a_segmentation_head(batch_size, said):
    rng = np.random.default_rng(0)
    data = {
        "features": rng.normal(size=(COUNT, 2, 2, 3)).astype("float32"),
        "segmentation_masks": rng.integers(0, 2, (COUNT, 4, 4, 1)),
    }
    file = io.StringIO()
    for _ in range(2):
        with show_progress(file):
            evaluate_segmentation(
                None, data, data, epochs=1, batch_size=batch_size
            )
    assert file.getvalue().startswith(said)
    assert file.getvalue().count("left out") == bool(said)


def test_nothing_is_said_that_nobody_wants(capsys):
    say_once("nobody asked")
    assert capsys.readouterr() == ("", "")
