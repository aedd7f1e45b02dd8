"""Recipes build what they say, and survive a file."""

import dataclasses
import json

import keras
import numpy as np
import pytest
from seeded_weights import no_weights

from keras_vicregl import VICRegL
from keras_vicregl.commands.main import make_parser
from keras_vicregl.models.backbones import SmallResNet
from keras_vicregl.recipes import RECIPES, Recipe

SMALL = {"expander_units": [8], "local_expander_units": [4]}


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_comes_back_from_a_json_file(name):
    recipe = RECIPES[name]
    assert recipe.name == name
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe
    assert recipe.command == (
        f"keras-vicregl pretrain --recipe {name} --data {recipe.data}"
    )
    words = recipe.command.split()
    assert make_parser().parse_args(words[1:]).recipe == name
    assert recipe.time and recipe.accuracy


def test_a_recipe_cannot_be_changed_by_accident():
    recipe = RECIPES["resnet50"]
    with pytest.raises(dataclasses.FrozenInstanceError):
        recipe.epochs = 1
    with pytest.raises(TypeError):
        recipe.model["alpha"] = 0.9
    with pytest.raises(TypeError):
        recipe.views["groups"][0]["size"] = 96
    recipe.to_dict()["model"]["alpha"] = 0.9
    assert recipe.alpha == 0.75
    assert recipe.replace(model={"alpha": 0.9}).alpha == 0.9


@pytest.mark.parametrize(
    ("name", "constructor"),
    [
        ("resnet50", "resnet"),
        ("convnext_base", "convnext"),
        ("scenes", "scenes"),
    ],
)
def test_views_are_those_of_the_ready_made_layers(name, constructor):
    multi_view = pytest.importorskip("keras_vicregl.views").MultiView
    found = RECIPES[name].make_views(seed=3, name="views").get_config()
    expected = getattr(multi_view, constructor)(seed=3, name="views")
    assert found == expected.get_config()


def test_views_take_overrides():
    views = RECIPES["convnext_small"].make_views(track_flips=False)
    assert not views.track_flips
    assert [group.count for group in views.groups] == [2, 6]


@pytest.mark.parametrize(
    "name", ["stl10", "cifar10", "cifar10_resnet18", "camvid", "scenes"]
)
def test_small_recipes_have_more_positions_than_they_match(name):
    recipe = RECIPES[name]
    (group,) = recipe.views["groups"]
    with no_weights():
        model = recipe.make_model(backbone=None, **SMALL)
    size = group["size"]
    _, height, width, _ = model.backbone.compute_output_shape(
        (None, size, size, 3)
    )
    assert (height, width) == {
        "stl10": (6, 6),
        "cifar10": (3, 3),
        "cifar10_resnet18": (4, 4),
        "camvid": (8, 8),
        "scenes": (6, 6),
    }[name]
    assert max(recipe.model.get("num_matches", (20, 4))) < height * width


def test_a_model_is_what_the_recipe_says():
    with no_weights():
        model = RECIPES["scenes"].make_model()
    assert model.alpha == 0.75
    assert model.expander_units == (512, 512, 512)
    assert model.local_expander_units == (128, 128, 64)
    assert model.classifier is None
    assert model.backbone.widths == (16, 24, 32, 48)
    assert model.dtype_policy.name == "float32"


def test_a_model_takes_overrides():
    with no_weights():
        model = RECIPES["scenes"].make_model(
            10, alpha=0.9, precision="mixed_bfloat16", **SMALL
        )
    assert model.alpha == 0.9
    assert model.num_classes == 10
    assert model.backbone.widths == (16, 24, 32, 48)
    for part in (model.backbone, model.expander, model.local_expander):
        for layer in part.layers:
            if layer.weights:
                assert layer.compute_dtype == "bfloat16"
                assert layer.weights[0].dtype == "float32"
    assert model.classifier.compute_dtype == "float32"


def test_a_backbone_is_given_as_a_model_or_a_name():
    body = SmallResNet(widths=(4, 4, 4, 4))
    recipe = RECIPES["resnet50_100_location"]
    model = recipe.make_model(backbone=body, **SMALL)
    assert model.backbone is body
    assert model._local_options.local_criteria == ("location",)
    assert model.expander.layers[0].compute_dtype == "bfloat16"
    with no_weights():
        named = recipe.make_model(backbone="small_resnet", **SMALL)
    assert named.backbone.widths == (24, 48, 96, 192)
    assert named.backbone.layers[1].compute_dtype == "bfloat16"


def test_derived_classes_are_made_from_recipes_as_well():
    class Derived(VICRegL):
        pass

    body = SmallResNet(widths=(4, 4, 4, 4))
    model = Derived.from_recipe("resnet50", backbone=body, **SMALL)
    assert type(model) is Derived


@pytest.mark.parametrize(
    ("name", "kind", "peak", "decay"),
    [
        ("resnet50", "LARS", 0.2 * 8, 1e-6),
        ("resnet50_100", "LARS", 0.3 * 2, 1e-6),
        ("convnext_small", "AdamW", 7.5e-4 * 1.5, 0.05),
        ("convnext_base", "AdamW", 5e-4 * 2.25, 0.05),
        ("scenes", "AdamW", 4e-3, 1e-4),
    ],
)
def test_optimizers_are_the_papers(name, kind, peak, decay):
    recipe = RECIPES[name]
    optimizer = recipe.make_optimizer(steps_per_epoch=20)
    assert type(optimizer).__name__ == kind
    assert optimizer.weight_decay == decay
    assert optimizer.exclude_vectors
    schedule = optimizer.get_config()["learning_rate"]["config"]
    np.testing.assert_allclose(schedule["warmup_target"], peak)
    assert schedule["warmup_steps"] == 20 * recipe.warmup_epochs
    assert schedule["decay_steps"] == 20 * recipe.epochs - 20 * (
        recipe.warmup_epochs
    )
    assert schedule["alpha"] == 0.001


def schedule_of(optimizer):
    config = optimizer.get_config()["learning_rate"]["config"]
    return (
        round(config["warmup_target"], 6),
        config["warmup_steps"],
        config["warmup_steps"] + config["decay_steps"],
    )


def test_an_optimizer_follows_batch_and_length_of_the_run():
    recipe = RECIPES["resnet50_100"]
    assert schedule_of(recipe.make_optimizer(8, 128)) == (0.15, 80, 800)
    # A shorter run has a shorter warm-up, a longer one has the recipe's.
    assert schedule_of(recipe.make_optimizer(8, epochs=50)) == (0.6, 40, 400)
    assert schedule_of(recipe.make_optimizer(8, epochs=200)) == (0.6, 80, 1600)
    changed = recipe.make_optimizer(8, base_learning_rate=0.1, warmup_epochs=2)
    assert schedule_of(changed) == (0.2, 16, 800)


def test_accumulated_batches_count_as_one():
    recipe = RECIPES["resnet50_100"]
    optimizer = recipe.make_optimizer(
        8, 128, gradient_accumulation_steps=4, clipnorm=1.0
    )
    # Keras' schedules count every batch.
    assert schedule_of(optimizer) == (0.6, 80, 800)
    assert optimizer.gradient_accumulation_steps == 4
    assert optimizer.clipnorm == 1.0


def test_a_learning_rate_replaces_the_schedule():
    optimizer = RECIPES["scenes"].make_optimizer(8, learning_rate=0.5)
    rate = keras.ops.convert_to_numpy(optimizer.learning_rate)
    assert rate == 0.5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"optimizer": "sgd"}, r"one of \('lars', 'adamw'\); received 'sgd'"),
        ({"precision": "float16"}, "`precision` must be one of.*'float16'"),
        ({"epochs": 0}, "`epochs` must be positive; received 0"),
        ({"epoch": 3}, "Unknown: epoch; missing: none"),
    ],
)
def test_what_no_recipe_has_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        Recipe.from_dict({**RECIPES["scenes"].to_dict(), **changes})


def test_what_is_missing_is_named():
    values = RECIPES["scenes"].to_dict()
    del values["views"], values["precision"]
    with pytest.raises(ValueError, match="Unknown: none; missing: views"):
        Recipe.from_dict(values)


def test_precision_and_rate_are_checked_where_they_are_used():
    recipe = RECIPES["scenes"]
    with pytest.raises(ValueError, match=r"`precision` must be.*'half'"):
        recipe.make_model(precision="half")
    with pytest.raises(ValueError, match="`base_learning_rate` must be pos"):
        recipe.make_optimizer(8, base_learning_rate=0)
