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


@pytest.fixture(scope="module")
def saved(model, tmp_path_factory):
    """A SavedModel, which takes PyTorch a process of TensorFlow."""
    folder = tmp_path_factory.mktemp("saved") / "saved"
    export(model, folder)
    return folder


def run(script, monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["evaluate.py", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        script.main()
    return end.value.code


@pytest.mark.parametrize("form", ["converted", "backbone.keras", "saved"])
def test_every_form_of_a_model(
    script, model, saved, form, tmp_path, monkeypatch
):
    output = tmp_path / "figures.json"
    if form == "converted":
        pytest.importorskip("torch")
        save_checkpoint(model, tmp_path / "model.pth")
        given = ["small_resnet", "--weights", tmp_path / "model.pth"]
    elif form == "saved":
        given = [saved]
    else:
        export(model, tmp_path / form)
        given = [tmp_path / form]
    given += [*ARGUMENTS, "--output", output]
    assert run(script, monkeypatch, *given) == 0
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
    code = run(
        script,
        monkeypatch,
        *(tmp_path / "model.keras", *ARGUMENTS[:4]),
        *("--protocols", protocol, "--size", 64, "--resize", 64),
        *("--options", *TRAINED[protocol], "--backend", "torch"),
        *("--output", output),
    )
    assert code == 0
    figures = json.loads(output.read_text())[protocol]
    main_figure = {"train_segmentation": "mean_iou", "detection": "ap"}
    assert 0 <= figures[main_figure.get(protocol, "top1")] <= 1


def test_what_cannot_be(script, saved, tmp_path, monkeypatch, capsys):
    (tmp_path / "weights.pth").touch()
    (tmp_path / "empty").mkdir()
    head = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    head.save(tmp_path / "head.keras")
    for arguments, message in (
        (["resnet5"], "no file 'resnet5'.*small_resnet"),
        ([saved, "--weights", "x"], "needs the name of a backb"),
        ([saved, "--protocols", "finetuning"], "be trained on"),
        (["small_resnet", "--options", "knn=3"], "not PROTOCOL.NAME"),
        (["small_resnet", "--options", "knn.kk=3"], "knn has no 'kk'"),
        (["small_resnet", "--options", "knn.k=300"], "knn .*k"),
        (["small_resnet", "--limit", "0"], "--limit must be 1"),
        (["small_resnet", "--output", tmp_path], "is a folder, not a file"),
        (["small_resnet", "--weights", "no.pth"], "--weights: "),
        ([tmp_path / "weights.pth"], "has weights alone"),
        ([tmp_path / "empty"], "is a folder without a backbone.keras"),
        ([tmp_path / "head.keras"], "is no backbone"),
        (["small_resnet", "--protocols", "detection"], "needs --size"),
    ):
        assert run(script, monkeypatch, *arguments, *ARGUMENTS[:4]) == 2
        message = message.split(".*")
        error = " ".join(capsys.readouterr().err.split())
        assert all(part in error for part in message), error


def test_limits_and_progress(script, model, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("keras_vicregl.evaluation.progress._PATIENCE", 0)
    export(model, tmp_path / "model.keras")
    given = [tmp_path / "model.keras", *ARGUMENTS, "--limit", "30"]
    assert run(script, monkeypatch, *given, "--protocols", "knn") == 2
    assert "not PROTOCOL.NAME" in capsys.readouterr().err
    given += ["--protocols", "knn", "linear", "segmentation"]
    assert run(script, monkeypatch, *given) == 0
    said = capsys.readouterr()
    assert "30 of digit_scenes/train: 30 images" in said.out
    for line in (
        "features: 30/30 images",
        "linear classifier: 3/3 epochs",
        "segmentation head: 2/2 epochs",
    ):
        assert line in said.err
