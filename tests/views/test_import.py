"""What an import of the views brings with it."""

import subprocess
import sys

import keras
import pytest

import keras_vicregl.views


def run(code):
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
    )


def test_geometry_and_recipes_come_without_the_libraries_of_the_layers():
    missing = ["keras_cv"]
    if keras.backend.backend() != "tensorflow":
        missing.append("tensorflow")
    done = run(
        f"import sys; sys.modules.update(dict.fromkeys({missing}))\n"
        "import keras_vicregl.views as views\n"
        "maps = views.geometry.identity_map([[60.0, 80.0]])\n"
        "assert views.positions(maps, 1, 2).shape == (1, 2, 2)\n"
        "assert views.ViewGroup(32, 2).size == (32, 32)\n"
        "recipe = views.MultiView.resnet(on='device')\n"
        "drawn, = recipe.parameters([[0, 1]], (60, 80))\n"
        "assert drawn['boxes'].shape == (1, 2, 4)\n"
        "try: views.RandomResizedCrop\n"
        "except ImportError: print('refused')"
    )
    assert done.stdout == "refused\n", done.stderr


def test_all_names_can_be_imported():
    for name in keras_vicregl.views.__all__:
        assert getattr(keras_vicregl.views, name) is not None
        assert name in dir(keras_vicregl.views)


def test_unknown_names_are_reported():
    with pytest.raises(AttributeError, match="no attribute 'RandomErase'"):
        keras_vicregl.views.RandomErase  # noqa: B018
