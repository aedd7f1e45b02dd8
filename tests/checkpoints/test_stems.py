"""First convolutions of checkpoints, for images of other channels."""

import keras
import numpy as np
import pytest

from keras_vicregl import VICRegL, backbone
from keras_vicregl.checkpoints import (
    load_checkpoint,
    save_checkpoint,
    to_state_dict,
)
from keras_vicregl.checkpoints.stems import stem_of_channels
from keras_vicregl.models.backbones import ConvNeXt, ResNet

pytest.importorskip("torch")

SMALL = {
    "small_resnet": {"widths": (8, 8, 8, 8)},
    "convnext_tiny": {"depths": (1, 1), "widths": (8, 16)},
}
RESNET = {"block_counts": (1,), "widths": (8,), "strides": (1,)}


def of_channels(name, channels, **kwargs):
    return backbone(
        name, input_shape=(None, None, channels), **SMALL[name], **kwargs
    )


@pytest.fixture(scope="module", params=list(SMALL))
def rgb(request, tmp_path_factory):
    """A name, its model for RGB, and the model's checkpoint."""
    keras.utils.set_random_seed(0)
    model = of_channels(request.param, 3)
    path = tmp_path_factory.mktemp("rgb") / "rgb.pth"
    save_checkpoint(model, path)
    return request.param, model, path


@pytest.mark.parametrize("stem", ["cycle", "mean"])
@pytest.mark.parametrize("channels", [1, 2, 4, 5, 13])
def test_copies_of_a_grey_image_give_the_same_map(rgb, channels, stem):
    name, model, path = rgb
    fitted = of_channels(name, channels, weights=path, stem=stem)
    grey = np.random.default_rng(1).normal(size=(1, 32, 32, 1))
    found, expected = (
        keras.ops.convert_to_numpy(each(np.repeat(grey, count, -1)))
        for each, count in ((fitted, channels), (model, 3))
    )
    # Sums of float32 in another order; maps are of the order of 1.
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_only_the_first_convolution_differs(rgb):
    name, model, path = rgb
    fitted = to_state_dict(of_channels(name, 4, weights=path, stem="cycle"))
    theirs = to_state_dict(model)
    first, *others = theirs
    for key in others:
        np.testing.assert_array_equal(fitted[key], theirs[key])
    # Red is there twice and halved, green and blue are as they were.
    expected = theirs[first][:, [0, 1, 2, 0]]
    expected[:, [0, 3]] /= 2
    np.testing.assert_array_equal(fitted[first], expected)


def test_the_same_channels_stay_as_they_are(rgb):
    name, model, path = rgb
    for stem in ("cycle", "mean"):
        same = to_state_dict(of_channels(name, 3, weights=path, stem=stem))
        for key, value in to_state_dict(model).items():
            np.testing.assert_array_equal(same[key], value)


@pytest.mark.parametrize(
    ("count", "channels", "expected"),
    [
        (3, 1, [[6.0]]),  # all
        (3, 2, [[4.0, 2.0]]),  # 1 + 3, 2
        (1, 3, [[1 / 3] * 3]),
        (4, 3, [[5.0, 2.0, 3.0]]),  # 1 + 4, 2, 3
        (3, 7, [[1 / 3, 1.0, 1.5, 1 / 3, 1.0, 1.5, 1 / 3]]),
    ],
)
def test_filters_in_turn(count, channels, expected):
    kernel = np.arange(1.0, 1 + count).reshape(1, count, 1, 1)
    made = stem_of_channels(kernel, channels, "cycle")[..., 0, 0]
    np.testing.assert_allclose(made, expected, rtol=1e-15)


def test_a_whole_model_takes_it_too(tmp_path):
    units = {"expander_units": (8,), "local_expander_units": (8,)}
    rgb = VICRegL(ResNet(**RESNET), **units)
    save_checkpoint(rgb, tmp_path / "whole.pth")
    grey = ResNet(**RESNET, input_shape=(None, None, 1))
    model = VICRegL.from_checkpoint(tmp_path / "whole.pth", grey, stem="mean")
    found, theirs = to_state_dict(model), to_state_dict(rgb)
    np.testing.assert_allclose(
        found["backbone.conv1.weight"],
        theirs["backbone.conv1.weight"].sum(1, keepdims=True),
        atol=1e-7,  # three summands of 0.1, rounded to float32
    )
    np.testing.assert_array_equal(
        found["projector.0.weight"], theirs["projector.0.weight"]
    )


def test_what_is_refused(tmp_path):
    save_checkpoint(ResNet(**RESNET), tmp_path / "rgb.pth")
    four = ResNet(**RESNET, input_shape=(None, None, 4))
    with pytest.raises(
        ValueError, match=r"of 3 channels, the model of 4.*stem='cycle' or"
    ):
        load_checkpoint(four, tmp_path / "rgb.pth")
    with pytest.raises(ValueError, match=r"`stem` must be .*'cycle', 'mean'"):
        load_checkpoint(four, tmp_path / "rgb.pth", stem="sum")
    with pytest.raises(ValueError, match="there are no weights"):
        backbone("resnet18", stem="mean")
    # A stem of the network's own goes to the network.
    assert backbone("resnet18", stem="small").stem == "small"
    # Another difference is still told.
    wider = ResNet((1,), widths=(16,), strides=(1,))
    with pytest.raises(ValueError, match="Of another shape"):
        load_checkpoint(wider, tmp_path / "rgb.pth", stem="mean")
    assert ConvNeXt((1,), (8,), input_shape=(8, 8, 13)).input_shape[-1] == 13
