"""What a missing package forbids is said before a script writes anything."""

import importlib.util
import pathlib
import re
import runpy
import sys

import pytest

from keras_vicregl import _installed
from keras_vicregl.commands import starting

EXAMPLES = pathlib.Path(__file__).parents[2] / "examples"
PRETRAIN = [
    *("--recipe", "scenes", "--data", "digit_scenes", "--output", "run"),
    *("--data-options", "count=24", "--batch-size", "8", "--epochs", "1"),
]
CASES = {
    "export at the end": (
        ["pretrain.py", *PRETRAIN, "--export", "onnx", "saved_model"],
        ["tensorflow", "tf2onnx", "onnxscript"],
        "'onnx' needs .*onnxscript.* pip install",
    ),
    "views": (
        ["pretrain.py", *PRETRAIN, "--views", "on=host"],
        ["tensorflow"],
        "Views on the host need TensorFlow, which is not installed",
    ),
    "data set": (
        ["pretrain.py", *PRETRAIN, "--data", "imagenet2012"],
        ["tensorflow_datasets"],
        "needs TensorFlow Datasets: `pip install tensorflow-datasets`",
    ),
    "detection": (
        ["evaluate.py", "small_resnet", "--protocols", "knn", "detection"],
        ["pycocotools"],
        r"needs pycocotools.*pip install pycocotools",
    ),
    "ONNX file": (
        ["evaluate.py", "backbone.onnx"],
        ["onnxruntime"],
        r"\.onnx file needs onnxruntime.*pip install onnxruntime",
    ),
    "export": (
        ["export_backbone.py", "none.keras", "new/served"],
        ["tensorflow"],
        "'saved_model' needs tensorflow.*pip install tensorflow",
    ),
    "conversion": (
        ["convert_checkpoint.py", "n.pth", "--backbone", "resnet50"],
        ["tensorflow"],
        "'saved_model' needs tensorflow.*pip install tensorflow",
    ),
    "pictures at the end": (
        ["scenes_demo.py", "--output", "run"],
        ["matplotlib"],
        "needs matplotlib, not installed.*pip install",
    ),
}


@pytest.fixture
def without(monkeypatch):
    """A function that hides packages, as if they were not installed."""

    def hide(*packages):
        there, find = _installed._is_installed, importlib.util.find_spec
        monkeypatch.setattr(
            _installed,
            "_is_installed",
            lambda name: name not in packages and there(name),
        )
        monkeypatch.setattr(
            importlib.util,
            "find_spec",
            lambda name, *rest: None if name in packages else find(name, *rest),
        )
        # TensorFlow itself is imported, by the tests, and may be the backend.
        monkeypatch.setattr(starting, "_is_installed", lambda name: True)
        hidden = {*packages} - {"tensorflow"}
        loaded = {
            name for name in sys.modules if name.partition(".")[0] in hidden
        }
        for name in hidden | loaded:
            monkeypatch.setitem(sys.modules, name, None)

    return hide


@pytest.mark.parametrize("case", CASES)
def test_one_sentence_and_nothing_written(
    case, without, tmp_path, monkeypatch, capsys
):
    (script, *arguments), absent, message = CASES[case]
    monkeypatch.chdir(tmp_path)
    before = ["backbone.onnx"] * (arguments[0] == "backbone.onnx")
    for name in before:
        (tmp_path / name).touch()
    without(*absent)
    monkeypatch.setattr(sys, "argv", [script, *arguments])
    monkeypatch.syspath_prepend(str(EXAMPLES))
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(EXAMPLES / script), run_name="__main__")
    if isinstance(end.value.code, str):  # which Python prints, and ends with 1
        said = end.value.code
    else:
        assert end.value.code == 1
        *_, said = capsys.readouterr().err.splitlines()
    assert re.search(message, said)
    assert [path.name for path in tmp_path.iterdir()] == before
