"""Two processes that call `deterministic` compute the same bits."""

import json
import os
import pathlib
import subprocess
import sys

import keras
import pytest

from keras_vicregl.distribution import deterministic
from keras_vicregl.distribution.environment import determinism

SCRIPT = pathlib.Path(__file__).with_name("repeated.py")
BACKEND = keras.backend.backend()


def trained(seed):
    """What two processes print that have as many threads as they like."""
    ours = ("OMP_NUM_THREADS", determinism.ONEDNN, determinism.CUBLAS)
    environment = {k: v for k, v in os.environ.items() if k not in ours}
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(seed)],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()[-2:]]


def test_two_runs_have_the_same_bits():
    first, second = trained(1)
    assert first == second
    assert first["threads"] == 1
    assert first["loss"][0] != first["loss"][1]


@pytest.mark.skipif(BACKEND == "torch", reason="Never too late on CPUs there.")
def test_it_says_that_it_comes_too_late(monkeypatch):
    keras.ops.convert_to_numpy(keras.ops.ones(2))
    monkeypatch.setattr(determinism, "_onednn_is_on", lambda: False)
    with pytest.raises(RuntimeError, match=r"too late: .* Call it first"):
        deterministic()


@pytest.mark.skipif(BACKEND != "tensorflow", reason="TensorFlow's own")
def test_onednn_is_told_of_by_name(monkeypatch):
    monkeypatch.setattr(determinism, "_onednn_is_on", lambda: True)
    with pytest.raises(RuntimeError, match="Set TF_ENABLE_ONEDNN_OPTS=0 bef"):
        deterministic()


@pytest.mark.skipif(BACKEND != "torch", reason="PyTorch's own")
def test_cublas_must_not_have_begun(monkeypatch):
    import torch

    monkeypatch.delenv(determinism.CUBLAS, raising=False)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    with pytest.raises(RuntimeError, match="too late: PyTorch"):
        deterministic()
    assert not torch.are_deterministic_algorithms_enabled()
