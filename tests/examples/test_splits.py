"""Splits of folders, as the commands find them."""

import argparse

import pytest

from keras_vicregl.commands.evaluating import running as evaluation
from keras_vicregl.commands.given.data import (
    TEST_SPLITS,
    TRAIN_SPLITS,
    chosen_data,
    find_split,
)
from keras_vicregl.commands.main import make_parser
from keras_vicregl.commands.pretraining.images import find_splits
from keras_vicregl.commands.problems import UsageError

USUAL = TRAIN_SPLITS


def test_what_is_typed_is_taken(tmp_path):
    find = find_split
    (tmp_path / "train").mkdir()
    assert find(tmp_path, "train+val", USUAL) == "train+val"
    assert find(tmp_path, "none", USUAL) is None
    assert find(tmp_path, "None", USUAL) is None


def test_a_folder_has_what_it_has(tmp_path):
    find = find_split
    assert find(tmp_path, None, USUAL) is None
    (tmp_path / "training").mkdir()
    assert find(tmp_path, None, USUAL) == "training"
    (tmp_path / "Dev").mkdir()
    (tmp_path / "test").write_bytes(b"")
    assert find(tmp_path, None, TEST_SPLITS) == "Dev"
    assert find("imagenet2012", None, USUAL) == "train"
    assert find("digit_scenes", None, USUAL) == "train"


def settings(**changed):
    return argparse.Namespace(
        **{"split": None, "evaluate": [], "evaluate_split": None, **changed}
    )


def test_pretraining_takes_a_flat_folder(tmp_path):
    flat = settings(data=str(tmp_path))
    assert find_splits(flat) == (None, None)
    # Which the settings tell, so that a run that goes on has the same.
    assert flat.split == "none"
    assert find_splits(flat) == (None, None)
    ranked = settings(data=str(tmp_path), evaluate=["rank"])
    assert find_splits(ranked) == (None, None)
    with pytest.raises(UsageError, match="no folder test"):
        find_splits(settings(data=str(tmp_path), evaluate=["knn", "rank"]))
    (tmp_path / "train").mkdir()
    assert find_splits(settings(data=str(tmp_path))) == ("train", None)
    ranked = settings(data=str(tmp_path), evaluate=["rank"])
    assert find_splits(ranked) == ("train", "train")
    (tmp_path / "val").mkdir()
    judged = settings(data=str(tmp_path), evaluate=["knn"])
    assert find_splits(judged) == ("train", "val")
    assert (judged.split, judged.evaluate_split) == ("train", "val")


def test_published_sets_have_splits_of_their_own():
    found = {
        name: (
            find_split(f"{name}:somewhere", None, USUAL),
            find_split(f"{name}:somewhere", None, TEST_SPLITS),
        )
        for name in ("camvid", "ade20k", "cityscapes")
    }
    assert found == {
        "camvid": ("train", "test"),
        "ade20k": ("training", "validation"),
        "cityscapes": ("train", "val"),
    }


def test_evaluation_does_not_test_on_what_it_learns_from(monkeypatch, tmp_path):
    opened = []
    monkeypatch.setattr(
        evaluation,
        "open_split",
        lambda arguments, part, split: opened.append((part, split)),
    )
    monkeypatch.setattr(
        "keras_vicregl.data.match_classes", lambda *sources: sources
    )
    words = ["evaluate", "x", "--data", str(tmp_path), "--protocols"]
    with pytest.raises(UsageError, match="no folder test"):
        evaluation.open_splits(make_parser().parse_args([*words, "knn"]))
    evaluation.open_splits(make_parser().parse_args([*words, "rank"]))
    assert opened == [("train", None), ("test", None)]


def test_what_is_meant_is_said_once(tmp_path):
    assert chosen_data(None, None) is None
    assert chosen_data(None, "imagenet2012") == "imagenet2012"
    assert chosen_data(str(tmp_path), None) == str(tmp_path)
    assert chosen_data("camvid:x", None) == "camvid:x"
    (tmp_path / "x.npy").touch()
    array = str(tmp_path / "x.npy")
    assert chosen_data(array, None) == array
    assert find_split(array, None, USUAL) is None
    with pytest.raises(UsageError, match="give one"):
        chosen_data(str(tmp_path), "imagenet2012")


def test_a_path_that_is_not_there_is_told_as_it_was_typed(tmp_path):
    find = find_split
    assert find(str(tmp_path / "nowhere"), None, USUAL) is None
    # A name of TFDS is none.
    assert find("imagenet2012", None, USUAL) == "train"
