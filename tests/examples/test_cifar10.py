"""The study of CIFAR-10: its splits, its runs and its tables."""

import argparse
import functools
import itertools
import json

import cifar10 as study
import keras
import numpy as np
import pytest
from backend_tools import eager_steps

from keras_vicregl.recipes import RECIPES

CLASSES = ("airplane", "bird")


@pytest.fixture
def cifar(tmp_path):
    """A folder as CIFAR-10's: 20 red and 20 green images a split."""
    image_module = pytest.importorskip("PIL.Image")
    for split in ("train", "test"):
        for label, name in enumerate(CLASSES):
            folder = tmp_path / "cifar" / split / name
            folder.mkdir(parents=True)
            for number in range(20):
                image = np.full((32, 32, 3), number, "uint8")
                image[..., label] += 200
                image_module.fromarray(image).save(folder / f"{number:02}.png")
    return tmp_path / "cifar"


def a_run(method, seed, linear, seconds=None):
    figures = {"linear": linear, "knn": linear / 2}
    return {
        "method": method,
        "seed": seed,
        "figures": figures,
        "training_cpu_seconds": seconds,
    }


def test_table():
    results = {
        "random": [a_run("random", 0, 40.0, 1.0)],
        "both": [a_run("both", 0, 60.0, 90.0), a_run("both", 1, 62.0)],
    }
    lines = study.table(results, study.FIGURES, timed=True).splitlines()
    assert lines[0].endswith(
        "| seeds | linear classifier | nearest neighbours | CPU time |"
    )
    assert lines[2] == ("| random initialisation | 1 | 40.0 % | 20.0 % |  |")
    assert lines[3] == (
        "| location and feature (VICRegL) | 2 | 61.0 % ± 1.4 | 30.5 % ± 0.7 | "
        "1.5 min |"
    )


def test_table_of_what_takes_no_time():
    run = a_run("both", 0, 60.0)
    del run["training_cpu_seconds"]
    table = study.table({"both": [run]}, {"linear": "mIoU"})
    assert table.splitlines() == [
        "| backbone | seeds | mIoU |",
        "|---|---:|---:|",
        "| location and feature (VICRegL) | 1 | 60.0 % |",
    ]


def test_a_tenth_of_train_is_set_aside(cifar):
    train, rest, val, test = (
        study.read_images(cifar, split)
        for split in ("train", "train-val", "val", "test")
    )
    assert train["images"].shape == (40, 32, 32, 3)
    assert train["images"].dtype == "uint8"
    assert np.bincount(test["labels"]).tolist() == [20, 20]
    # Every image has a red of its own.
    reds = [data["images"][:, 0, 0, 0].tolist() for data in (val, rest)]
    assert [len(each) for each in reds] == [4, 36]
    assert sorted([*reds[0], *reds[1]]) == sorted(train["images"][:, 0, 0, 0])
    for data in (val, rest):
        red, label = data["images"][:, 0, 0, 0], data["labels"]
        np.testing.assert_array_equal(red >= 200, label == 0)


def test_runs_are_stored_and_not_run_again(
    cifar, tmp_path, monkeypatch, capsys
):
    small = RECIPES["cifar10"].replace(
        backbone_arguments={"widths": [8, 8, 8, 16]}, precision="float32"
    )
    # So wide that any random weights tell two colours apart: all of 16 seeds
    # do, and 13 of them at half the width.
    keras.utils.set_random_seed(0)
    # What `test_photographs.py` tests, and others, takes seconds of tracing.
    monkeypatch.setattr(
        study,
        "pretrained",
        lambda recipe, *_: (small.make_model(), {"loss": [1 / 3]}, 2.0),
    )
    arguments = argparse.Namespace(
        epochs=3,
        split="test",
        results=tmp_path / "results",
        runs=tmp_path / "runs",
    )
    images = functools.cache(functools.partial(study.read_images, cifar))
    rng = np.random.default_rng(0)
    frames = {
        "images": rng.integers(0, 255, (8, 24, 32, 3), "uint8"),
        "segmentation_masks": rng.integers(0, 2, (8, 24, 32, 1), "uint8"),
    }
    with eager_steps():
        study.run("both", 0, arguments, images, None)
        # The second time with frames: what is stored is not made again.
        study.run("both", 0, arguments, images, lambda _: frames)
    said = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in said] == [
        ["both-0:", "{'linear':"],
        ["both-0:", "mIoU"],
    ]
    run = json.loads((tmp_path / "results" / "both-0.json").read_text())
    assert run["figures"] == {"linear": 100.0, "knn": 100.0}
    assert run["recipe"]["epochs"] == 3
    assert "accuracy" not in run["recipe"]
    assert run["history"] == {"loss": [0.333333]}
    assert run["training_seconds"] == 2.0
    folder = study.transfer_folder(tmp_path / "results")
    transferred = json.loads((folder / "both-0.json").read_text())
    assert set(transferred["figures"]) >= {"mean_iou", "iou_sky"}

    def never(_):
        raise AssertionError("a stored run was made again")

    study.run("both", 0, arguments, never, never)
    arguments.epochs = 4
    with pytest.raises(SystemExit, match="made with --epochs 3, not 4"):
        study.run("both", 0, arguments, never, never)


def test_stored_runs_are_of_the_recipe():
    """And of the same seeds on both sets."""
    stored = study.read_results(study.RESULTS)
    transferred = study.read_results(study.transfer_folder(study.RESULTS))
    assert list(stored) == list(transferred) == list(study.METHODS)
    for runs in (stored, transferred):
        for run in itertools.chain(*runs.values()):
            assert run["split"] == "test"
            assert run["recipe"] == study.settings_of(RECIPES["cifar10"])
    for method, runs in stored.items():
        seeds = [run["seed"] for run in runs]
        assert seeds == [run["seed"] for run in transferred[method]]
