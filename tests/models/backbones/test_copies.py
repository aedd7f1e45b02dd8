import keras
import numpy as np
import pytest
import seeded_weights
import small

from keras_vicregl.models.backbones import (
    ConvNeXt,
    ResNet,
    with_output_stride,
)
from keras_vicregl.models.backbones.copies import copy_of

RESNET = {"block_counts": (1, 1, 2), "widths": (4, 6, 8), "strides": (1, 2, 2)}
KINDS = {
    "bottleneck": lambda: ResNet(**RESNET, input_shape=(48, 64, 3)),
    "basic": lambda: ResNet(**RESNET, block="basic"),
    "convnext": lambda: ConvNeXt((1, 1, 2), (4, 6, 8), 0.5),
}


def weights(model):
    """By layer and name: graphs with other padding have another order."""
    return {
        (layer.name, variable.name): keras.ops.convert_to_numpy(variable)
        for layer in model.layers
        for variable in layer.variables
        if "seed" not in variable.path
    }


def assert_same(one, other):
    assert one.keys() == other.keys() and one
    for key, value in one.items():
        np.testing.assert_array_equal(value, other[key])


@pytest.fixture(autouse=True)
def no_random_weights():
    with seeded_weights.no_random_weights():
        yield


def seeded(kind):
    return small.seeded(KINDS[kind]())


def images(size=(48, 64)):
    rng = np.random.default_rng(1)
    return rng.normal(size=(1, *size, 3)).astype("float32")


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_weights_at_another_stride(kind):
    coarse = seeded(kind)
    before = weights(coarse)
    dense = with_output_stride(coarse, 4)
    assert type(dense) is type(coarse)
    assert_same(weights(dense), before)
    expected = seeded_weights.run(coarse, images())
    found = seeded_weights.run(dense, images())
    assert found.shape == (1, 12, 16, expected.shape[-1])
    # Float32 through a dozen layers.
    np.testing.assert_allclose(found[:, ::4, ::4], expected, atol=2e-5)
    back = with_output_stride(dense, None)
    assert_same(weights(back), before)
    # For images of any size.
    assert back.get_config() == {
        **coarse.get_config(),
        "input_shape": (None, None, 3),
    }


@pytest.mark.parametrize("kind", KINDS)
def test_a_copy_has_variables_of_its_own(kind):
    model = seeded(kind)
    before = weights(model)
    copy = copy_of(model)
    assert_same(weights(copy), before)
    for variable in copy.trainable_variables:
        variable.assign(0 * variable)
    copy.trainable = False
    assert_same(weights(model), before)
    assert model.trainable_variables


def test_frozen_backbones_give_copies_that_can_be_trained():
    model = seeded("basic")
    model.trainable = False
    assert copy_of(model).trainable_variables
    assert with_output_stride(model, 4).trainable_variables


def test_foreign_models_are_copied():
    class Subclass(keras.Model):
        def __init__(self, width=4):
            super().__init__()
            self.conv = keras.layers.Conv2D(width, 3, 2)

        def call(self, images, training=False):
            return self.conv(images)

        def get_config(self):
            return {"width": 4}

    subclassed = Subclass()
    subclassed(images())
    sequential = keras.Sequential(
        [keras.Input((None, None, 3)), keras.layers.Conv2D(4, 3)]
    )
    for model in (subclassed, sequential):
        small.seeded(model)
        copy = copy_of(model)
        np.testing.assert_array_equal(
            seeded_weights.run(copy, images()),
            seeded_weights.run(model, images()),
        )
        for variable in copy.variables:
            variable.assign(0 * variable)
        assert np.any(seeded_weights.run(model, images()))


def test_what_cannot_be_copied():
    class Subclass(keras.Model):
        def __init__(self, layer):
            super().__init__()
            self.layer = layer

        def call(self, images):
            return self.layer(images)

        def get_config(self):
            raise NotImplementedError("no configuration")

    model = Subclass(keras.layers.Conv2D(4, 3))
    with pytest.raises(ValueError, match=r"cannot be copied.*no config"):
        copy_of(model)


@pytest.mark.parametrize(
    ("make", "stride", "message"),
    [
        (
            KINDS["basic"],
            32,
            r"one of the strides.*\[4, 8, 16\].*=32",
        ),
        (
            lambda: keras.Sequential([keras.Input((8, 8, 3))]),
            8,
            "Only a backbone of this package.*output_stride='as_is'",
        ),
    ],
)
def test_strides_that_there_are_not(make, stride, message):
    with pytest.raises(ValueError, match=message):
        with_output_stride(make(), stride)
