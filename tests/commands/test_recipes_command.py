"""The table of recipes is the recipes."""

import json

import pytest

from keras_vicregl.commands.main import main
from keras_vicregl.recipes import RECIPES
from keras_vicregl.recipes.recipe import Recipe


def test_each_recipe_says_its_time_and_accuracy(capsys):
    assert main(["recipes"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    for name, recipe in RECIPES.items():
        assert f"{name}: {recipe.backbone}, {recipe.epochs} epochs" in said
        assert f"time: {recipe.time}" in said
        assert f"accuracy: {recipe.accuracy}" in said


def test_a_recipe_comes_back_from_json(capsys):
    assert main(["recipes", "scenes"]) == 0
    settings = json.loads(capsys.readouterr().out)
    assert Recipe.from_dict(settings) == RECIPES["scenes"]
    assert main(["recipes", "--json"]) == 0
    every = json.loads(capsys.readouterr().out)
    assert {k: Recipe.from_dict(v) for k, v in every.items()} == dict(RECIPES)


def test_an_unknown_one(capsys):
    with pytest.raises(SystemExit) as end:
        main(["recipes", "resnet"])
    assert end.value.code == 2
    assert "there are resnet50," in capsys.readouterr().err
