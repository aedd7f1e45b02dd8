"""Processes that train together, die together, and go on."""

import json
import os
import pathlib
import signal

import forked
import keras
import numpy as np
import pytest

from keras_vicregl.training import read_rows

HERE = pathlib.Path(__file__).parent
PLANS = {
    "whole": [[None, None]],
    # The one that writes dies in the middle of an epoch; what goes on is asked
    # to stop in the next one; the rest.
    "cut": [[["step", 8], None], [None, ["wish", 9]], [None, None]],
    # Another one dies; and another number of processes goes on.
    "fewer": [[None, ["step", 14]], [None]],
    # An error of a process: the first one is whom the others ask under JAX.
    "error": [[["error", 8], None]],
}
if "ALL_TESTS" in os.environ or keras.backend.backend() == "torch":
    PLANS["alone"] = [[None]]
    PLANS["more"] = [[["step", 14]], [None, None]]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of all trainings, and how their processes ended."""
    folder = tmp_path_factory.mktemp("together")
    search = [str(HERE), str(HERE.parent / "training")]
    if path := os.environ.get("PYTHONPATH"):
        search.append(path)
    result = forked.run(
        [HERE / "together.py", folder, json.dumps(list(PLANS.items()))],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(search)},
    )
    assert result.returncode == 0, result.stderr
    print(result.stderr[-20000:])  # shown where a test fails
    return folder, json.loads(result.stdout.splitlines()[-1])


def weights(folder):
    with np.load(folder / "final.npz") as file:
        return [file[name] for name in file.files]


def test_the_whole_training(trained):
    folder, ended = trained
    assert ended["whole"][0][0] == [0, 0]
    assert len(read_rows(folder / "whole" / "epochs.jsonl")) == 3


@pytest.mark.parametrize("name", ["whole", "cut"])
def test_the_first_process_alone_says_how_it_goes(trained, name):
    first, second = (
        (trained[0] / name / f"printed-{process}.txt").read_text()
        for process in (0, 1)
    )
    assert second == ""
    lines = first.splitlines()
    resumed = [line for line in lines if line.startswith("resumed after ")]
    # Of the first epoch, and of the second.
    assert [line.split()[2] for line in resumed] == (
        ["0", "1"] if name == "cut" else []
    )
    left_out = [line for line in lines if line.startswith("2 of 74 images")]
    # By each life.
    assert len(left_out) == (3 if name == "cut" else 1)
    epochs = [line for line in lines if line not in resumed + left_out]
    for epoch, line in enumerate(epochs, 1):
        assert line.startswith(f"epoch {epoch}/3 loss ")
    assert len(epochs) == 3
    assert "images/s" in epochs[-1]


def test_the_others_end_within_a_minute_of_a_death(trained):
    _, ended = trained
    for dead, name in enumerate(("cut", "fewer")):
        codes, seconds = ended[name][0]
        assert codes[dead] == -signal.SIGKILL
        assert codes[1 - dead] != 0
        assert seconds < 60


def test_they_go_on_exactly(trained):
    """After a death, and after a wish to stop."""
    folder, ended = trained
    assert ended["cut"][-1][0] == [0, 0]
    for found, expected in zip(
        weights(folder / "cut"), weights(folder / "whole"), strict=True
    ):
        np.testing.assert_array_equal(found, expected)
    for log in ("epochs.jsonl", "steps.jsonl"):
        rows = [read_rows(folder / run / log) for run in ("cut", "whole")]
        assert rows[0] == rows[1]


def test_a_signal_to_one_stops_all(trained):
    _, ended = trained
    assert ended["cut"][1][0] == [128 + signal.SIGTERM] * 2


def test_the_others_end_within_a_minute_of_an_error(trained):
    _, ended = trained
    codes, seconds = ended["error"][0]
    assert 0 not in codes
    assert seconds < 60


@pytest.mark.parametrize("name, whole", [("fewer", "whole"), ("more", "alone")])
def test_another_number_of_processes_goes_on(trained, name, whole):
    folder, ended = trained
    if name not in ended:
        pytest.skip("with ALL_TESTS=1, or under PyTorch")
    assert set(ended[name][-1][0]) == {0}
    rows, expected = (
        read_rows(folder / run / "steps.jsonl") for run in (name, whole)
    )
    assert [row["step"] for row in rows] == [row["step"] for row in expected]
    for row, other in zip(rows, expected, strict=True):
        # The first life got to step 12. Rounding differs from there on, and
        # AdamW's quotients amplify it: after some steps there is nothing to
        # compare.
        if row["step"] <= 12:
            assert row == other
        elif row["step"] <= 14:
            for key, value in other.items():
                np.testing.assert_allclose(
                    row[key], value, 1e-4, 1e-6, err_msg=key
                )
