"""What commands find of images that are not RGB of 8 bits."""

import argparse

import numpy as np
import pytest

from keras_vicregl.commands.given.values import tell_backbone
from keras_vicregl.commands.pretraining.beginning import take_over
from keras_vicregl.commands.pretraining.values import fill_in
from keras_vicregl.commands.problems import UsageError
from keras_vicregl.data import channel_statistics, load
from keras_vicregl.views import MultiView
from keras_vicregl.views.normalization import IMAGENET_MEAN, Normalization


def found(images, **views):
    settings = argparse.Namespace(views=dict(views))
    said = fill_in(settings, load(images))
    return said, settings.views


def images(channels, dtype, high=4000):
    rng = np.random.default_rng(0)
    values = rng.integers(100, high, (6, 8, 8, channels))
    return values.astype(dtype)


def test_pictures_have_their_range():
    assert found(images(3, "uint8", 256)) == (None, {})
    said, views = found(images(1, "uint8", 256))
    assert (said, views) == ("1 channel of uint8", {"channels": 1})


@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_others_get_that_of_their_values(channels, dtype):
    data = images(channels, dtype)
    said, views = found(data)
    statistics = channel_statistics(data)
    assert views.get("channels", 3) == channels
    assert views["value_range"] == [list(p) for p in statistics.value_range]
    made = MultiView.for_channels(statistics)
    assert tuple(views["mean"]) == made.mean
    assert tuple(views["std"]) == made.std
    low, high = statistics.value_range[0]
    assert f"{low:,.6g} to {high:,.6g}" in said
    assert "percentiles 0.1 and 99.9 of 6 images" in said
    assert ("..." in said) == (channels > 4)


def test_what_was_said_stays():
    data = images(2, "uint16")
    said, views = found(data, value_range=[0, 1000])
    assert views["value_range"] == [[0, 1000]] * 2
    # Of what is clipped, as views are.
    pixels = np.clip(data / 1000, 0, 1).reshape(-1, 2)
    np.testing.assert_allclose(views["mean"], pixels.mean(axis=0))
    np.testing.assert_allclose(views["std"], pixels.std(axis=0))
    assert said == (
        "2 channels of uint16: 0 to 1,000, 0 to 1,000 become 0 to 1; mean and "
        "deviation of 6 images"
    )
    _, views = found(images(2, "uint16"), mean=[0.1, 0.2])
    assert views["mean"] == [0.1, 0.2]


def test_a_run_goes_on_with_what_it_found():
    """Also where other images would be looked at now."""
    _, begun = found(images(1, "uint16"))
    settings = argparse.Namespace(views={"size": 96}, model={}, given=set())
    take_over(settings, {"views": {**begun, "on": "device"}})
    assert settings.views == {**begun, "size": 96}
    assert fill_in(settings, load(images(1, "uint16", 300))) == (
        "1 channel of uint16"
    )
    assert settings.views == {**begun, "size": 96}


def test_images_without_two_values():
    with pytest.raises(UsageError, match="--views value_range"):
        found(np.full((4, 8, 8, 1), 7, "uint16"))


def of_a_backbone(images, known=None, taken=None, **given):
    """What is said, and what a backbone then remembers."""
    shape = (None, None, None, taken or images.shape[-1])
    model = argparse.Namespace(input_shape=shape)
    if known is not None:
        model._normalization = Normalization(*known)
    options = {"value_range": None, "mean": None, "std": None}
    options |= {"preprocessed": False, **given}
    said = tell_backbone(model, load(images), argparse.Namespace(**options))
    return said, getattr(model, "_normalization", None)


@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_a_backbone_that_knows_nothing_gets_what_is_found(channels, dtype):
    data = images(channels, dtype)
    said, known = of_a_backbone(data)
    statistics = channel_statistics(data)
    assert known == (
        statistics.pixel_mean,
        statistics.pixel_std,
        statistics.value_range,
    )
    low, high = statistics.value_range[0]
    assert f"{low:,.6g} to {high:,.6g}" in said
    assert said.endswith("--value-range LOW HIGH says others")


def test_a_backbone_gets_what_is_said():
    data = images(1, "uint16")
    said, known = of_a_backbone(data, value_range=[0.0, 4095.0])
    pixels = data / 4095
    assert known.value_range == ((0.0, 4095.0),)
    np.testing.assert_allclose(known.mean, [pixels.mean()])
    np.testing.assert_allclose(known.std, [pixels.std()])
    assert said.endswith("mean and deviation of 6 images")
    said, known = of_a_backbone(
        data, value_range=[0.0, 4095.0], mean=[0.25], std=[0.5]
    )
    assert (said, known) == (None, ((0.25,), (0.5,), (0.0, 4095.0)))
    # Its range is that of other images.
    said, known = of_a_backbone(
        data, ((0.1,), (0.2,), (0.0, 255.0)), value_range=[0.0, 4095.0]
    )
    assert (said, known) == (None, ((0.1,), (0.2,), (0.0, 4095.0)))


def test_a_backbone_keeps_what_it_knows():
    whole = ((0.1,), (0.2,), (0.0, 1000.0))
    assert of_a_backbone(images(1, "uint16"), whole) == (None, whole)
    # Of pictures, mean and deviation alone.
    data = images(3, "uint16")
    said, known = of_a_backbone(data, (IMAGENET_MEAN, (1,) * 3))
    assert known[:2] == (IMAGENET_MEAN, (1,) * 3)
    assert known.value_range == channel_statistics(data).value_range
    assert said.startswith("3 channels of uint16: 1")


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_a_backbone_of_other_channels(dtype):
    with pytest.raises(UsageError, match=r"takes images of 4 .* have 2"):
        of_a_backbone(images(2, dtype, 200), taken=4)


def test_pictures_are_what_they_were():
    assert of_a_backbone(images(3, "uint8", 256)) == (None, None)
    usual = ((0.5,) * 4, (0.25,) * 4, None)
    assert of_a_backbone(images(4, "uint8", 256)) == (None, usual)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"value_range": [5.0, 5.0]}, "--value-range: .*low < high"),
        ({"mean": [0.5, 0.5]}, "mean must have a number for each of 1 chan"),
        ({"std": [0.0]}, "std must be positive; received 0"),
        (
            {"value_range": [0.0, 1.0], "preprocessed": True},
            "--value-range: the model normalises images itself",
        ),
    ],
)
def test_values_that_cannot_be(given, told):
    with pytest.raises(UsageError, match=told):
        of_a_backbone(images(1, "uint16"), **given)
