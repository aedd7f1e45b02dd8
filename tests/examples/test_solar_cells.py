"""The study of solar cells: its split, its runs and its table."""

import argparse
import itertools
import json

import _elpv
import numpy as np
import pytest
import solar_cells as study
from backend_tools import eager_steps


def test_the_split_is_by_modules():
    splits = _elpv.split_of_cells()
    assert len(splits) == 2624
    assert sum(modules for *_, modules in _elpv.RUNS) == 44
    start = 0
    for _, cells, modules in _elpv.RUNS:
        run = splits[start : start + cells]
        start += cells
        # In the order of the modules, so that each is in one.
        changes = [a for a, b in itertools.pairwise(run) if a != b]
        assert len(changes) <= 4
        # Cells that are missing may be before a border or behind it.
        missing = 60 * modules - cells if modules > 1 else 0
        assert run.count("test") == 60 * round(modules / 4) - missing * (
            modules > 1
        )
        borders = (modules > 1) + (round(modules / 6) > 0)
        assert run.count(None) == missing * borders
    assert splits.count("test") == 11 * 60 - 16


def test_as_many_of_each_class():
    cells = _elpv.even(_elpv.part(_elpv.stand_in(), "train", "val"))
    assert np.bincount(cells["labels"]).tolist() == [24, 24]
    assert cells["images"].shape == (48, 64, 64, 1)


def test_the_package_is_asked_for(monkeypatch):
    monkeypatch.setattr(_elpv.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match="pip install elpv-dataset"):
        _elpv.read_cells()


def test_table():
    def a_run(method, seed, knn, seconds):
        figures = dict.fromkeys(study.FIGURES, knn)
        return {
            "method": method,
            "seed": seed,
            "figures": figures,
            "training_cpu_seconds": seconds,
        }

    results = {
        "random": [a_run("random", 0, 60.0, 1.0)],
        "both": [a_run("both", 0, 70.0, 60.0), a_run("both", 1, 72.0, None)],
    }
    lines = study.table(results).splitlines()
    assert lines[2].startswith("| random weights | 1 | 60.0 % |")
    assert lines[2].endswith("|  |")
    assert lines[3].startswith("| VICRegL | 2 | 71.0 % ± 1.4 |")
    assert lines[3].endswith("| 1.0 min |")


def test_stored_runs_are_those_of_the_guide():
    """Three seeds of each start, on the test, of the recipe in the script."""
    results = study.read_results(study.RESULTS)
    assert set(results) == set(study.METHODS)
    for runs in results.values():
        assert [run["seed"] for run in runs] == [0, 1, 2]
        for run in runs:
            assert run["split"] == "test"
            assert run["cells"] == {"train": 1948, "test": 644}
            assert set(run["figures"]) == set(study.FIGURES)


def test_a_run_is_stored_and_left_alone(tmp_path, monkeypatch, capsys):
    cells = _elpv.stand_in(96, 32)
    monkeypatch.setattr(study, "PASSES", 1)
    monkeypatch.setattr(study, "SIDE", 32)
    monkeypatch.setattr(study, "FRACTION", 0.5)
    monkeypatch.setitem(study.FINETUNING, "epochs", 1)
    made = study.recipe_of
    small = {
        "backbone_arguments": {
            "widths": [4, 4, 4, 4],
            "input_shape": [None, None, 1],
        },
        "model": {
            "expander_units": [8],
            "local_expander_units": [8],
            "num_matches": [2, 2],
        },
        "batch_size": 16,
        "warmup_epochs": 0.5,
    }

    def recipe_of(images):
        recipe = made(images)
        views = {**recipe.views, "jit_compile": False}
        return recipe.replace(views=views, **small)

    monkeypatch.setattr(study, "recipe_of", recipe_of)
    # What `test_photographs.py` tests, and others, takes seconds of tracing.
    monkeypatch.setattr(
        study,
        "pretrained",
        lambda recipe, *_: (recipe.make_model(), {"loss": [1 / 3]}, 2.0),
    )
    arguments = argparse.Namespace(
        results=tmp_path / "results",
        runs=tmp_path / "runs",
        split="test",
        epochs=1,
    )
    with eager_steps():
        study.run("both", 0, arguments, lambda: cells)
        # Judged as the other.
        monkeypatch.setattr(study, "figures_of", lambda *_: ({}, 0.0))
        study.run("supervised", 0, arguments, lambda: cells)
    stored = {
        path.stem: json.loads(path.read_text())
        for path in (tmp_path / "results").glob("*.json")
    }
    (loss,) = stored["supervised-0"]["history"]["loss"]
    assert 0.3 < loss < 3  # of two classes, hardly trained: about log(2)
    run = stored["both-0"]
    assert run["recipe"]["views"]["channels"] == 1
    assert run["history"] == {"loss": [0.333333]}
    assert run["training_seconds"] == 2.0
    assert run["cells"] == {"train": 72, "test": 24}
    # Of 16 cells, 8 of each class.
    for figure in run["figures"].values():
        assert figure * 16 / 100 == pytest.approx(round(figure * 16 / 100))

    def never():
        raise AssertionError("a stored run was made again")

    study.run("both", 0, arguments, never)
    arguments.split = "val"
    with pytest.raises(SystemExit, match="made with --split test, not val"):
        study.run("both", 0, arguments, never)
