"""Files of torchvision and of other methods, into backbones of ours."""

import argparse
import warnings

import keras
import numpy as np
import pytest

from keras_vicregl import VICRegL
from keras_vicregl.checkpoints import load_checkpoint, to_state_dict
from keras_vicregl.models.backbones import ConvNeXt, ResNet

torch = pytest.importorskip("torch")


def resnet():
    return ResNet((1,), widths=(4,), strides=(1,), name="small")


@pytest.fixture(scope="module")
def weights():
    keras.utils.set_random_seed(0)
    return to_state_dict(resnet())


def under(prefix, weights):
    return {
        prefix + key: torch.from_numpy(np.array(value))
        for key, value in weights.items()
    }


def others(*keys):
    return {key: torch.zeros(2) for key in keys}


def assert_loads(path, weights, make=resnet):
    model = make()
    for variable in model.variables:
        variable.assign(np.full(variable.shape, 7, "float32"))
    load_checkpoint(model, path)
    found = to_state_dict(model)
    assert list(found) == list(weights)
    for key, value in weights.items():
        np.testing.assert_array_equal(found[key], value)


def torchvision(weights):
    return under("", weights) | others("fc.weight", "fc.bias")


def moco(weights):
    return {
        "epoch": 200,
        "arch": "resnet50",
        "state_dict": {
            **under("module.encoder_k.", {k: 0 * weights[k] for k in weights}),
            **under("module.encoder_q.", weights),
            **others("module.encoder_q.fc.0.weight", "module.queue"),
        },
        "optimizer": {"state": {}, "param_groups": []},
    }


def dino(weights):
    heads = others("head.mlp.0.weight", "head.last_layer.weight_g")
    zeros = {key: 0 * value for key, value in weights.items()}
    return {
        "student": under("module.backbone.", zeros),
        "teacher": {**under("backbone.", weights), **heads},
        "args": argparse.Namespace(lr=0.1),
    }


def swav(weights):
    heads = others(
        "module.projection_head.0.weight", "module.prototypes.weight"
    )
    return {**under("module.", weights), **heads}


def lightning(weights):
    heads = others("model.predictor.0.weight", "model.classifier.bias")
    state_dict = {**under("model.backbone.", weights), **heads}
    return {"state_dict": state_dict, "global_step": 5, "loops": {}}


def with_momentum(weights):
    zeros = {key: 0 * value for key, value in weights.items()}
    return {
        "state_dict": {
            **under("momentum_backbone.", zeros),
            **under("encoder.", weights),
            **others("projector.0.weight"),
        }
    }


@pytest.mark.parametrize(
    "content, message",
    [
        (torchvision, r"left out: fc\.\* \(2 tensors\)\.$"),
        (moco, r"left out: encoder_k.*begins with 'encoder_q\.'"),
        (dino, "holds 2 networks, 'teacher', 'student': 'teacher' is taken"),
        (swav, r"projection_head\.\* \(1 tensor\), prototypes\.\* \(1 "),
        (lightning, r"predictor\.\* .*classifier\.\* .*'model\.backbone\.'"),
        (with_momentum, r"momentum_backbone\.\* \(30 tensors\), projector"),
    ],
)
def test_the_backbone_is_found(content, message, weights, tmp_path):
    torch.save(content(weights), tmp_path / "theirs.pth")
    with pytest.warns(UserWarning, match=message) as told:
        assert_loads(tmp_path / "theirs.pth", weights)
    left_out = [each for each in told if "left out" in str(each.message)]
    assert len(left_out) == 1
    assert left_out[0].filename == __file__


@pytest.mark.parametrize(
    "content",
    [
        lambda weights: {"state_dict": under("", weights)},
        lambda weights: {"model": under("_orig_mod.module.", weights)},
        lambda weights: under("backbone.", weights),
        lambda weights: {"model_state": under("backbone.body.", weights)},
        lambda weights: {"module": under("visual.", weights)},
        lambda weights: under("student_backbone.", weights),
        # As torchvision's files of old.
        lambda weights: {
            key: value
            for key, value in under("", weights).items()
            if not key.endswith("num_batches_tracked")
        },
    ],
)
def test_nothing_is_said_where_nothing_is_left_out(content, weights, tmp_path):
    torch.save(content(weights), tmp_path / "theirs.pth")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        assert_loads(tmp_path / "theirs.pth", weights)


def test_a_convnext_with_its_classifier(tmp_path):
    def convnext():
        return ConvNeXt((1, 1), (4, 8))

    weights = to_state_dict(convnext())
    content = {"model": under("", weights) | others("head.weight", "head.bias")}
    torch.save(content, tmp_path / "theirs.pth")
    with pytest.warns(UserWarning, match=r"left out: head\.\* \(2 tensors\)"):
        assert_loads(tmp_path / "theirs.pth", weights, convnext)


@pytest.mark.parametrize(
    "prefix, other, message",
    [
        ("", "decoder.weight", r"Surplus \(1\): decoder\.weight$"),
        (
            "encoder.",
            "encoder.layer9.weight",
            r"Surplus \(1\): layer9\.weight$",
        ),
        ("mine.", "fc.weight", "are there after 'mine.'.*without it"),
    ],
)
def test_all_else_is_strict(prefix, other, message, weights, tmp_path):
    content = {"state_dict": under(prefix, weights) | others(other)}
    torch.save(content, tmp_path / "theirs.pth")
    with pytest.raises(ValueError, match=message):
        load_checkpoint(resnet(), tmp_path / "theirs.pth")


def test_weights_that_are_not_finite_are_refused(weights, tmp_path):
    broken = {**weights, "bn1.bias": weights["bn1.bias"] * np.nan}
    torch.save(under("", broken), tmp_path / "theirs.pth")
    model = resnet()
    before = model.get_weights()
    with pytest.raises(ValueError, match=r"Not finite \(1\): bn1.bias"):
        load_checkpoint(model, tmp_path / "theirs.pth")
    for found, expected in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_a_missing_tensor_is_missing_under_a_prefix_too(weights, tmp_path):
    content = {"state_dict": under("module.encoder_q.", weights)}
    del content["state_dict"]["module.encoder_q.bn1.bias"]
    torch.save(content, tmp_path / "theirs.pth")
    with pytest.raises(ValueError, match=r"fit 'small'.\nMissing \(1\): bn1.b"):
        load_checkpoint(resnet(), tmp_path / "theirs.pth")


def test_a_whole_model_under_a_wrapper(tmp_path):
    def whole():
        return VICRegL(resnet(), expander_units=(8,), local_expander_units=(8,))

    weights = to_state_dict(whole())
    torch.save({"state_dict": under("model.", weights)}, tmp_path / "whole.pth")
    assert_loads(tmp_path / "whole.pth", weights, whole)
    found = VICRegL.from_checkpoint(tmp_path / "whole.pth", resnet())
    assert list(to_state_dict(found)) == list(weights)
