"""A training that is killed again and again ends as if it had not been.

What dies, and how, is in `lives.py`.
"""

import json
import pathlib
import random
import signal

import forked
import numpy as np
import pytest
from lives import EPOCHS, SAVE_FREQ, STEPS

from keras_vicregl.training import read_history, read_rows

# How often a moment may come before a life ends there: a few steps' worth.
MOMENTS = {
    "step": 6,
    "row": 4,
    "array": 200,
    "unnamed checkpoint": 3,
    "new checkpoint": 3,
}


def plans(seed=0):
    """One life for each kind of moment; then a wish to stop; then the rest."""
    rng = random.Random(seed)
    deaths = [[m, rng.randint(1, most)] for m, most in MOMENTS.items()]
    rng.shuffle(deaths)
    return [*deaths, ["wish", 2], None]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lives")
    trainings = [["whole", [None]], ["cut", plans()]]
    # Killed in the middle of the second epoch.
    trainings += [["raw", [None]], ["raw cut", [["step", STEPS + 5], None]]]
    script = pathlib.Path(__file__).with_name("lives.py")
    result = forked.run([script, folder, json.dumps(trainings)])
    assert result.returncode == 0, result.stderr
    codes = json.loads(result.stdout)
    assert codes["whole"] == codes["raw"] == [0], result.stderr
    assert codes["raw cut"] == [-signal.SIGKILL, 0], result.stderr
    return folder / "whole", folder / "cut", codes["cut"], result.stderr


def test_five_lives_are_killed_one_stops_and_the_last_ends(runs):
    _, cut, codes, errors = runs
    killed = [-signal.SIGKILL] * len(MOMENTS)
    assert codes == [*killed, 128 + signal.SIGTERM, 0], errors
    events = read_rows(cut / "events.jsonl")
    kinds = [event["event"] for event in events if event["event"] != "epoch"]
    assert kinds[0] == "started"
    assert kinds[-2:] == ["resumed", "finished"]
    assert kinds.count("stopped") == 1
    # Some lives begin in the middle of an epoch, and some with one.
    steps = {e["step"] for e in events if e["event"] == "resumed"}
    assert 0 in steps
    assert len(steps) > 1


@pytest.mark.parametrize("of_files", ["", "raw"])
def test_weights_are_those_of_the_uninterrupted_training(runs, of_files):
    """`raw`: of TIFF files of 16 bits, as they are read and changed again."""
    whole, cut, *_ = runs
    if of_files:
        whole, cut = (whole.with_name(n) for n in ("raw", "raw cut"))
    with (
        np.load(whole / "final.npz") as expected,
        np.load(cut / "final.npz") as actual,
    ):
        assert actual.files == expected.files
        for name in expected.files:
            np.testing.assert_array_equal(actual[name], expected[name])


def test_the_last_checkpoints_are_the_same_files(runs):
    whole, cut, *_ = runs
    name = f"epoch-{EPOCHS:04d}-step-{0:08d}.npz"
    expected, actual = (
        (run / "checkpoints" / name).read_bytes() for run in (whole, cut)
    )
    assert actual == expected


@pytest.mark.parametrize("name", ["epochs.jsonl", "steps.jsonl"])
def test_rows_are_neither_doubled_nor_missing_nor_different(runs, name):
    whole, cut, *_ = runs
    assert (cut / name).read_bytes() == (whole / name).read_bytes()


def test_the_uninterrupted_training_is_whole(runs):
    """Or the comparisons would prove little."""
    whole, *_ = runs
    rows = read_rows(whole / "steps.jsonl")
    assert [row["step"] for row in rows] == [
        epoch * STEPS + step for epoch in range(EPOCHS) for step in (2, 4, 6, 7)
    ]
    history = read_history(whole)
    assert len(history["loss"]) == EPOCHS
    assert len(set(history["loss"])) == EPOCHS
    # Two checkpoints: that of the end, and the one before.
    last = STEPS // SAVE_FREQ * SAVE_FREQ
    assert sorted(path.name for path in (whole / "checkpoints").iterdir()) == [
        f"epoch-{EPOCHS - 1:04d}-step-{last:08d}.npz",
        f"epoch-{EPOCHS:04d}-step-{0:08d}.npz",
    ]
