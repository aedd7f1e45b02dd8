"""Reading PyTorch files: both forms, and what must not be loaded."""

import sys
import types

import numpy as np
import pytest

from keras_vicregl.checkpoints.torch_files import (
    read_state_dict,
    write_state_dict,
)

torch = pytest.importorskip("torch")

WEIGHTS = {
    "backbone.conv1.weight": np.arange(6, dtype="float32").reshape(2, 3),
    "backbone.bn1.num_batches_tracked": np.zeros((), "int64"),
}


def assert_same(found, expected):
    assert list(found) == list(expected)
    for key, value in expected.items():
        assert found[key].dtype == value.dtype
        np.testing.assert_array_equal(found[key], value)


@pytest.mark.parametrize("full", [False, True])
def test_what_is_written_is_read(full, tmp_path):
    path = tmp_path / "new" / "weights.pth"
    write_state_dict(WEIGHTS, path, full=full)
    assert_same(read_state_dict(path), WEIGHTS)
    assert list(path.parent.iterdir()) == [path]
    keys = torch.load(path, weights_only=True)
    keys = keys["model"] if full else keys
    assert all(key.startswith("module.") for key in keys) == full


def published_optimizer(path, monkeypatch):
    """A full checkpoint as LARS wrote it, with a function by its name."""
    optimizers = types.ModuleType("optimizers")
    code = "def exclude_bias_and_norm(p):\n    return p.ndim == 1"
    exec(code, vars(optimizers))
    optimizers.exclude_bias_and_norm.__module__ = "optimizers"
    monkeypatch.setitem(sys.modules, "optimizers", optimizers)
    function = optimizers.exclude_bias_and_norm
    groups = [{"weight_decay_filter": function, "lars_adaptation_filter": 0}]
    torch.save(
        {
            "epoch": 100,
            "model": {
                f"module.{key}": torch.from_numpy(np.array(value))
                for key, value in WEIGHTS.items()
            },
            "optimizer": {"state": {}, "param_groups": groups},
        },
        path,
    )
    monkeypatch.delitem(sys.modules, "optimizers")


def test_the_published_optimizer_is_no_obstacle(tmp_path, monkeypatch):
    path = tmp_path / "fullckpt.pth"
    published_optimizer(path, monkeypatch)
    assert_same(read_state_dict(path), WEIGHTS)
    # Allowed while reading only.
    with pytest.raises(Exception, match="exclude_bias_and_norm"):
        torch.load(path, weights_only=True)


class _Harmful:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


def test_code_is_not_run(tmp_path):
    victim = tmp_path / "victim"
    torch.save({"a": _Harmful(str(victim))}, tmp_path / "evil.pth")
    with pytest.raises(ValueError, match=r"evil\.pth.*run code.*open"):
        read_state_dict(tmp_path / "evil.pth")
    assert not victim.exists()


class _Called:
    def __reduce__(self):
        optimizers = types.ModuleType("optimizers")
        sys.modules["optimizers"] = optimizers
        code = "def exclude_bias_and_norm(*p):\n    return p"
        exec(code, vars(optimizers))
        optimizers.exclude_bias_and_norm.__module__ = "optimizers"
        return optimizers.exclude_bias_and_norm, ("anything",)


def test_the_allowed_name_is_never_called(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optimizers", None)
    torch.save({"a": _Called()}, tmp_path / "called.pth")
    with pytest.raises(ValueError, match=r"called\.pth") as caught:
        read_state_dict(tmp_path / "called.pth")
    assert "must not be called" in str(caught.value.__cause__)


@pytest.mark.parametrize("kept", [0, 1, 100, -30])
def test_a_truncated_file_is_refused(kept, tmp_path):
    path = tmp_path / "whole.pth"
    write_state_dict(WEIGHTS, path)
    cut = tmp_path / "cut.pth"
    cut.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ValueError, match=r"cut\.pth.*cut short"):
        read_state_dict(cut)


def test_another_file_is_refused(tmp_path):
    path = tmp_path / "page.pth"
    path.write_text("<html>403 Forbidden</html>")
    with pytest.raises(ValueError, match=r"page\.pth.*no PyTorch checkpoint"):
        read_state_dict(path)


@pytest.mark.parametrize(
    "content, message",
    [
        (torch.zeros(2), "no state dict, but a Tensor"),
        ({}, "no state dict"),
        ({"epoch": 1, "weights": torch.zeros(2)}, r"under \['epoch'\]"),
        ({"a": torch.zeros(2), "module.a": torch.zeros(2)}, "'a' twice"),
    ],
)
def test_other_contents_are_refused(content, message, tmp_path):
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=message):
        read_state_dict(tmp_path / "other.pth")


def test_bfloat16_becomes_float32(tmp_path):
    values = torch.tensor([0.5, -3.0], dtype=torch.bfloat16)
    torch.save({"a": values}, tmp_path / "half.pth")
    expected = {"a": np.array([0.5, -3.0], "float32")}
    assert_same(read_state_dict(tmp_path / "half.pth"), expected)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent"):
        read_state_dict(tmp_path / "absent.pth")


@pytest.mark.parametrize(
    ("suffix", "advice"),
    [
        (".keras", "keras.saving.load_model"),
        (".weights.h5", "load_weights"),
        (".npz", "as tensors"),
        (".safetensors", "Install safetensors"),
        (".onnx", "load_backbone"),
    ],
)
def test_files_of_others_are_not_to_be_removed(suffix, advice, tmp_path):
    path = tmp_path / f"backbone{suffix}"
    if suffix == ".npz":
        np.savez(path, kernel=np.zeros(3))
    else:
        path.write_bytes(b"a header, and so on")
    with pytest.raises(ValueError, match=f"another kind.*{advice}") as caught:
        read_state_dict(path)
    assert "Remove" not in str(caught.value)
