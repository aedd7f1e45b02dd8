"""A sentence for each thing that is wrong, an exit code, nothing half written.

Disks that are full are made so by their errors: no test may mount one.
"""

import errno
import importlib
import json
import os
import pathlib

import keras
import numpy as np
import pytest
from image_files import encoded, picture

from keras_vicregl import backbone
from keras_vicregl.commands.evaluating import running
from keras_vicregl.commands.given import outputs
from keras_vicregl.commands.main import main


@keras.saving.register_keras_serializable("test_bad_input")
class Own(keras.layers.Layer):
    """That no command knows, as soon as it is not registered."""

    def call(self, x):
        return 2 * x


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Images, models of many kinds, and what is neither."""
    place = tmp_path_factory.mktemp("bad")
    for split in ("train", "test"):
        for number in range(4):
            path = place / "images" / split / "ab"[number % 2] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encoded(picture(24 + 2 * number, 30, number)))
    (place / "empty").mkdir()
    (place / "notes").mkdir()
    (place / "notes" / "read.txt").write_text("nothing to see")
    for name in ("text.keras", "weights.pth", "table.csv"):
        (place / name).write_text("text")
    images = keras.Input((None, None, 3))
    maps = keras.layers.Conv2D(4, 8, 8)(images)
    pooled = keras.layers.GlobalAveragePooling2D()(maps)
    others = keras.Input((None, None, 3))
    for name, inputs, output in (
        ("classifier", images, keras.layers.Dense(3)(pooled)),
        ("two", [images, others], keras.layers.Add()([images, others])),
        ("own", images, Own()(maps)),
    ):
        keras.Model(inputs, output).save(place / f"{name}.keras")
    del keras.saving.get_custom_objects()["test_bad_input>Own"]
    backbone("small_resnet", widths=(4, 4, 4, 8)).save(place / "good.keras")
    return place


def contents(place):
    """All that is there, and when files were written."""
    return {
        path: path.is_file() and path.stat().st_mtime_ns
        for path in place.rglob("*")
    }


@pytest.fixture
def told(place, monkeypatch, capsys):
    """What a command says in the place, and its exit code."""
    monkeypatch.chdir(place)

    def run(line):
        before = contents(place)
        with pytest.raises(SystemExit) as end:
            main(line.split())
        assert contents(place) == before
        said = capsys.readouterr().err
        assert "Traceback" not in said
        return said, end.value.code

    return run


@pytest.mark.parametrize(
    ("line", "code", "sentence"),
    [
        # No folder, an empty one, one without images.
        ("pretrain nowhere", 2, "there is no folder 'nowhere'"),
        ("pretrain table.csv", 2, "'table.csv' is a file, not a folder"),
        ("pretrain empty", 2, "no images in the folder 'empty'"),
        ("pretrain notes", 2, "no images in the folder 'notes'"),
        ("evaluate good.keras nowhere", 2, "there is no folder 'nowhere'"),
        ("evaluate good.keras empty", 2, "has no folder test, testing"),
        (
            "evaluate good.keras notes --train-split none --test-split none",
            2,
            "no images in the folder 'notes'",
        ),
        ("embed good.keras nowhere --output f.npz", 2, "no folder 'nowhere'"),
        ("embed good.keras empty --output f.npz", 2, "no images in the folder"),
        ("inspect nowhere", 2, "there is no folder 'nowhere'"),
        ("inspect empty", 2, "'empty' is no run"),
        # A model of another kind.
        (
            "evaluate text.keras images",
            2,
            "text.keras is damaged, or no",
        ),
        (
            "evaluate classifier.keras images",
            2,
            "it puts out (None, 3), not",
        ),
        (
            "evaluate good.keras images --protocols finetuning --batch-size 8",
            2,
            "give --options finetuning.batch_size=8",
        ),
        ("evaluate two.keras images", 2, "has 2 inputs"),
        ("evaluate own.keras images", 2, "a class of one's own, 'Own'"),
        ("evaluate weights.pth images", 2, "keras-vicregl convert weights.pth"),
        ("evaluate table.csv images", 2, "a .keras or .onnx file, or a Saved"),
        ("evaluate images images", 2, "a folder without a backbone.keras"),
        ("evaluate none.keras images", 2, "Names of backbones are resnet18"),
        (
            "embed text.keras images/train --output f.npz",
            2,
            "damaged, or no .keras",
        ),
        (
            "embed classifier.keras images/train --output f.npz",
            2,
            "not one feature",
        ),
        ("embed two.keras images/train --output f.npz", 2, "has 2 inputs"),
        ("export text.keras out.keras", 2, "damaged, or no .keras"),
        ("export two.keras out.keras", 2, "has 2 inputs"),
        ("export own.keras out.keras", 2, "a class of one's own, 'Own'"),
        ("export weights.pth out.keras", 2, "has weights alone"),
        (
            "convert none.pth --backbone resnet18",
            2,
            "no file 'none.pth'",
        ),
        ("convert weights.pth", 2, "pass --backbone, one of"),
        ("convert weights.pth --backbone foo", 2, "--backbone must be one of"),
        ("convert weights.pth --backbone resnet18", 1, "PyTorch checkpoint"),
        ("pretrain images --model backbone=text.keras", 2, "damaged, or no"),
        # Values of options.
        ("pretrain images --precision half", 2, "--precision must be one of"),
        (
            "pretrain images --split trian",
            2,
            "--split 'trian' must be",
        ),
        ("pretrain images --batch-size 99", 2, "--batch-size 99 is more than"),
        (
            "evaluate good.keras images --test-split x",
            2,
            "the split 'x' must",
        ),
        ("embed good.keras images --output f.csv", 2, ".npz or .parquet"),
        ("embed good.keras images --output f.npz --size 0", 2, "--size"),
        ("embed good.keras images --output f.npz --split x", 2, "--split 'x'"),
        (
            "embed good.keras images --output f.npz --resize 9",
            2,
            "--resize 9 needs --size",
        ),
        (
            "embed good.keras images --split train --output f.npz --maps",
            2,
            "give --size, or leave out --maps",
        ),
        ("export good.keras out.foo", 2, "must end in .onnx, .keras, .pth"),
        ("export good.keras images", 1, "PATH 'images' exists and is not"),
        ("recipes nothing", 2, "there is no recipe 'nothing'"),
        ("doctor --backend numpy", 2, "invalid choice: 'numpy'"),
    ],
)
def test_a_sentence_and_a_code(told, line, code, sentence):
    said, found = told(line)
    assert sentence in said
    assert found == code
    # No words of Python where there is an option.
    assert "split=" not in said and "on_error=" not in said


def fail(number):
    """What writes a file, on a disk that does not take it."""

    def write(*arguments, **options):
        raise OSError(number, os.strerror(number))

    return write


@pytest.mark.parametrize(
    ("line", "module", "name", "sentence"),
    [
        (
            "embed good.keras images/train --size 24 --output f.npz",
            "keras_vicregl.storage.files",
            "os.fsync",
            "features cannot be written",
        ),
        (
            "export good.keras out.keras",
            "keras_vicregl.checkpoints.export",
            "float32_copy",
            "the export cannot be written",
        ),
        (
            "evaluate good.keras images --size 24 --protocols rank "
            "--output figures.json",
            "keras_vicregl.storage.files",
            "os.fsync",
            "figures cannot be written",
        ),
        (
            "convert weights.pth --backbone resnet18 --output images",
            "keras_vicregl.storage.files",
            "os.fsync",
            "converted files cannot be written",
        ),
        (
            "pretrain images --epochs 1 --output images",
            "keras_vicregl.storage.files",
            "os.fsync",
            ": images",
        ),
    ],
)
@pytest.mark.parametrize(
    ("number", "reason"),
    [(errno.ENOSPC, "full"), (errno.EACCES, "Permission denied")],
)
def test_disks_that_take_nothing(
    told, monkeypatch, line, module, name, sentence, number, reason
):
    found = importlib.import_module(module)
    *parts, last = name.split(".")
    for part in parts:
        found = getattr(found, part)
    with monkeypatch.context() as patch:
        patch.setattr(found, last, fail(number))
        said, code = told(line)
    assert sentence in said and code == 1
    assert reason in said or os.strerror(number) in said


def test_a_model_that_may_not_be_read(told, monkeypatch):
    models = importlib.import_module("keras_vicregl.commands.given.models")
    monkeypatch.setattr(models, "open", fail(errno.EACCES), raising=False)
    for line in (
        "evaluate good.keras images",
        "embed good.keras images --output f.npz",
        "export good.keras out.keras",
        "convert weights.pth --backbone resnet18 --output images",
    ):
        said, code = told(line)
        assert "Permission denied" in said and code == 1


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        # PyTorch's, and HDF5's.
        RuntimeError("[enforce fail at a.cc:672] . unexpected pos 64 vs 0"),
        OSError("Can't write (file write failed: errno = 28, error message"),
    ],
)
def test_words_for_a_full_disk(error):
    with (
        pytest.raises(OSError, match="x cannot be written, the disk is full"),
        outputs.written(pathlib.Path("a"), "x"),
    ):
        raise error


def test_other_errors_are_left_alone():
    with pytest.raises(KeyError), outputs.written(pathlib.Path("a"), "x"):
        raise KeyError("y")


# They are told, by a line.
@pytest.mark.filterwarnings("default")
def test_one_unreadable_file_among_many(place, tmp_path, monkeypatch, capsys):
    """Left out, in the same words, by all that read images."""
    monkeypatch.chdir(tmp_path)
    bad = tmp_path / "images" / "train" / "a" / "bad.png"
    for path in (place / "images").rglob("*.png"):
        copy = tmp_path / path.relative_to(place)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    bad.write_bytes(bad.with_name("0.png").read_bytes()[:200])
    model = str(place / "good.keras")
    for line in (
        f"evaluate {model} images --size 24 --options knn.k=2 linear.epochs=1",
        f"embed {model} images/train --size 24 --output f.npz",
    ):
        assert main(line.split()) == 0
        said = capsys.readouterr().err
        assert (
            "warning: 1 of 5 images of images/train could not be read and are "
            "skipped: images/train/a/bad.png ("
        ) in said
        assert said.count("bad.png") == 1
    with np.load("f.npz") as file:
        assert "a/bad.png" not in file["names"] and len(file["names"]) == 4


def test_an_interrupted_embed_says_how_it_goes_on(
    place, tmp_path, monkeypatch, capsys
):
    embed = importlib.import_module("keras_vicregl.commands.embed")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(embed, "_PART", 2)
    line = f"embed {place / 'good.keras'} {place / 'images' / 'train'}"
    words = [*line.split(), "--size", "24", "--output", "f.npz"]
    compute, calls = embed._Embedding.__call__, []

    def interrupted_at(stop):
        def call(self, held):
            calls.append(held)
            if len(calls) == stop:
                raise KeyboardInterrupt
            return compute(self, held)

        calls.clear()
        monkeypatch.setattr(embed._Embedding, "__call__", call)

    for stop, told in ((1, None), (2, "2 of 4 images are done. The same")):
        interrupted_at(stop)
        with pytest.raises(SystemExit) as end:
            main(words)
        assert end.value.code == 130
        said = capsys.readouterr().err
        assert told in said if told else "done" not in said
        # Of no use, it is not left there.
        assert (tmp_path / "f.npz.parts").exists() == bool(told)
        assert not (tmp_path / "f.npz").exists()
    interrupted_at(None)
    assert main(words) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["f.npz"]


def test_figures_that_are_none_are_null():
    """Of a class that does not occur; JSON has no NaN."""
    text = running._as_json({"segmentation": {"iou_1": 0.5, "iou_2": np.nan}})
    assert json.loads(text, parse_constant=pytest.fail) == {
        "segmentation": {"iou_1": 0.5, "iou_2": None}
    }
