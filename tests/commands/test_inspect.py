"""What is said of a run is what its logs hold."""

import datetime
import json
import math

import pytest

from keras_vicregl.commands.inspect import curve
from keras_vicregl.commands.main import main


def write(folder, name, rows):
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))


def row(epoch, loss, std=0.04, corr=0.1):
    values = {"loss": loss, "repr_std": std, "repr_corr": corr}
    return {"epoch": epoch, "step": 5 * epoch, **values}


def event(name, **what):
    now = datetime.datetime.now(datetime.timezone.utc)
    before = now - datetime.timedelta(minutes=90)
    return {"time": before.isoformat(timespec="seconds"), "event": name, **what}


@pytest.fixture
def run(tmp_path):
    (tmp_path / "config.json").write_text(
        json.dumps({"recipe": "scenes", "epochs": 8, "data": "x", "seed": 0})
    )
    write(
        tmp_path,
        "events.jsonl",
        [
            event("started", epoch=0),
            event("epoch", seconds=100.0, images_per_second=77.0, waited=0.5),
            event("resumed", epoch=1),
            event("epoch", seconds=80.0, images_per_second=99.0, waited=0.3),
            event("failed", reason="OSError: disk"),
        ],
    )
    rows = [row(1, 3.0), row(2, 1.0), row(3, None), row(4, 2.0, 0.001, 0.7)]
    write(tmp_path, "epochs.jsonl", rows)
    return tmp_path


def test_state_curves_and_what_to_look_at(run, capsys):
    assert main(["inspect", str(run)]) == 0
    said = capsys.readouterr().out
    lines = said.splitlines()
    assert lines[0] == "recipe scenes, data x, epochs 8"
    assert lines[1].startswith("4 of 8 epochs; it failed 1 h 30 min ago")
    assert lines[2] == "reason: OSError: disk"
    assert lines[3] == "3 min of training, 99 images a second, resumed once"
    assert f"{'loss':9} {'3':>9} █▁ ▅ {'2':>9}" in lines
    for note in (
        "repr_std has fallen from 0.04 to 0.001",
        "repr_corr is 0.7",
        "not finite in some epochs",
        "30% of the time the step waited",
    ):
        assert note in said


def test_numbers_are_said_as_people_do(tmp_path, capsys):
    told = [event("resumed")] * 2 + [event("changed"), event("left out")]
    write(tmp_path, "events.jsonl", told)
    write(tmp_path, "epochs.jsonl", [row(1, 3.0)])
    assert main(["inspect", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "1 epoch; it left a batch out" in said
    assert "resumed 2 times" in said
    assert "changed on the way, once." in said
    assert "1 batch was left out" in said


def test_reasons_are_those_of_the_command(tmp_path, capsys):
    reason = (
        "ValueError: ..., pass `allow_changes=True` to go on with what is now"
    )
    write(tmp_path, "events.jsonl", [event("failed", reason=reason)])
    assert main(["inspect", str(tmp_path)]) == 0
    assert "give --allow-changes to go on" in capsys.readouterr().out


def test_a_healthy_run_gives_no_notes(tmp_path, capsys):
    write(tmp_path, "events.jsonl", [event("finished")])
    write(tmp_path, "epochs.jsonl", [row(1, 3.0), row(2, 2.0)])
    assert main(["inspect", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "2 epochs; it was done 1 h 30 min ago" in said
    assert "!" not in said


def test_a_run_in_its_first_epoch(tmp_path, capsys):
    write(tmp_path, "events.jsonl", [event("started")])
    write(tmp_path, "steps.jsonl", [{"epoch": 1, "step": 50, "loss": 2.5}])
    assert main(["inspect", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "No epoch is done yet." in said
    assert "step 50: loss 2.5" in said


def test_what_is_no_run(tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        main(["inspect", str(tmp_path)])
    assert end.value.code == 2
    assert "is no run: it has no events.jsonl" in capsys.readouterr().err


def test_curves():
    assert curve([1.0, 1.0]) == "▁▁"
    assert curve([0.0, math.nan, 7.0]) == "▁ █"
    assert curve([math.nan]) == " "
    # 80 values in 40 places: means of two, from 0.5 to 78.5.
    long = curve([float(i) for i in range(80)])
    assert (len(long), long[0], long[-1]) == (40, "▁", "█")
    assert list(long) == sorted(long)
