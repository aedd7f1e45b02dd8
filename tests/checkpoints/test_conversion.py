"""Published layouts into our models, and back; the whole model's figures."""

import functools
import json

import keras
import numpy as np
import pytest
import seeded_weights
from seeded_weights import GOLDENS, published_shapes, state_dict

from keras_vicregl import VICRegL, backbone
from keras_vicregl.checkpoints import (
    PUBLISHED,
    load_checkpoint,
    save_checkpoint,
    to_state_dict,
)
from keras_vicregl.checkpoints.torch_files import write_state_dict
from keras_vicregl.models.backbones import (
    BACKBONES,
    ResNet,
    SmallResNet,
    as_backbone,
)
from keras_vicregl.recipes import RECIPES

torch = pytest.importorskip("torch")


def same_bits(found, expected):
    assert list(found) == list(expected)
    for key, value in expected.items():
        assert found[key].dtype == value.dtype, key
        assert found[key].shape == value.shape, key
        assert found[key].tobytes() == value.tobytes(), key


@pytest.mark.parametrize(
    ("name", "published", "seed"),
    [
        ("resnet50", "resnet50_seed1", 1),
        ("resnet101", "resnet101_seed2", 2),
        ("convnext_tiny", "convnext_tiny_seed1", 1),
        ("convnext_base", "convnext_base_seed2", 2),
    ],
)
def test_a_published_backbone_comes_back_bit_for_bit(
    name, published, seed, tmp_path
):
    weights = state_dict(published_shapes(published), seed)
    write_state_dict(weights, tmp_path / "there.pth")
    with seeded_weights.no_random_weights():
        model = backbone(name, weights=tmp_path / "there.pth")
    save_checkpoint(model, tmp_path / "back.pth")
    back = torch.load(tmp_path / "back.pth", weights_only=True)
    same_bits({key: value.numpy() for key, value in back.items()}, weights)


# The whole model


@functools.cache
def recorded_step(name):
    """Inputs and outputs of one recorded step of the release."""
    with np.load(GOLDENS / f"{name}.npz") as file:
        return {**file, "config": json.loads(str(file["config"]))}


def full_checkpoint(name, path):
    """Writes the seeded weights of a recorded step; returns them."""
    weights = state_dict(
        published_shapes(name), recorded_step(name)["config"]["seed"]
    )
    write_state_dict(weights, path, full=True)
    return weights


@pytest.fixture(scope="module", params=["step_resnet50", "step_convnext_tiny"])
def whole(request, tmp_path_factory):
    """The recorded step, the seeded weights, and the model with them."""
    path = tmp_path_factory.mktemp("checkpoint") / "full.pth"
    step = recorded_step(request.param)
    weights = full_checkpoint(request.param, path)
    arguments = {}
    if "convnext" in request.param:
        arguments["stochastic_depth_rate"] = step["config"]["drop_path"]
    with seeded_weights.no_random_weights():
        model = VICRegL.from_checkpoint(
            path, backbone(step["config"]["arch"], **arguments)
        )
    return step, weights, model


def test_a_full_checkpoint_tells_how_the_model_is_built(whole):
    step, _, model = whole
    config = step["config"]
    widths = {
        key: tuple(map(int, config[key].split("-")))
        for key in ("mlp", "maps_mlp")
    }
    assert model.expander_units == widths["mlp"]
    assert model.local_expander_units == widths["maps_mlp"]
    assert model.num_classes == config["num_classes"]
    norms = {"resnet50": "batch", "convnext_tiny": "layer"}
    assert model.normalization == norms[config["arch"]]


def test_a_full_checkpoint_comes_back_bit_for_bit(whole, tmp_path):
    _, weights, model = whole
    found = to_state_dict(model)
    same_bits(found, weights)
    save_checkpoint(model, tmp_path / "back.pth")
    back = torch.load(tmp_path / "back.pth", weights_only=True)["model"]
    assert list(back) == [f"module.{key}" for key in found]


def forward_in_training_mode(model, batch):
    batch = keras.tree.map_structure(keras.ops.convert_to_tensor, batch)
    if keras.backend.backend() == "jax":
        import jax

        step = jax.jit(functools.partial(model.stateless_call, training=True))
        outputs, _ = step(
            [v.value for v in model.trainable_variables],
            [v.value for v in model.non_trainable_variables],
            batch,
        )
    else:
        with seeded_weights.no_gradients():
            outputs = model(batch, training=True)
    return keras.tree.map_structure(keras.ops.convert_to_numpy, outputs)


def test_the_converted_model_gives_the_recorded_outputs(whole):
    step, _, model = whole
    before = model.get_weights()
    views = tuple(
        step[f"view_{view}_x16"].astype("float32") / 16
        for view in range(len(step["config"]["grids"]))
    )
    to_source = np.zeros((len(views[0]), 2, 3), "float32")
    batch = {"views": views, "view_to_source": (to_source,) * len(views)}
    outputs = forward_in_training_mode(model, batch)
    model.set_weights(before)
    names = {
        "representations": "representation",
        "embeddings": "embedding",
        "local_embeddings": "maps_embedding",
    }
    results = {
        f"{recorded}_{view}": outputs[name][view]
        for name, recorded in names.items()
        for view in range(len(views))
    }
    results["logits_0"] = outputs["logits"]
    for name, result in results.items():
        expected = step[name]
        assert result.shape == expected.shape, name
        # Float32 convolutions of two frameworks, 50 layers with statistics
        # of batches of four.
        error = np.abs(result - expected).max() / np.abs(expected).max()
        assert error < 1e-3, name


def test_a_backbone_takes_its_part_of_a_full_checkpoint(whole, tmp_path):
    step, weights, _ = whole
    write_state_dict(weights, tmp_path / "full.pth", full=True)
    with (
        seeded_weights.no_random_weights(),
        pytest.warns(UserWarning, match=r"left out: .*projector\.\*"),
    ):
        part = backbone(step["config"]["arch"], weights=tmp_path / "full.pth")
    expected = {
        key.removeprefix("backbone."): value
        for key, value in weights.items()
        if key.startswith("backbone.")
    }
    same_bits(to_state_dict(part), expected)


# Refusals, on a small model


@pytest.fixture
def small():
    keras.utils.set_random_seed(0)
    return ResNet((1,), widths=(8,), strides=(1,), block="basic", name="small")


def changed(model, tmp_path, change):
    weights = to_state_dict(model)
    change(weights)
    write_state_dict(weights, tmp_path / "changed.pth")
    return tmp_path / "changed.pth"


def test_all_that_does_not_fit_is_listed_and_nothing_changes(small, tmp_path):
    def change(weights):
        del weights["conv1.weight"], weights["layer1.0.bn2.running_mean"]
        weights["extra.weight"] = np.ones((2, 8), "float32")
        weights["bn1.bias"] = np.ones(9, "float32")
        weights["bn1.weight"] += 5

    path = changed(small, tmp_path, change)
    before = small.get_weights()
    with pytest.raises(ValueError) as caught:
        load_checkpoint(small, path)
    message = str(caught.value)
    assert "changed.pth: the checkpoint does not fit 'small'" in message
    assert "Missing (2): conv1.weight, layer1.0.bn2.running_mean" in message
    assert "Surplus (1): extra.weight" in message
    assert "bn1.bias (checkpoint (9,), model (8,))" in message
    for old, new in zip(before, small.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_checkpoint_with_one_missing_key_is_refused(small, tmp_path):
    path = changed(small, tmp_path, lambda weights: weights.pop("bn1.bias"))
    with pytest.raises(ValueError, match=r"Missing \(1\): bn1\.bias"):
        load_checkpoint(small, path)


def test_another_architecture_is_refused(small, tmp_path):
    save_checkpoint(small, tmp_path / "resnet.pth")
    with pytest.raises(ValueError, match=r"Missing.*\n.*Surplus"):
        backbone("convnext_tiny", weights=tmp_path / "resnet.pth")


def test_a_backbone_alone_does_not_make_a_model(small, tmp_path):
    save_checkpoint(small, tmp_path / "plain.pth")
    with pytest.raises(ValueError, match="not a full one"):
        VICRegL.from_checkpoint(tmp_path / "plain.pth", small)
    model = VICRegL(small, expander_units=(8,), local_expander_units=(8,))
    with pytest.raises(ValueError, match=r"into `model\.backbone`"):
        load_checkpoint(model, tmp_path / "plain.pth")


def test_other_models_and_missing_names_are_refused(small, tmp_path):
    inputs = keras.Input((8, 8, 3))
    other = as_backbone(keras.Model(inputs, keras.layers.Conv2D(2, 3)(inputs)))
    with pytest.raises(TypeError, match="ResNet or ConvNeXt"):
        to_state_dict(other)
    with pytest.raises(FileNotFoundError, match=r"neither a file nor the name"):
        load_checkpoint(small, "resnet50_alpha0.8")
    with pytest.raises(ValueError, match="`backbone` must be given"):
        VICRegL.from_checkpoint(tmp_path / "full.pth")


def test_a_published_name_chooses_backbone_and_alpha(monkeypatch, tmp_path):
    """From the download on, with a small model in the place of a large one."""
    model = VICRegL(
        SmallResNet(widths=(4, 4, 4, 4)),
        expander_units=(8, 6),
        local_expander_units=(5,),
        normalization="layer",
        num_classes=3,
    )
    save_checkpoint(model, tmp_path / "full.pth")
    asked = []

    def download(name, *, full):
        asked.append((name, full))
        return tmp_path / "full.pth"

    published = "keras_vicregl.checkpoints.published"
    monkeypatch.setattr(f"{published}.download_checkpoint", download)
    found = VICRegL.from_checkpoint(
        "resnet50_alpha0.9", SmallResNet(widths=(4, 4, 4, 4))
    )
    assert asked == [("resnet50_alpha0.9", True)]
    assert found.alpha == PUBLISHED["resnet50_alpha0.9"].alpha == 0.9
    assert found.normalization == "layer"
    same_bits(to_state_dict(found), to_state_dict(model))


def full_checkpoint_of(model, tmp_path, drop=(), add=()):
    weights = to_state_dict(model)
    for key in drop:
        del weights[key]
    weights.update(dict.fromkeys(add, np.zeros(2, "float32")))
    write_state_dict(weights, tmp_path / "full.pth", full=True)
    return tmp_path / "full.pth"


def whole_small(**arguments):
    return VICRegL(
        SmallResNet(widths=(4, 4, 4, 4)),
        **{
            "expander_units": (8, 6),
            "local_expander_units": (5, 7, 3),
            "num_classes": 3,
            **arguments,
        },
    )


@pytest.mark.parametrize(
    "arguments", [{"num_classes": None}, {"alpha": 1.0}, {"alpha": 0.0}]
)
def test_heads_can_be_left_out(arguments, tmp_path):
    """Whether the checkpoint has them or not."""
    model, fewer = whole_small(), whole_small(**arguments)
    path = full_checkpoint_of(model, tmp_path)
    body = SmallResNet(widths=(4, 4, 4, 4))
    found = VICRegL.from_checkpoint(path, body, **arguments)
    weights = to_state_dict(model)
    expected = {key: weights[key] for key in to_state_dict(fewer)}
    assert len(expected) < len(weights)
    same_bits(to_state_dict(found), expected)

    save_checkpoint(fewer, tmp_path / "fewer.pth")
    body = SmallResNet(widths=(4, 4, 4, 4))
    found = VICRegL.from_checkpoint(tmp_path / "fewer.pth", body, **arguments)
    same_bits(to_state_dict(found), to_state_dict(fewer))


@pytest.mark.parametrize(
    "key",
    [
        "projector.0.weight",
        "projector.3.weight",
        "maps_projector.3.bias",
        "maps_projector.6.weight",
        "classifier.weight",
        "backbone.conv1.weight",
    ],
)
def test_what_a_full_checkpoint_lacks_is_named(key, tmp_path):
    path = full_checkpoint_of(whole_small(), tmp_path, drop=[key])
    body = SmallResNet(widths=(4, 4, 4, 4))
    with pytest.raises(ValueError, match=rf"Missing \(1\): {key}"):
        VICRegL.from_checkpoint(path, body)


def test_a_backbone_takes_only_known_heads_for_heads(tmp_path):
    path = full_checkpoint_of(whole_small(), tmp_path, add=["decoder.weight"])
    with (
        pytest.warns(UserWarning, match="left out"),
        pytest.raises(ValueError, match=r"Surplus \(1\): decoder\.weight"),
    ):
        load_checkpoint(SmallResNet(widths=(4, 4, 4, 4)), path)


def test_recipes_name_their_backbones_and_views():
    for recipe in RECIPES.values():
        assert recipe.backbone in BACKBONES
        groups = recipe.make_views().groups
        assert [group.count for group in groups] == (
            [2] if "resnet" in recipe.backbone else [2, 6]
        )
    model = VICRegL.from_recipe(
        "resnet50",
        backbone=SmallResNet(widths=(4, 4, 4, 4)),
        expander_units=(8,),
        local_expander_units=(8,),
    )
    assert model.alpha == 0.75
    with pytest.raises(ValueError, match=r"resnet50.*'resnet51'"):
        VICRegL.from_recipe("resnet51")


def test_what_float16_cannot_hold_is_refused(tmp_path):
    weights = to_state_dict(ResNet((1,), widths=(4,), strides=(1,)))
    weights["bn1.running_var"][:] = 1e6
    write_state_dict(weights, tmp_path / "large.pth")
    model = ResNet((1,), widths=(4,), strides=(1,), dtype="float16")
    message = r"range of the model's float16 \(1\): bn1.running_var"
    with pytest.raises(ValueError, match=message):
        load_checkpoint(model, tmp_path / "large.pth")
    mixed = ResNet((1,), widths=(4,), strides=(1,), dtype="mixed_float16")
    load_checkpoint(mixed, tmp_path / "large.pth")  # weights are float32


def test_bfloat16_weights_are_saved_as_float32(tmp_path):
    model = ResNet((1,), widths=(4,), strides=(1,), dtype="bfloat16")
    save_checkpoint(model, tmp_path / "model.pth")
    saved = torch.load(tmp_path / "model.pth", weights_only=True)
    kernel = saved["conv1.weight"]
    assert kernel.dtype == torch.float32
    expected = keras.ops.cast(model.get_layer("conv1").kernel, "float32")
    np.testing.assert_array_equal(
        kernel.numpy(),
        keras.ops.convert_to_numpy(expected).transpose(3, 2, 0, 1),
    )
