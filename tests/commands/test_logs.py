"""Loggers of teams: the real ones, offline, where they are installed."""

import json
import sqlite3

import keras
import numpy as np
import pytest

from keras_vicregl.commands.pretraining import logs

SETTINGS = {"recipe": "scenes", "views": {"size": 32}, "seed": 0}


def trained(output, names, epochs, begin=0):
    """Rates and losses of the epochs of a `fit` that is logged."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.125), "mse")
    with logs.opened(names, output, SETTINGS) as callbacks:
        history = model.fit(
            *(np.ones((8, 2)), np.ones((8, 1)), 2),
            initial_epoch=begin,
            epochs=epochs,
            verbose=0,
            callbacks=callbacks,
        )
    return history.history["loss"]


def test_mlflow_has_the_losses_of_a_run_that_goes_on(tmp_path, monkeypatch):
    pytest.importorskip("mlflow.keras")
    monkeypatch.chdir(tmp_path)
    database = tmp_path / "m.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{database}")
    output = tmp_path / "run"
    output.mkdir()
    losses = trained(output, ["mlflow"], 2)
    losses += trained(output, ["mlflow"], 3, begin=2)
    with sqlite3.connect(database) as file:
        found = file.execute(
            "select value from metrics where key = 'loss' order by step"
        ).fetchall()
        (run,) = file.execute("select run_uuid, name from runs").fetchall()
        tags = dict(file.execute("select key, value from tags").fetchall())
    np.testing.assert_allclose([row[0] for row in found], losses)
    known = json.loads((output / "logs.json").read_text())
    assert run == (known["mlflow"], "run")
    assert tags["recipe"] == "scenes"


def test_wandb_writes_the_run_below_its_folder(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    pytest.importorskip("tensorflow")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    for begin in (0, 1):
        trained(tmp_path, ["wandb"], begin + 1, begin=begin)
    known = json.loads((tmp_path / "logs.json").read_text())["wandb"]
    folders = list((tmp_path / "wandb").glob(f"offline-run-*-{known}"))
    assert len(folders) == 2
    for folder in folders:
        (file,) = folder.glob("*.wandb")
        content = file.read_bytes()
        assert b"epoch/loss" in content
        assert b"epoch/learning_rate" in content


@pytest.mark.parametrize(
    ("name", "absent", "told"),
    [
        ("wandb", {"wandb"}, "--log wandb needs wandb, .*pip install wandb"),
        ("mlflow", {"mlflow", "pandas"}, "pip install mlflow pandas"),
        ("tensorboard", {"tensorboard"}, "pip install tensorboard"),
    ],
)
def test_what_is_missing_is_said(name, absent, told, monkeypatch):
    monkeypatch.setattr(
        logs, "missing", lambda *names: [n for n in names if n in absent]
    )
    with pytest.raises(ImportError, match=told):
        logs.check_logs([name])
    monkeypatch.setattr(logs, "missing", lambda *names: [])
    logs.check_logs([name])
