"""The pretraining script: stopped, continued, finished, repeated."""

import importlib.util
import json
import pathlib
import re
import shutil
import signal
import sys

import keras
import numpy as np
import pytest
from backend_tools import eager_steps

from keras_vicregl import checkpoints, recipes
from keras_vicregl.commands.main import make_parser
from keras_vicregl.commands.pretraining.arguments import NAMES, settled
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
SCENES = [
    *("--recipe", "scenes", "--data-options", "count=12"),
    *("--model", "expander_units=[8,8]", "local_expander_units=[8,8]"),
]
EMA = ("--optimizer", "use_ema=true", "ema_momentum=2")


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


def test_a_run_does_not_continue_with_other_settings(script, lives, capsys):
    other = ("--learning-rate", "0.5", "--output", lives[0])
    assert run(script, *ARGUMENTS, *other) == 2
    said = capsys.readouterr().err.splitlines()
    (told,) = (line for line in said if line.startswith("keras-vicregl"))
    assert "--learning-rate was not given, and is 0.5" in told
    assert "--allow-changes" in told


def test_more_epochs_than_it_began_with(script, lives, capsys):
    output = lives[0].with_name("longer")
    shutil.copytree(lives[0], output)
    longer = [*ARGUMENTS, "--epochs", "3", "--output", output]
    assert run(script, *longer) == 0
    told = capsys.readouterr().out
    assert "epochs: 2 when it began, 3 now" in told
    assert "resumed after 2 epochs and 0 batches" in told
    assert "3/3" in told
    rows = read_rows(output / "epochs.jsonl")
    assert len(rows) == 3
    assert rows[:2] == read_rows(lives[0] / "epochs.jsonl")
    # The cosine of three epochs ends where that of two did.
    np.testing.assert_allclose(rows[2]["learning_rate"], 5e-7, rtol=1e-3)
    # What nobody says again stays what it was.
    assert json.loads((output / "config.json").read_text())["epochs"] == 3
    begun = list(ARGUMENTS)
    del begun[begun.index("--epochs") : begun.index("--epochs") + 2]
    assert run(script, *begun, "--output", output) == 0
    assert "nothing is left to train" in capsys.readouterr().out


def test_what_it_runs_on_is_known_from_the_log(lives):
    first = read_rows(lives[0] / "events.jsonl")[0]
    assert first["event"] == "started"
    assert first["backend"] == keras.backend.backend()
    assert first["versions"]["keras_vicregl"]
    assert first["devices"]
    assert first["command"].startswith("keras-vicregl pretrain --recipe scenes")


def test_the_plan_is_said_first(script, lives, capsys):
    assert run(script, *ARGUMENTS, "--output", lives[0]) == 0
    lines = capsys.readouterr().out.splitlines()
    plan = {line.split()[0]: line for line in lines if line[0] != " "}
    assert "24 of digit_scenes/train" in plan["images"]
    assert plan["batch"].split()[1] == "8"
    assert "6: 2 epochs of 3" in plan["steps"]
    assert str(lives[0]) in plan["writes"]
    assert max(map(len, lines)) <= 100


def test_a_run_that_trained_nothing_leaves_its_folder(
    script, tmp_path, monkeypatch, capsys
):
    def fail(*arguments, **options):
        raise RuntimeError("in the first step")

    module = sys.modules["keras_vicregl.training.pretrain"]
    monkeypatch.setattr(module, "_fit", fail)
    for rate in ("0.5", "0.1"):
        arguments = [*ARGUMENTS, "--learning-rate", rate, "--output", tmp_path]
        assert run(script, *arguments) == 1
        assert "pretrain: in the first step" in capsys.readouterr().err
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["learning_rate"] == 0.1


def test_a_run_can_be_repeated_from_its_config(lives):
    config = lives[0] / "config.json"
    arguments = ["--config", str(config), "--output", "again", "--seed", "5"]
    again = settled(make_parser().parse_args(["pretrain", *arguments]))
    expected = {**json.loads(config.read_text()), "seed": 5}
    assert {name: getattr(again, name) for name in NAMES} == expected
    assert again.output == pathlib.Path("again")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "FOLDER is needed"),
        (["nowhere"], "there is no folder 'nowhere'"),
        ([__file__], "is a file, not a folder"),
        (["--recipe", "none"], "--recipe must be one of scenes"),
        (["--config", "none.json"], "none.json: No such file"),
        (["--config", __file__], "is no JSON"),
        ([*SCENES, "--model", "alpha"], "is not NAME=VALUE"),
        ([*SCENES, "--model", "alhpa=1"], "has no 'alhpa'.*Is 'alpha' meant"),
        ([*SCENES, "--model", "backbone=mine.keras"], "no file 'mine.keras'"),
        ([*SCENES, "--model", "alpha=2"], "--model: .*alpha"),
        ([*SCENES, "--views", "sice=9"], "no 'sice'.*Is 'size' meant"),
        ([*SCENES, "--views", "size=x"], "--views: size must be"),
        ([*SCENES, "--optimizer", "decay=1"], "--optimizer has no 'decay'"),
        ([*SCENES, *EMA], "--optimizer: .*ema"),
        ([*SCENES, "--batch-size", "99"], "99 is more than the 12 images"),
        ([*SCENES, "--limit", "0"], "--limit must be 1 or more"),
        ([*SCENES, "--limit", "1"], "has 1 image: 2 are needed"),
        ([*SCENES, "--epochs", "0"], "--epochs must be 1 or more"),
        ([*SCENES, "--strategy", "all"], "--strategy: "),
        ([*SCENES, "--output", __file__], "is a file, not a folder"),
        ([*SCENES, "--evaluate", "segments"], "invalid choice"),
        ([*SCENES, "--train-masks", "nowhere"], "images: .*masks"),
    ],
)
def test_bad_arguments(
    script, capsys, arguments, message, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    backend = ["--backend", keras.backend.backend()]
    assert run(script, *arguments, *backend) == 2
    assert re.search(message, capsys.readouterr().err)
    assert not list(tmp_path.iterdir())
