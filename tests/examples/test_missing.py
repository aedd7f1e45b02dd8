"""What a missing package forbids is said before a script writes anything."""

import os
import pathlib
import re

import forked
import pytest

EXAMPLES = pathlib.Path(__file__).parents[2] / "examples"
PRETRAIN = [
    *("--recipe", "scenes", "--data", "digit_scenes", "--output", "run"),
    *("--data-options", "count=24", "--batch-size", "8", "--epochs", "1"),
]
CASES = {
    "export at the end": (
        ["pretrain.py", *PRETRAIN, "--export", "onnx", "saved_model"],
        ["tensorflow", "tf2onnx", "onnxscript"],
        "'onnx' needs onnxscript, or else tensorflow and tf2onnx.* pip install",
    ),
    "views": (
        ["pretrain.py", *PRETRAIN],
        ["keras_cv"],
        "No module named 'keras_cv': pip install keras-cv",
    ),
    "data set": (
        ["pretrain.py", *PRETRAIN, "--data", "imagenet2012"],
        ["tensorflow_datasets"],
        "needs TensorFlow Datasets: `pip install tensorflow-datasets`",
    ),
    "detection": (
        ["evaluate.py", "small_resnet", "--protocols", "knn", "detection"],
        ["pycocotools"],
        r"needs pycocotools.*keras-vicregl\[detection\]",
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


@pytest.mark.parametrize("case", CASES)
def test_one_sentence_and_nothing_written(case, tmp_path):
    (script, *arguments), absent, message = CASES[case]
    # PyTorch is the quickest to begin, and imports no TensorFlow.
    environment = {**os.environ, "KERAS_BACKEND": "torch"}
    before = ["backbone.onnx"] * (arguments[0] == "backbone.onnx")
    for name in before:
        (tmp_path / name).touch()
    result = forked.run(
        [EXAMPLES / script, *arguments],
        env=environment,
        cwd=tmp_path,
        absent=absent,
    )
    assert result.returncode == 1
    said = result.stderr.splitlines()[-1]
    assert said.startswith(f"{script}: error: ")
    assert re.search(message, said)
    assert "Traceback" not in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == before
