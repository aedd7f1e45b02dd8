"""The pretraining script: stopped, continued, finished, repeated."""

import importlib.util
import json
import pathlib
import signal
import sys

import keras
import numpy as np
import pytest
from backend_tools import eager_steps

from keras_vicregl import checkpoints, recipes
from keras_vicregl.training import TrainingLog, _callbacks, read_rows

SCRIPT = pathlib.Path(__file__).parents[2] / "examples" / "pretrain.py"
ARGUMENTS = [
    *("--recipe", "scenes", "--data", "digit_scenes"),
    *("--data-options", "count=24", "--batch-size", "8", "--epochs", "2"),
    *("--model", "expander_units=[8,8]", "--alpha", "1"),
    *("--views", "hue=0.2", "--backend", keras.backend.backend()),
    *("--save-every", "2", "--log-every", "1", "--evaluate-every", "2"),
    *("--evaluate", "knn", "rank"),
]


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("pretrain_script", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module", autouse=True)
def small_network():
    """The recipe with a network that is quick to compile."""
    small = recipes.RECIPES["scenes"].replace(
        backbone_arguments={
            "widths": [8, 8],
            "block_counts": [1, 1],
            "strides": [2, 2],
        }
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recipes, "RECIPES", {"scenes": small})
        # Pictures take seconds, and have a test of their own.
        patch.setattr(_callbacks.Curves, "draw", lambda curves: None)
        yield


@pytest.fixture(scope="module", autouse=True)
def quick_steps():
    """Eager under TensorFlow, where tracing costs more than six steps."""
    with eager_steps():
        yield


def run(script, *arguments):
    """Runs the script in this process; returns its exit code."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["pretrain.py", *map(str, arguments)])
        try:
            script.main()
        except SystemExit as end:
            return end.code
    return 0


@pytest.fixture(scope="module")
def lives(script, tmp_path_factory):
    """Output and exit codes of a run that is stopped after four steps."""
    output = tmp_path_factory.mktemp("runs") / "run"
    append = TrainingLog._append

    def stop_after_four(log, name, row):
        append(log, name, row)
        if name == "steps.jsonl" and row["step"] == 4:
            signal.raise_signal(signal.SIGTERM)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainingLog, "_append", stop_after_four)
        first = run(script, *ARGUMENTS, "--output", output)
    rows = read_rows(output / "steps.jsonl")
    second = run(script, *ARGUMENTS, "--output", output)
    return output, (first, second), rows


def test_it_stops_on_sigterm_and_continues(lives):
    output, codes, rows = lives
    assert codes == (128 + signal.SIGTERM, 0)
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    later = read_rows(output / "steps.jsonl")
    assert later[:4] == rows
    assert [row["step"] for row in later] == [1, 2, 3, 4, 5, 6]
    (resumed,) = (
        event
        for event in read_rows(output / "events.jsonl")
        if event["event"] == "resumed"
    )
    assert (resumed["epoch"], resumed["step"]) == (1, 1)


def test_epochs_have_all_terms_monitors_and_evaluations(lives):
    first, last = read_rows(lives[0] / "epochs.jsonl")
    assert {"loss", "inv", "var", "cov", "repr_std", "emb_corr", "top1"} <= set(
        first
    )
    assert "local_inv" not in first
    assert not {"knn_top1", "rank"} & set(first)
    assert 0 <= last["knn_top1"] <= 1
    assert 1 <= last["rank"] < 8.1  # of 8 features
    # The cosine ends at a thousandth of 0.016 * 8 / 256.
    np.testing.assert_allclose(last["learning_rate"], 5e-7, rtol=1e-3)


def test_the_exported_backbone_is_that_of_the_last_checkpoint(lives):
    output = lives[0]
    backbone = keras.saving.load_model(output / "backbone.keras")
    path = output / "checkpoints" / "epoch-0002-step-00000000.npz"
    with np.load(path) as file:
        saved = [file[name] for name in file.files if name.startswith("model/")]
    weights = [keras.ops.convert_to_numpy(v) for v in backbone.variables]
    for weight, array in zip(weights, saved, strict=False):
        np.testing.assert_array_equal(weight, array)
    assert len(saved) > len(weights) > 20


def test_a_finished_run_is_not_trained_again(script, lives):
    output, *_ = lives
    rows = (output / "steps.jsonl").read_bytes()
    (output / "backbone.keras").unlink()
    assert run(script, *ARGUMENTS, "--output", output) == 0
    assert (output / "steps.jsonl").read_bytes() == rows
    assert (output / "backbone.keras").exists()


@pytest.mark.parametrize(
    ("chosen", "written"),
    [
        (["onnx"], {"backbone.keras": "keras", "backbone.onnx": "onnx"}),
        (
            ["saved_model"],
            {"backbone.keras": "keras", "backbone": "saved_model"},
        ),
        (["keras"], {"backbone.keras": "keras"}),
    ],
)
def test_formats_are_written_besides_the_keras_file(
    script, lives, monkeypatch, chosen, written
):
    found = {}
    monkeypatch.setattr(
        checkpoints,
        "export",
        lambda model, path, kind: found.update({path.name: kind}),
    )
    arguments = [*ARGUMENTS, "--output", lives[0], "--export", *chosen]
    assert run(script, *arguments) == 0
    assert found == written


def test_a_run_does_not_continue_with_other_settings(script, lives):
    with pytest.raises(
        ValueError, match=r"=None, now .*=0\.5.*--allow-changes"
    ):
        run(
            script,
            *ARGUMENTS,
            *("--learning-rate", "0.5", "--output", lives[0]),
        )


def test_a_run_that_trained_nothing_leaves_its_folder(
    script, tmp_path, monkeypatch
):
    def fail(*arguments, **options):
        raise RuntimeError("in the first step")

    module = sys.modules["keras_vicregl.training.pretrain"]
    monkeypatch.setattr(module, "_fit", fail)
    for rate in ("0.5", "0.1"):
        arguments = [*ARGUMENTS, "--learning-rate", rate, "--output", tmp_path]
        with pytest.raises(RuntimeError, match="in the first step"):
            run(script, *arguments)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["learning_rate"] == 0.1


def test_a_run_can_be_repeated_from_its_config(script, lives, monkeypatch):
    config = lives[0] / "config.json"
    arguments = ["--config", str(config), "--output", "again", "--seed", "5"]
    monkeypatch.setattr(sys, "argv", ["pretrain.py", *arguments])
    _, again = script.parse_arguments()
    expected = {**json.loads(config.read_text()), "seed": 5}
    actual = vars(again)
    assert actual.pop("config") == str(config)
    assert actual.pop("output") == pathlib.Path("again")
    assert actual == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--recipe or --config is needed"),
        (["--recipe", "none"], "--recipe must be one of scenes"),
        (["--recipe", "scenes", "--model", "alpha"], "is not NAME=VALUE"),
    ],
)
def test_bad_arguments(script, capsys, arguments, message):
    backend = ["--backend", keras.backend.backend()]
    assert run(script, *arguments, *backend) == 2
    assert message in capsys.readouterr().err
