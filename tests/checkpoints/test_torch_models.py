"""Weights to and from the networks of torchvision and timm.

What the real networks give was recorded (`torch_models.record`), and is
compared with here. Where they are installed they run beside ours, the large
ones too: `make test-torch-models`.
"""

import importlib.util
import json
import os

import keras
import numpy as np
import pytest
import seeded_weights
import torch_models
from torch_models import DEPTHS, NAMES, WIDTHS

from keras_vicregl import VICRegL, backbone
from keras_vicregl.checkpoints import (
    load_checkpoint,
    save_checkpoint,
    to_state_dict,
)
from keras_vicregl.checkpoints.layouts import from_layouts, in_layout
from keras_vicregl.models.backbones import ConvNeXt, ResNet
from keras_vicregl.models.backbones.registry import state_dict_layout

RECORDED = json.loads(torch_models.FILE.read_text())
EACH = [(package, name) for package, names in NAMES.items() for name in names]
SMALL = [
    ("torchvision", "small_resnet"),  # timm's is the same
    ("torchvision", "small_convnext"),
    ("timm", "small_convnext"),
]
# Of the largest value. Sums of float32 in another order make 1e-6.
TOLERANCE = 1e-5
# Said where their absence is a failure.
REQUIRED = "TORCH_MODELS" in os.environ
INSTALLED = all(
    importlib.util.find_spec(name) for name in ("torch", "torchvision", "timm")
)


def built(name):
    with seeded_weights.no_random_weights():
        if name == "small_resnet":
            return ResNet((1, 1, 1, 1), block="basic")
        if name == "small_convnext":
            return ConvNeXt(DEPTHS, WIDTHS, layer_scale=1.0)
        if name.startswith("convnext"):
            return backbone(name, layer_scale=1.0)
        return backbone(name)


def in_their_layout(package, weights, is_convnext):
    return in_layout(weights, package) if is_convnext else weights


@pytest.mark.parametrize("name", NAMES["timm"])
def test_keys_and_shapes_are_theirs(name):
    with seeded_weights.no_weights():
        ours = state_dict_layout(backbone(name))
    weights = {
        key: np.broadcast_to(np.float32(0), entry.shape)
        for key, entry in ours.items()
    }
    for package in NAMES:
        if name in NAMES[package]:
            theirs = in_their_layout(package, weights, "convnext" in name)
            recorded = RECORDED[f"{package} {name}"]
            assert len(theirs) == recorded["tensors"]
            shapes = {key: value.shape for key, value in theirs.items()}
            assert torch_models.fingerprint(shapes) == recorded["keys"]


@pytest.mark.every_backend
@pytest.mark.parametrize(
    ("package", "name"), SMALL + EACH * ("ALL_TESTS" in os.environ)
)
def test_their_weights_give_the_map_that_was_recorded(package, name, tmp_path):
    torch = pytest.importorskip("torch")
    model = built(name)
    shapes = {
        key: value.shape
        for key, value in to_state_dict(model, layout=package).items()
    }
    weights = torch_models.their_weights(shapes)
    torch.save(
        {key: torch.from_numpy(value) for key, value in weights.items()},
        tmp_path / "theirs.pth",
    )
    load_checkpoint(model, tmp_path / "theirs.pth")
    maps = seeded_weights.run(model, torch_models.images())
    recorded = RECORDED[f"{package} {name}"]
    found = torch_models.figures(maps)
    assert found["shape"] == recorded["shape"]
    for figure in ("values", "largest", "mean"):
        np.testing.assert_allclose(
            found[figure],
            recorded[figure],
            rtol=0,
            atol=TOLERANCE * recorded["largest"],
        )
    np.testing.assert_allclose(  # a square doubles what is relative
        found["mean_of_squares"],
        recorded["mean_of_squares"],
        rtol=2 * TOLERANCE,
    )


# The networks themselves


@pytest.fixture(scope="module")
def packages():
    if not INSTALLED and not REQUIRED:
        pytest.skip(
            "torchvision or timm is not installed: they run in "
            "`make test-torch-models`"
        )
    return torch_models.import_packages()


@pytest.mark.parametrize(("package", "name"), EACH)
def test_their_network_and_ours_give_the_same_map(
    package, name, packages, tmp_path, record_property
):
    import torch

    theirs = torch_models.network(package, name)
    shapes = torch_models.shapes_of(theirs)
    torch_models.load(
        theirs,
        torch_models.their_weights(torch_models.without_classifier(shapes)),
    )
    expected = torch_models.their_maps(package, theirs)

    # Theirs into ours, with the classifier left out.
    torch.save(theirs.state_dict(), tmp_path / "theirs.pth")
    model = built(name)
    with pytest.warns(UserWarning, match="left out.*2 tensors"):
        load_checkpoint(model, tmp_path / "theirs.pth")
    found = seeded_weights.run(model, torch_models.images())
    difference = np.abs(found - expected).max() / np.abs(expected).max()
    record_property("relative_difference", f"{difference:.1e}")
    print(f"{package} {name}: {difference:.1e}")
    assert difference < TOLERANCE

    # And back, to the bit, into one whose weights are others.
    save_checkpoint(model, tmp_path / "ours.pth", layout=package)
    del model
    for value in theirs.state_dict().values():
        value.zero_()
    ours = torch.load(tmp_path / "ours.pth", weights_only=True)
    torch_models.load(theirs, {k: v.numpy() for k, v in ours.items()})
    again = torch_models.their_maps(package, theirs)
    np.testing.assert_array_equal(again, expected)


@pytest.mark.parametrize("package", NAMES)
def test_without_layer_scale_their_network_gives_the_same(
    package, packages, tmp_path
):
    import torch

    keras.utils.set_random_seed(0)
    model = seeded_weights_of(backbone("convnext_tiny"))
    save_checkpoint(model, tmp_path / "ours.pth", layout=package)
    weights = torch.load(tmp_path / "ours.pth", weights_only=True)
    theirs = torch_models.network(package, "convnext_tiny")
    torch_models.load(theirs, {k: v.numpy() for k, v in weights.items()})
    expected = torch_models.their_maps(package, theirs)
    found = seeded_weights.run(model, torch_models.images())
    difference = np.abs(found - expected).max() / np.abs(expected).max()
    assert difference < TOLERANCE


def test_behind_its_norm_timm_pools_as_we_do(packages):
    """With `head_norm_first`, whose norm has another name."""
    import timm
    import torch

    theirs = timm.create_model("convnext_tiny_hnf", pretrained=False).eval()
    shapes = torch_models.without_classifier(torch_models.shapes_of(theirs))
    weights = torch_models.their_weights(shapes)
    torch_models.load(theirs, weights)
    model = built("convnext_tiny")
    layout = state_dict_layout(model)
    for key, value in from_layouts(weights, layout).items():
        layout[key].assign(value)
    x = torch.from_numpy(torch_models.images()).permute(0, 3, 1, 2)
    with torch.no_grad():
        pooled = theirs.forward_head(theirs.forward_features(x), True).numpy()
    found = seeded_weights.run(model, torch_models.images()).mean((1, 2))
    np.testing.assert_allclose(
        found, pooled, rtol=0, atol=TOLERANCE * np.abs(pooled).max()
    )


def seeded_weights_of(model):
    seeded_weights.assign(state_dict_layout(model), seed=5)
    return model


# Names alone


def small(**kwargs):
    return seeded_weights_of(ConvNeXt((1, 2), (4, 8), **kwargs))


@pytest.mark.parametrize("package", NAMES)
@pytest.mark.parametrize("prefix", ["", "module.backbone."])
def test_there_and_back(package, prefix, tmp_path):
    torch = pytest.importorskip("torch")
    model = small(layer_scale=0.5)
    weights = to_state_dict(model)
    content = {
        prefix + key: torch.from_numpy(value)
        for key, value in to_state_dict(model, layout=package).items()
    }
    torch.save({"state_dict": content}, tmp_path / "theirs.pth")
    other = ConvNeXt((1, 2), (4, 8), layer_scale=0.5)
    load_checkpoint(other, tmp_path / "theirs.pth")
    for key, value in to_state_dict(other).items():
        np.testing.assert_array_equal(value, weights[key])


@pytest.mark.parametrize("package", NAMES)
def test_factors_of_one_are_no_factors(package, tmp_path):
    pytest.importorskip("torch")
    model = small()
    save_checkpoint(model, tmp_path / "theirs.pth", layout=package)
    weights = to_state_dict(model)
    assert not any("gamma" in key for key in weights)
    other = ConvNeXt((1, 2), (4, 8))
    load_checkpoint(other, tmp_path / "theirs.pth")
    for key, value in to_state_dict(other).items():
        np.testing.assert_array_equal(value, weights[key])


@pytest.mark.parametrize("package", ["published", *NAMES])
def test_other_factors_are_refused_with_what_to_do(package, tmp_path):
    pytest.importorskip("torch")
    path = tmp_path / "theirs.pth"
    save_checkpoint(small(layer_scale=0.5), path, layout=package)
    with pytest.raises(ValueError, match=r"build it with layer_scale=1\.0"):
        load_checkpoint(ConvNeXt((1, 2), (4, 8)), path)


def test_what_is_refused():
    with pytest.raises(ValueError, match=r"`layout` must be.*'timm'.*'keras'"):
        to_state_dict(small(), layout="keras")
    whole = VICRegL(small(), expander_units=(8,), local_expander_units=(8,))
    with pytest.raises(ValueError, match="Pass its `backbone`"):
        to_state_dict(whole, layout="timm")
