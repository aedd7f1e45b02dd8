import keras
import keras_cv
import numpy as np
import pytest
import seeded_weights
import small

from keras_vicregl.models.backbones import ConvNeXt, ResNet, with_output_stride
from keras_vicregl.models.backbones.copies import copy_of, float32_copy

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


def by_operations():
    x = images_input = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(4, 3)(x)
    x = keras.ops.cast(keras.ops.tanh(x) + 1, keras.config.floatx())
    return keras.Model(images_input, x)


def with_a_model_in_it():
    inner = keras.Sequential(
        [keras.Input((None, None, 3)), keras.layers.Conv2D(4, 3)]
    )
    images_input = keras.Input((None, None, 3))
    return keras.Model(images_input, keras.layers.ReLU()(inner(images_input)))


def of_keras_cv():
    return keras_cv.models.ResNetBackbone(
        stackwise_filters=[4, 8],
        stackwise_blocks=[1, 1],
        stackwise_strides=[1, 2],
        include_rescaling=False,
    )


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "bfloat16"])
@pytest.mark.parametrize(
    "make", [by_operations, with_a_model_in_it, of_keras_cv]
)
def test_copies_in_float32(make, policy):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        model = small.seeded(make())
        copy = float32_copy(model)
    finally:
        keras.config.set_dtype_policy(before)
    reference = make()
    reference.set_weights([np.float32(w) for w in model.get_weights()])
    found = seeded_weights.run(copy, images())
    assert found.dtype == np.float32
    expected = seeded_weights.run(reference, images())
    scale = np.abs(expected).max()
    assert np.abs(found - expected).max() <= 1e-5 * scale
    assert float32_copy(reference) is reference


def strided(nested):
    """Two branches that shrink by a pointwise convolution, as in Xception."""
    inputs = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(6, 1, 2, use_bias=False, name="shortcut")(inputs)
    y = keras.layers.Conv2D(6, 3, 2, padding="same", name="main")(inputs)
    model = keras.Model(inputs, keras.layers.Add()([x, y]), name="inner")
    if not nested:
        return model
    images = keras.Input((None, None, 3))
    return keras.Model(images, keras.layers.ReLU()(model(images)))


@pytest.mark.parametrize("nested", [False, True])
def test_copies_have_no_strided_pointwise_convolutions(nested, tmp_path):
    # Trained on one image, they end the process on some CPUs.
    model = small.seeded(strided(nested))
    copy = copy_of(model)
    unsafe = [
        layer.name
        for layer in copy._flatten_layers()
        if type(layer) is keras.layers.Conv2D
        and layer.kernel_size == (1, 1)
        and max(layer.strides) > 1
    ]
    assert unsafe == []
    copy.save(tmp_path / "copy.keras")
    for each in (copy, keras.saving.load_model(tmp_path / "copy.keras")):
        np.testing.assert_allclose(
            seeded_weights.run(each, images()),
            seeded_weights.run(model, images()),
            atol=1e-6,
        )


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
