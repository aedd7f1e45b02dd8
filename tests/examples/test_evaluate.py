"""The evaluation script: one model in all its forms, the same figures."""

import importlib.util
import json
import pathlib
import sys

import keras
import numpy as np
import pytest

from keras_vicregl import backbone, evaluation
from keras_vicregl.checkpoints import export, save_checkpoint
from keras_vicregl.data import digit_scenes

SCRIPT = pathlib.Path(__file__).parents[2] / "examples" / "evaluate.py"
COUNT = 40
ARGUMENTS = [
    *("--data", "digit_scenes", "--data-options", f"count={COUNT}"),
    *("--protocols", "knn", "linear", "rank", "segmentation"),
    *("--options", "knn.k=5", "linear.epochs=3", "segmentation.epochs=2"),
    *("--batch-size", "20", "--backend", keras.backend.backend()),
]


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("evaluate_script", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def model():
    """Weights that are not those of another process' `small_resnet`."""
    made = backbone("small_resnet")
    rng = np.random.default_rng(7)
    made.set_weights(
        [
            w * np.float32(1 + 0.2 * rng.random(w.shape))
            for w in made.get_weights()
        ]
    )
    return made


def run(script, monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["evaluate.py", *map(str, arguments)])
    script.main()


@pytest.mark.parametrize("form", ["converted", "backbone.keras", "saved"])
def test_every_form_of_a_model(script, model, form, tmp_path, monkeypatch):
    output = tmp_path / "figures.json"
    if form == "converted":
        pytest.importorskip("torch")
        save_checkpoint(model, tmp_path / "model.pth")
        given = ["small_resnet", "--weights", tmp_path / "model.pth"]
    else:
        export(model, tmp_path / form)
        given = [tmp_path / form]
    run(script, monkeypatch, *given, *ARGUMENTS, "--output", output)
    found = json.loads(output.read_text())

    features = [
        evaluation.extract_features(
            model, digit_scenes(split, COUNT), batch_size=20
        )
        for split in ("train", "test")
    ]
    pooled = features[0]["features"].mean(axis=(1, 2))
    expected = {
        "knn": evaluation.evaluate_knn(None, *features, k=5, num_classes=10),
        "linear": evaluation.evaluate_linear(
            None, *features, epochs=3, num_classes=10
        ),
        "rank": {"effective_rank": evaluation.effective_rank(pooled)},
        "segmentation": evaluation.evaluate_segmentation(
            None, *features, epochs=2, num_classes=11
        ),
    }
    assert found.keys() == expected.keys()
    for protocol, figures in expected.items():
        # A SavedModel's features are those of the model to 1e-5.
        tolerance = 1e-3 if form == "saved" else 1e-6
        assert found[protocol] == pytest.approx(
            figures, rel=tolerance, abs=tolerance, nan_ok=True
        )


TRAINED = {
    "linear_augmented": ["linear_augmented.epochs=1"],
    "finetuning": ["finetuning.epochs=1", "finetuning.fraction=0.5"],
    "train_segmentation": [
        "train_segmentation.iterations=1",
        "train_segmentation.crop_size=32",
        "train_segmentation.batch_size=4",
        "train_segmentation.output_stride=as_is",
    ],
    "detection": ["detection.epochs=1", "detection.channels=8"],
}


# What the figures are, the tests of these functions say.
@pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="compiles for minutes elsewhere"
)
@pytest.mark.parametrize("protocol", TRAINED)
def test_protocols_that_train(script, model, protocol, tmp_path, monkeypatch):
    model.save(tmp_path / "model.keras")
    output = tmp_path / "figures.json"
    run(
        script,
        monkeypatch,
        *(tmp_path / "model.keras", *ARGUMENTS[:4]),
        *("--protocols", protocol, "--size", 64, "--resize", 64),
        *("--options", *TRAINED[protocol], "--backend", "torch"),
        *("--output", output),
    )
    figures = json.loads(output.read_text())[protocol]
    main_figure = {"train_segmentation": "mean_iou", "detection": "ap"}
    assert 0 <= figures[main_figure.get(protocol, "top1")] <= 1


def test_what_cannot_be(script, model, tmp_path, monkeypatch, capsys):
    export(model, tmp_path / "saved")
    for arguments, message in (
        (["resnet5"], "no exported backbone at resnet5.*small_resnet"),
        ([tmp_path / "saved", "--weights", "x"], "needs the name of a backb"),
        ([tmp_path / "saved", "--protocols", "finetuning"], "be trained on"),
        (["small_resnet", "--options", "knn=3"], "not PROTOCOL.NAME"),
        (["small_resnet", "--protocols", "detection"], "needs --size"),
    ):
        with pytest.raises(SystemExit):
            run(script, monkeypatch, *arguments, *ARGUMENTS[:4])
        message = message.split(".*")
        error = " ".join(capsys.readouterr().err.split())
        assert all(part in error for part in message), error
