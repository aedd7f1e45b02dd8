"""The ablation: what a run stores, and what the table says of stored runs."""

import argparse
import json
import pathlib

import ablation
import keras
import pytest
from backend_tools import eager_steps

from keras_vicregl.data import digit_scenes

ROOT = pathlib.Path(__file__).parents[2]


def a_run(method, seed, miou):
    figures = {"linear": 50.0, "knn": 20.0, "miou": miou, "rank": 10.0}
    return {"method": method, "seed": seed, "figures": figures}


def test_table(tmp_path):
    runs = [
        a_run("both", 1, 21.0),
        a_run("both", 0, 23.0),
        a_run("vicreg", 0, 20.0),
        a_run("vicreg", 1, 19.0),
        a_run("random", 0, 10.0),
    ]
    for run in runs:
        path = tmp_path / f"{run['method']}-{run['seed']}.json"
        path.write_text(json.dumps(run))
    times = {"vicreg": 1.0, "both": 1.234}
    lines = ablation.table(ablation.read_results(tmp_path), times).splitlines()
    methods = [line.split(" | ")[0] for line in lines[2:]]
    assert methods == [
        f"| {ablation.TITLES[method]}"
        for method in ("random", "vicreg", "both")
    ]
    # Means of 20 and 19, and of 21 - 19 and 23 - 20, deviations of samples.
    assert "| 19.5 % ± 0.7 |" in lines[3]
    assert lines[4].endswith("| +2.5 ± 0.7 | x 1.2 |")
    assert lines[2].endswith("| -10.0 |  |")


def test_times_are_kept_beside_the_runs(tmp_path):
    runs = tmp_path / "runs"
    assert ablation.read_times(runs) == {}
    times = {"over_vicreg": {"vicreg": 1.0, "both": 1.3}}
    ablation.store(times, ablation.times_path(runs))
    assert ablation.read_times(runs) == times["over_vicreg"]
    assert [path.name for path in tmp_path.iterdir()] == ["step_times.json"]


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="once is enough"
)
def test_a_run_is_stored_and_not_run_again(tmp_path, monkeypatch):
    sizes = {"train": 128, "test": 64}
    monkeypatch.setattr(ablation, "SCENES", sizes)
    arguments = argparse.Namespace(
        epochs=1, results=tmp_path / "results", runs=tmp_path / "runs"
    )
    scenes = {split: digit_scenes(split, n) for split, n in sizes.items()}
    with eager_steps():
        ablation.run("feature_later", 3, arguments, scenes)
    path = tmp_path / "results" / "feature_later-3.json"
    stored = json.loads(path.read_text())
    assert stored["method"] == "feature_later"
    assert stored["seed"] == 3
    assert stored["scenes"] == sizes
    assert len(stored["history"]["local_inv"]) == 1
    assert stored["pretraining_seconds"] > 0
    assert 0 <= stored["figures"]["miou"] <= 100
    # It has begun with what VICReg makes of the same seed.
    runs = {run.name for run in (tmp_path / "runs").iterdir()}
    assert runs == {"feature_later-3", "vicreg-3"}
    before = path.stat().st_mtime_ns
    ablation.run("feature_later", 3, arguments, scenes)
    assert path.stat().st_mtime_ns == before


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="once is enough"
)
def test_steps_are_timed_beside_those_of_vicreg(monkeypatch):
    chosen = {name: ablation.METHODS[name] for name in ("random", "vicreg")}
    monkeypatch.setattr(ablation, "METHODS", chosen)
    times = ablation.time_steps(rounds=3)
    assert times["backend"] == "tensorflow"
    assert times["over_vicreg"] == {"vicreg": 1.0}
    assert 0 < times["seconds"]["vicreg"] < 60


def test_the_page_has_the_table_of_the_stored_runs():
    table = ablation.table(
        ablation.read_results(ablation.RESULTS), ablation.read_times()
    )
    assert table in (ROOT / "docs/digit_scenes.md").read_text()
