"""The study of real photographs: what runs store, and what tables say."""

import argparse
import functools
import json
import pathlib

import keras
import numpy as np
import photographs as study
import pytest
from _agreement import agreement, classes_at
from _photograph_tables import TITLES, labels_saved
from backend_tools import eager_steps

from keras_vicregl.recipes import RECIPES

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture
def camvid(tmp_path):
    """A folder as CamVid's: frames of 128 x 96, sky above and road below."""
    image_module = pytest.importorskip("PIL.Image")
    rng = np.random.default_rng(0)
    for split, count in (("train", 40), ("val", 24), ("test", 3)):
        for name in ("images", "masks"):
            (tmp_path / "camvid" / name / split).mkdir(parents=True)
        for number in range(count):
            horizon = rng.integers(30, 60)
            image = rng.integers(0, 60, (96, 128, 3), np.uint8)
            mask = np.full((96, 128), 3, np.uint8)
            image[:horizon] += 150
            mask[:horizon] = 0
            mask[:2] = 11
            for name, values in (("images", image), ("masks", mask)):
                image_module.fromarray(values).save(
                    tmp_path / "camvid" / name / split / f"{number}.png"
                )
    return tmp_path / "camvid"


def a_run(method, seed, miou, **facts):
    figures = {"mean_iou": miou, "pixel_accuracy": 2 * miou}
    return {"method": method, "seed": seed, "figures": figures, **facts}


def stored(folder, runs):
    folder.mkdir()
    for number, run in enumerate(runs):
        (folder / f"{number}.json").write_text(json.dumps(run))


def test_table_of_the_dense_study(tmp_path):
    runs = [
        a_run("supervised", 0, 40.0),
        a_run("both", 1, 21.0),
        a_run("both", 0, 23.0),
        a_run("vicreg", 0, 20.0),
        a_run("vicreg", 1, 19.0),
    ]
    stored(tmp_path / "runs", runs)
    results = study.read_results(tmp_path / "runs")
    lines = study.dense_table(results).splitlines()
    assert [line.split(" | ")[0] for line in lines[2:]] == [
        f"| {TITLES[method]}" for method in ("vicreg", "both", "supervised")
    ]
    assert "| 2 | 19.5 % ± 0.7 | 39.0 % ± 1.4 |" in lines[2]
    # 23 - 20 and 21 - 19: of the same seed.
    assert lines[3].endswith("| +2.5 ± 0.7 |")
    assert lines[4].endswith("| 1 | 40.0 % | 80.0 % |  |")


def test_table_of_the_labels(tmp_path):
    runs = [
        a_run("both", 0, 23.0, labelled=5),
        a_run("both", 1, 25.0, labelled=5),
        a_run("random", 0, 30.0, labelled=367),
    ]
    stored(tmp_path / "runs", runs)
    results = study.read_results(tmp_path / "runs")
    assert study.labels_table(results).splitlines() == [
        "| fine-tuned from | 5 labelled | 367 labelled |",
        "|---|---:|---:|",
        "| random initialisation |  | 30.0 % |",
        "| location and feature (VICRegL) | 24.0 % ± 1.4 |  |",
    ]


def test_how_many_times_the_labels_the_baseline_needs():
    baseline = [
        a_run("random", seed, miou + seed, labelled=count)
        for count, miou in ((10, 19.0), (40, 29.0), (160, 39.0))
        for seed in (0, 2)
    ]
    runs = [
        a_run("both", 0, miou, labelled=count)
        for count, miou in ((5, 10.0), (10, 20.0), (20, 30.0), (40, 35.0))
    ]
    runs.append(a_run("both", 0, 41.0, labelled=160))
    saved = labels_saved(runs, baseline)
    # Below all of the baseline and above it, there is no answer; 20 and 30 are
    # at its points, 35 in the middle of 40 and 160 on the logarithmic axis.
    assert saved[5] is None and saved[160] is None
    assert [saved[10], saved[20], saved[40]] == pytest.approx([1, 2, 2])


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="once is enough"
)
def test_frames_are_halved(camvid):
    frames = study.read_frames(camvid, "train+val")
    assert frames["images"].shape == (64, 48, 64, 3)
    assert frames["segmentation_masks"].shape[:3] == (64, 48, 64)
    image_module = pytest.importorskip("PIL.Image")
    image = np.asarray(image_module.open(camvid / "images" / "train" / "0.png"))
    # Means of four, rounded.
    np.testing.assert_array_equal(
        frames["images"][0, 5, 7],
        np.rint(image[10:12, 14:16].astype("float64").mean((0, 1))),
    )


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="once is enough"
)
def test_runs_are_stored_and_not_run_again(
    camvid, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(study, "ITERATIONS", {"supervised": 2, "labels": 2})
    monkeypatch.setitem(study.TRAINING, "warmup", 1)
    monkeypatch.setitem(study.TRAINING, "crop_size", (32, 32))
    arguments = argparse.Namespace(
        epochs=1,
        split="test",
        results=tmp_path / "results",
        runs=tmp_path / "runs",
    )
    frames = functools.cache(functools.partial(study.read_frames, camvid))
    with eager_steps():
        study.dense("both", 3, arguments, frames)
        study.dense("supervised", 3, arguments, frames)
        study.labels("both", 2, 3, arguments, frames)
    results = study.read_results(tmp_path / "results")
    assert list(results) == ["both", "supervised"]
    (both,), (supervised,) = results.values()
    assert both["recipe"]["epochs"] == 1
    assert both["split"] == "test"
    assert both["backend"] == "tensorflow"
    assert len(both["history"]["loss"]) == 1
    assert supervised["training"]["iterations"] == 2
    # Of the two classes that are there; the others have none.
    for run in (both, supervised):
        assert 0 <= run["figures"]["iou_sky"] <= 100
        assert run["figures"]["iou_sky"] == run["figures"]["iou_sky"]
    ((curve,),) = study.read_results(tmp_path / "results_labels").values()
    assert curve["labelled"] == 2
    capsys.readouterr()
    study.dense("both", 3, arguments, frames)
    study.labels("both", 2, 3, arguments, frames)
    assert not capsys.readouterr().out
    arguments.split = "val"
    with pytest.raises(SystemExit, match="--split test, not val"):
        study.dense("both", 3, arguments, frames)
    arguments.split, arguments.epochs = "test", 2
    with pytest.raises(SystemExit, match="--epochs 1, not 2"):
        study.labels("both", 2, 3, arguments, frames)


def test_the_readme_has_the_table_of_the_stored_runs():
    table = study.dense_table(study.read_results(study.RESULTS))
    assert table in (ROOT / "README.md").read_text()


def test_agreement_of_matches_with_labels():
    recipe = RECIPES["camvid"]
    model = recipe.make_model(expander_units=(8,), local_expander_units=(8,))
    images = np.random.default_rng(0).integers(0, 255, (4, 90, 120, 3), "uint8")
    masks = np.full((4, 90, 120), 2, "uint8")
    arguments = {"ignore": 11, "num_matches": 5, "batch_size": 2}

    def found():
        return agreement(model, recipe.make_views(), images, masks, **arguments)

    alike = found()
    assert [alike[name] for name in ("location", "feature", "chance")] == [
        1
    ] * 3
    # What is of no class does not count.
    masks[:, :20] = 11
    assert found()["chance"] == 1
    # Every pixel of another class than those around: only a place with itself.
    masks[:] = np.arange(90)[:, None] % 2 * 60 + np.arange(120) % 60
    mixed = found()
    assert mixed["chance"] < 0.1
    assert mixed["location_distance"] == alike["location_distance"]


def test_labels_are_read_where_positions_are():
    masks = np.arange(2 * 3 * 4).reshape(2, 3, 4)
    # x, y: the middle of the first pixel, the last one, and beyond it.
    where = np.array([[(0.5, 0.5), (3.9, 2.9), (4.0, 3.0)]] * 2)
    np.testing.assert_array_equal(
        classes_at(masks, where), [[0, 11, 11], [12, 23, 23]]
    )


def test_table_of_the_matches(tmp_path):
    figures = {
        "location": 0.75,
        "feature": 0.5,
        "chance": 0.25,
        "feature_distance": 40.0,
        "location_distance": 4.0,
    }
    runs = [
        {"method": "feature", "seed": seed, "figures": figures}
        for seed in (0, 1)
    ]
    stored(tmp_path / "runs", runs)
    lines = study.matches_table(study.read_results(tmp_path / "runs"))
    assert lines.splitlines()[2] == (
        "| feature only | 75.0 % ± 0.0 | 50.0 % ± 0.0 | 25.0 % ± 0.0 | "
        "40.0 px ± 0.0 |"
    )
