"""What is chosen for a folder: a recipe, a batch, and what views are of."""

import functools
import importlib
import json
import types

import keras
import numpy as np
import pytest
from PIL import Image

from keras_vicregl import VICRegL, backbone, distribution
from keras_vicregl.commands.main import main
from keras_vicregl.commands.pretraining import (
    beginning,
    building,
    choice,
    memory,
    running,
)
from keras_vicregl.commands.problems import UsageError
from keras_vicregl.data import load
from keras_vicregl.recipes import RECIPES
from keras_vicregl.training.saving.facts import batches_facts
from keras_vicregl.views import MultiView


@pytest.mark.parametrize(
    ("count", "side", "accelerator", "recipe"),
    [
        (50_000, 32, True, "cifar10_resnet18"),
        (5_000, 96, True, "stl10"),
        (200, 375, True, "camvid"),
        (1_000_000, 375, True, "resnet50_one_gpu"),
        (1_000_000, 375, False, "camvid"),
        (50_000, 32, False, "cifar10"),
        (5_000, 96, False, "stl10"),
    ],
)
def test_a_recipe_by_size_and_number(count, side, accelerator, recipe):
    chosen = choice.choose(count, side, accelerator)
    assert chosen.recipe == recipe
    assert str(side) in chosen.why
    if side < 100 and not accelerator:
        backbone = chosen.model.get("backbone", RECIPES[recipe].backbone)
        assert backbone == "small_resnet"
        assert chosen.precision == "float32"
    views = RECIPES[recipe].make_views()
    # Views are not larger than the images they are of, by much.
    assert views.groups[0].size[0] <= 1.5 * side


def test_outputs_are_counted_layer_by_layer():
    inputs = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(5, 3, strides=2, padding="same")(inputs)
    x = keras.layers.ReLU()(x)
    model = keras.Model(inputs, keras.layers.AveragePooling2D(2)(x))
    assert memory.outputs_of(model, (8, 12, 3)) == 2 * 4 * 6 * 5 + 2 * 3 * 5

    class Unknown(keras.Model):
        pass

    assert memory.outputs_of(Unknown(), (8, 8, 3)) is None


def test_what_a_step_of_resnet_50_takes():
    """docs/speed.md: batch 8, 2 x 224 px, 5.4 GB above the start (TensorFlow).

    The rule is for the safe side: at most half as much again.
    """
    with keras.device("cpu"):
        network = backbone("resnet50")
    model = types.SimpleNamespace(
        backbone=network, remat=False, count_params=lambda: 176_000_000
    )
    views = MultiView(groups=[{"size": 224, "count": 2}])
    need = memory.need_of(model, views, moments=1)
    assert 1.0 < need.of(8) / (5.6 * 2**30) < 1.5


def test_the_batch_is_halved_until_it_fits():
    need = memory.Need(1e9, 1e8)
    fit = memory.batch_that_fits
    batch, why = fit(256, 10_000, 1, need, 40e9)
    assert (batch, why.split(";")[0]) == (256, "the recipe's")
    batch, why = fit(256, 10_000, 1, need, 10e9)
    assert batch == 64  # 1 + 6.4 of 8 GB, and 128 would take 13.8
    assert "10 GB that are free" in why
    # Of several devices each has its share.
    assert fit(256, 10_000, 4, need, 10e9)[0] == 256
    batch, why = fit(256, 100, 1, need, 40e9)
    assert batch == 64
    assert "more than the 100 images" in why
    batch, why = fit(256, 10_000, 1, need, 1e9)
    assert batch == 2
    assert "may not fit" in why
    assert "could not be looked at" in fit(256, 10_000, 1, None, 1e9)[1]


def test_free_memory_is_known_here():
    assert distribution.free_memory() > 1e6
    assert distribution.devices()


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """Eight images of mixed sizes in a folder, and what is no image."""
    folder = tmp_path_factory.mktemp("some") / "photographs"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(8):
        shape = (200 + 8 * number, 240, 3)
        pixels = rng.integers(0, 256, shape, "uint8")
        Image.fromarray(pixels).save(folder / f"{number}.jpg")
    (folder / "damaged.jpg").write_bytes(b"\xff\xd8\xff\xe0 and no more")
    return folder


def test_sizes_are_looked_at(photographs):
    assert choice.shorter_side(load(str(photographs), on_error="skip")) == 228


def test_a_folder_alone(photographs, tmp_path, monkeypatch, capsys):
    """All but the training itself, of which other tests know."""
    monkeypatch.chdir(tmp_path)
    seen = {}
    training = importlib.import_module("keras_vicregl.training")
    monkeypatch.setattr(
        training, "pretrain", lambda model, batches, **how: seen.update(how)
    )
    monkeypatch.setattr(running, "quiet", lambda: pytest.MonkeyPatch.context())
    checkpoints = importlib.import_module("keras_vicregl.checkpoints")
    monkeypatch.setattr(checkpoints, "export", lambda *arguments: None)
    backend = keras.backend.backend()
    assert main(["pretrain", str(photographs), "--backend", backend]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "recipe camvid, chosen for images of about 228 pixels" in told
    assert "batch 8, for the recipe's 64 are more than the 9 images" in told
    assert "by the sizes of the layers' outputs" in told
    assert "--epochs 1000 would make 1,000" in told
    output = tmp_path / "runs" / "photographs"
    assert "writes runs/photographs/" in told
    config = json.loads((output / "config.json").read_text())
    assert (config["recipe"], config["batch_size"]) == ("camvid", 8)
    assert seen["output"].name == "photographs"
    assert seen["epochs"] == 60


def test_what_a_run_began_with_is_told_by_options(tmp_path):
    begun = {
        "data": "a",
        "recipe": "camvid",
        "alpha": None,
        "model": {"backbone": "small_resnet"},
        "log": ["wandb"],
    }
    (tmp_path / "config.json").write_text(json.dumps(begun))
    now = {
        **begun,
        "alpha": 0.5,
        "model": {"backbone": "resnet18", "alpha": 0.5},
        "log": [],
    }
    with pytest.raises(UsageError) as error:
        beginning.keep(tmp_path, now, begun, False, 3)
    assert str(error.value) == (
        f"the run in {tmp_path} began otherwise: --alpha was not given, and is "
        "0.5; --model backbone was small_resnet, and is resnet18. Go on as it "
        "began, give another --output, or go on like this by --allow-changes."
    )
    assert json.loads((tmp_path / "config.json").read_text()) == begun
    settings = types.SimpleNamespace(
        output=tmp_path,
        allow_changes=False,
        data="b",
        recipe=None,
        given={"data"},
    )
    with pytest.raises(UsageError, match="FOLDER was a, and is b"):
        beginning.check_same_images(settings, begun)
    settings.allow_changes = True
    beginning.check_same_images(settings, begun)
    assert beginning.keep(tmp_path, now, begun, True, 3) is True
    assert json.loads((tmp_path / "config.json").read_text()) == now


def test_what_was_chosen_stays_what_it_is(tmp_path):
    """With less memory, or more images, than when the run began."""
    (tmp_path / "steps.jsonl").write_text("{}\n")
    begun = {
        "recipe": "cifar10",
        "batch_size": 32,
        "epochs": 20,
        "precision": "float32",
        "model": {"backbone": "small_resnet", "alpha": 0.5},
    }
    (tmp_path / "config.json").write_text(json.dumps(begun))
    assert beginning.settings_of(tmp_path) == begun
    settings = types.SimpleNamespace(
        **dict.fromkeys(("recipe", "batch_size", "precision")),
        epochs=30,
        given={"epochs", "model"},
        model={"alpha": 0.5},
    )
    beginning.take_over(settings, begun)
    assert (settings.recipe, settings.batch_size) == ("cifar10", 32)
    assert settings.epochs == 30
    assert settings.model == begun["model"]
    # Nothing was trained where nothing is to be taken over.
    assert beginning.settings_of(tmp_path / "new") is None


def test_the_first_batches_are_made_once():
    """And a partial stays one, of which others read the seed."""
    made = []

    def make(start, seed):
        made.append(start)
        return (*start, seed)

    batches = running._MadeOnce(functools.partial(make, seed=3))
    assert batches_facts(batches, None) == {"seed": 3}
    batches.make()
    assert batches(start=(0, 0)) == (0, 0, 3)
    assert made == [(0, 0)]
    assert batches(start=(0, 0)) == (0, 0, 3)
    assert len(made) == 2
    # A run that goes on has others.
    batches.make()
    assert batches(start=(2, 1)) == (2, 1, 3)
    assert batches(start=(0, 0)) == (0, 0, 3)
    assert len(made) == 5


def test_momentum_of_batch_normalisations(photographs):
    settings = types.SimpleNamespace(
        model={"batch_norm_momentum": 0.25}, precision="float32"
    )
    source, recipe = load(str(photographs)), RECIPES["scenes"]
    model = building.make_model(recipe, source, recipe.make_views(), settings)
    momenta = {
        layer.momentum
        for layer in model.backbone._flatten_layers()
        if isinstance(layer, keras.layers.BatchNormalization)
    }
    assert momenta == {0.25}
    settings.model["batch_norm_momentum"] = 2
    with pytest.raises(UsageError, match=r"--model: .*below 1"):
        building.make_model(recipe, source, recipe.make_views(), settings)


def test_a_backbone_of_ones_own(photographs, tmp_path, monkeypatch):
    own = keras.Sequential(
        [keras.Input((None, None, 3)), keras.layers.Conv2D(6, 8, 8)]
    )
    own.save(tmp_path / "mine.keras")
    settings = types.SimpleNamespace(
        model={"backbone": str(tmp_path / "mine.keras"), "alpha": 1.0},
        precision="float32",
    )
    source = load(str(photographs))
    views = RECIPES["scenes"].make_views()
    model = building.make_model(RECIPES["scenes"], source, views, settings)
    assert isinstance(model, VICRegL)
    np.testing.assert_array_equal(
        model.backbone.get_weights()[0], own.get_weights()[0]
    )
