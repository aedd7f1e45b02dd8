"""The guides run, with few images and epochs, and what their text says holds.

Under JAX and PyTorch in processes where TensorFlow and keras-cv are not
installed. Each on one backend or two, and with ALL_TESTS=1 on all: what they
call is tested on each by other tests, and a guide takes a minute of
compilation. Their pages and notebooks are looked at in `test_render.py`.
"""

import functools
import os
import pathlib
import re
import runpy

import forked
import keras
import pytest
import without

GUIDES = pathlib.Path(__file__).parents[1] / "guides"
BACKEND = keras.backend.backend()
# The backends on which each is run.
RUN_ON = {
    "ablation_study": ["jax"],
    "distributed_pretraining": ["jax"],
    "export_and_use": ["tensorflow", "torch"],
    "industrial_images": ["torch"],
    "local_features": ["torch"],
    "pretrain_your_own_data": ["torch"],
    "real_photographs": ["jax"],
    "vicregl_in_keras": ["torch"],
    "your_own_loader": ["torch"],
}
# Of these a test below looks at what they print.
LOOKED_AT = {
    "distributed_pretraining",
    "export_and_use",
    "industrial_images",
    "pretrain_your_own_data",
    "your_own_loader",
}


@pytest.fixture
def printed_by(monkeypatch, capsys):
    """Runs a guide and returns what it prints."""
    monkeypatch.setenv("GUIDES_SHORT", "1")

    if BACKEND == "tensorflow":
        # For a few steps, tracing takes most of the time.
        eager = functools.partialmethod(keras.Model.compile, run_eagerly=True)
        monkeypatch.setattr(keras.Model, "compile", eager)

    def run(name):
        if BACKEND not in RUN_ON[name] and "ALL_TESTS" not in os.environ:
            pytest.skip(f"run on {' and '.join(RUN_ON[name])}")
        path = GUIDES / f"{name}.py"
        if BACKEND == "tensorflow":
            runpy.run_path(str(path))
            return capsys.readouterr().out
        result = forked.run([path], absent=without.TENSORFLOW)
        assert result.returncode == 0, result.stderr
        return result.stdout

    return run


def test_each_guide_has_a_backend():
    guides = {path.stem for path in GUIDES.glob("*.py")} - {"render"}
    assert set(RUN_ON) == guides
    assert {b for backends in RUN_ON.values() for b in backends} == {
        "tensorflow",
        "jax",
        "torch",
    }


@pytest.mark.parametrize("name", sorted(RUN_ON.keys() - LOOKED_AT))
def test_guide(name, printed_by):
    assert printed_by(name)


def test_distributed_pretraining(printed_by):
    printed = printed_by("distributed_pretraining")
    assert "one device" in printed
    # What the text says of the paper's batch of 2048.
    assert "| global, 2 x 8192 | 64 | 2048 | **126** | 1,008 |" in printed
    assert "| local, 292 x 512 | 64 | 2048 | 1,150 | **575** |" in printed


def test_pretrain_your_own_data(printed_by):
    printed = printed_by("pretrain_your_own_data")
    assert "(16, 4, 8, 192)" in printed
    # The noise of covariances is what the text says it is.
    table = re.findall(r"x \d+ +\d+ +([\d.]+) +([\d.]+)", printed)
    assert len(table) == 5
    for measured, expected in table:
        assert float(measured) == pytest.approx(float(expected), abs=0.15)
    assert "exit with 130" in printed
    # Four steps an epoch, stopped in the middle of the first.
    assert re.search(
        r"'stopped'}\n{'event': 'resumed', 'epoch': 0, 'step': [23]}\n", printed
    )
    assert "{'event': 'finished'}" in printed
    # The spread of what has nothing to keep it apart.
    healthy, collapsed = re.search(
        r"emb_std \* 512\^0.5 +([\d.]+) +([\d.]+)", printed
    ).groups()
    assert float(collapsed) < float(healthy) / 2
    assert "var 24.75\nlocal_var 49.50" in printed


def test_industrial_images(printed_by):
    printed = printed_by("industrial_images")
    # Of the formula: a third of all cells, in every split.
    assert printed.count("33 % defective") == 3
    # What is exported takes raw values of 16 bits.
    difference = re.search(r"largest difference for raw values: (\S+)", printed)
    assert float(difference[1]) <= 1e-5


def test_export_and_use(printed_by):
    printed = printed_by("export_and_use")
    # A .keras file, ONNX and, by TensorFlow, a SavedModel: as close as the text
    # says.
    differences = re.findall(r"largest difference: (\S+)", printed)
    assert len(differences) == (3 if BACKEND == "tensorflow" else 2)
    assert max(map(float, differences)) <= 1e-5
    assert printed.count("mean IoU") == 4
    assert "the same scores: True" in printed
    assert len(re.findall(r"AP \d+.\d%, AP at IoU 0.5", printed)) == 2


def test_your_own_loader(printed_by):
    printed = printed_by("your_own_loader")
    assert "4 batches, of views (4, 48, 48, 3)\nthe third is True" in printed
    (error,) = re.findall(r"largest error: ([\d.]+) pixels", printed)
    assert 0 < float(error) < 0.1
    assert "exit with 130" in printed
    assert "{'event': 'resumed', 'epoch': 0, 'step': 2}" in printed
    assert "{'event': 'finished'}" in printed
    assert "steps: 4" in printed
    assert "two shares are the batch: True" in printed
