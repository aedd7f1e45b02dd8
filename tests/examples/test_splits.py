"""Splits of folders, as the scripts find them."""

import argparse
import importlib.util
import pathlib
import sys

import pytest

EXAMPLES = pathlib.Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def scripts():
    """The modules `_settings`, `pretrain` and `evaluate`."""
    found = {}
    for name in ("_settings", "pretrain", "evaluate"):
        spec = importlib.util.spec_from_file_location(
            f"{name}_of_splits", EXAMPLES / f"{name}.py"
        )
        found[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(found[name])
    return found


@pytest.fixture
def parser():
    return argparse.ArgumentParser()


USUAL = ("train", "training")


def test_what_is_typed_is_taken(scripts, tmp_path):
    find = scripts["_settings"].find_split
    (tmp_path / "train").mkdir()
    assert find(tmp_path, "train+val", USUAL) == "train+val"
    assert find(tmp_path, "none", USUAL) is None
    assert find(tmp_path, "None", USUAL) is None


def test_a_folder_has_what_it_has(scripts, tmp_path):
    find = scripts["_settings"].find_split
    assert find(tmp_path, None, USUAL) is None
    (tmp_path / "training").mkdir()
    assert find(tmp_path, None, USUAL) == "training"
    (tmp_path / "Dev").mkdir()
    (tmp_path / "test").write_bytes(b"")
    assert find(tmp_path, None, scripts["_settings"].TEST_SPLITS) == "Dev"
    assert find("imagenet2012", None, USUAL) == "train"
    assert find("digit_scenes", None, USUAL) == "train"


def settings(**changed):
    return argparse.Namespace(
        **{"split": None, "evaluate": [], "evaluate_split": None, **changed}
    )


def test_pretraining_takes_a_flat_folder(scripts, parser, tmp_path, capsys):
    find = scripts["pretrain"].find_splits
    flat = settings(data=str(tmp_path))
    assert find(parser, flat) == (None, None)
    # Which the settings tell, so that a run that goes on has the same.
    assert flat.split == "none"
    assert find(parser, flat) == (None, None)
    ranked = settings(data=str(tmp_path), evaluate=["rank"])
    assert find(parser, ranked) == (None, None)
    with pytest.raises(SystemExit):
        find(parser, settings(data=str(tmp_path), evaluate=["knn", "rank"]))
    assert "no folder test" in capsys.readouterr().err
    (tmp_path / "train").mkdir()
    assert find(parser, settings(data=str(tmp_path))) == ("train", None)
    ranked = settings(data=str(tmp_path), evaluate=["rank"])
    assert find(parser, ranked) == ("train", "train")
    (tmp_path / "val").mkdir()
    judged = settings(data=str(tmp_path), evaluate=["knn"])
    assert find(parser, judged) == ("train", "val")
    assert (judged.split, judged.evaluate_split) == ("train", "val")


def test_evaluation_does_not_test_on_what_it_learns_from(
    scripts, monkeypatch, tmp_path, capsys
):
    opened = []
    for protocol, code in (("knn", 2), ("rank", None)):
        monkeypatch.setattr(
            sys,
            "argv",
            [
                *("evaluate.py", "x", "--data", str(tmp_path)),
                *("--protocols", protocol),
            ],
        )
        parser, arguments = scripts["evaluate"].parse_arguments()
        monkeypatch.setattr(
            scripts["evaluate"],
            "open_split",
            lambda arguments, part, split: opened.append((part, split)),
        )
        monkeypatch.setattr(
            "keras_vicregl.data.match_classes", lambda *sources: sources
        )
        if code:
            with pytest.raises(SystemExit):
                scripts["evaluate"].open_splits(parser, arguments)
            assert "no folder test" in capsys.readouterr().err
        else:
            scripts["evaluate"].open_splits(parser, arguments)
            assert opened == [("train", None), ("test", None)]


def test_a_path_that_is_not_there_is_told_as_it_was_typed(scripts, tmp_path):
    find = scripts["_settings"].find_split
    assert find(str(tmp_path / "nowhere"), None, USUAL) is None
    # A name of TFDS is none.
    assert find("imagenet2012", None, USUAL) == "train"


def test_the_backend_is_one_that_is_installed(scripts, monkeypatch):
    settings = scripts["_settings"]
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    assert settings.default_backend() == "torch"
    monkeypatch.delenv("KERAS_BACKEND")
    for there in ("tensorflow", "jax", "torch"):
        monkeypatch.setattr(
            settings.importlib.util,
            "find_spec",
            lambda name, there=there: name == there,
        )
        assert settings.default_backend() == there
