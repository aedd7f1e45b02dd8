import keras
import keras_cv
import numpy as np
import pytest
import seeded_weights

from keras_vicregl import VICRegL
from keras_vicregl.models.backbones import SmallResNet, as_backbone


def classifier():
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(4, 3, strides=2, name="fine")(inputs)
    x = keras.layers.Conv2D(5, 3, strides=2, name="coarse")(x)
    x = keras.layers.GlobalAveragePooling2D(name="mean")(x)
    return keras.Model(inputs, keras.layers.Dense(2, name="top")(x))


def test_default_is_the_last_feature_map():
    model = classifier()
    backbone = as_backbone(model)
    assert backbone.output_shape == (None, 3, 3, 5)
    images = np.random.default_rng(0).standard_normal((2, 16, 16, 3))
    pooled = seeded_weights.run(backbone, images).mean((1, 2))
    top = model.get_layer("top")
    # The rest of the model on top gives what the model gives: the weights
    # are shared. Float32 means in another order.
    np.testing.assert_allclose(
        pooled @ keras.ops.convert_to_numpy(top.kernel.value),
        seeded_weights.run(model, images),
        rtol=1e-4,
        atol=1e-6,
    )


def test_any_layer_can_be_the_feature_map():
    backbone = as_backbone(classifier(), "fine")
    assert backbone.output_shape == (None, 7, 7, 4)
    assert [layer.name for layer in backbone.layers[1:]] == ["fine"]


def test_model_with_one_feature_map_is_returned_as_it_is():
    model = keras.Sequential(
        [keras.Input((8, 8, 3)), keras.layers.Conv2D(2, 3)]
    )
    assert as_backbone(model) is model


def test_keras_applications_lose_their_top():
    with seeded_weights.no_weights():
        model = keras.applications.MobileNetV2(weights=None, alpha=0.35)
        assert as_backbone(model).output_shape == (None, 7, 7, 1280)
        cut = as_backbone(model, "block_13_expand_relu")
    assert cut.output_shape == (None, 14, 14, 192)


def test_levels_of_a_pyramid_have_names():
    ours = SmallResNet(widths=(4, 5, 6, 7))
    assert as_backbone(ours, "P3").output_shape[-1] == 5
    theirs = keras_cv.models.ResNetBackbone(
        stackwise_filters=[4, 8],
        stackwise_blocks=[1, 1],
        stackwise_strides=[1, 2],
        include_rescaling=False,
    )
    assert as_backbone(theirs, "P2").output_shape[-1] == 16
    assert as_backbone(theirs) is theirs


@pytest.mark.parametrize("nest", ["functional", "sequential"])
def test_a_nested_base_is_found(nest):
    base = as_backbone(classifier())
    if nest == "functional":
        inputs = keras.Input((16, 16, 3))
        x = keras.layers.GlobalAveragePooling2D()(base(inputs))
        model = keras.Model(inputs, keras.layers.Dense(2)(x))
    else:
        pool = keras.layers.GlobalAveragePooling2D()
        model = keras.Sequential([base, pool, keras.layers.Dense(2)])
    images = np.random.default_rng(0).standard_normal((2, 16, 16, 3))
    backbone = as_backbone(model)
    np.testing.assert_array_equal(
        seeded_weights.run(backbone, images), seeded_weights.run(base, images)
    )


def test_logits_of_one_position_are_no_feature_map():
    with seeded_weights.no_weights():
        model = keras.applications.MobileNet(weights=None, alpha=0.25)
        assert as_backbone(model).output_shape == (None, 7, 7, 256)


def channels_first():
    images = keras.Input((3, 16, 24))
    x = keras.layers.Conv2D(4, 3, 2, data_format="channels_first")(images)
    return keras.Model(images, x, name="first")


def test_channels_that_come_first_are_put_last(tmp_path):
    model = channels_first()
    backbone = as_backbone(model)
    assert backbone.input_shape == (None, 16, 24, 3)
    assert backbone.output_shape == (None, 7, 11, 4)
    assert as_backbone(backbone) is backbone
    last = keras.layers.Conv2D(4, 3, 2, data_format="channels_last")
    last.build((None, 16, 24, 3))
    last.set_weights(model.get_weights())
    images = np.random.default_rng(0).normal(size=(2, 16, 24, 3))
    images = images.astype("float32")
    expected = keras.ops.convert_to_numpy(last(images))
    backbone.save(tmp_path / "backbone.keras")
    reloaded = keras.saving.load_model(tmp_path / "backbone.keras")
    if keras.backend.backend() == "tensorflow":
        return  # whose convolutions know channels first on GPUs only
    # One convolution of 27 products.
    for each in (backbone, reloaded):
        found = seeded_weights.run(each, images)
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_model_that_is_no_backbone_says_how_to_make_it_one():
    with pytest.raises(ValueError, match=r"as_backbone.*layers fine, coarse\."):
        VICRegL(classifier())
    with pytest.raises(ValueError, match=r"'first' has its channels first"):
        VICRegL(channels_first())


def test_unsuitable_models_are_refused():
    with pytest.raises(ValueError, match=r"one of .*fine, coarse.*'last'"):
        as_backbone(classifier(), "last")
    with pytest.raises(ValueError, match=r"'mean'.*\(None, 5\)"):
        as_backbone(classifier(), "mean")
    flat = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    with pytest.raises(ValueError, match=r"has none.*\(None, 2\)"):
        as_backbone(flat)

    class Subclassed(keras.Model):
        pass

    with pytest.raises(ValueError, match="no graph to cut"):
        as_backbone(Subclassed())


def test_a_model_of_two_inputs_says_how_to_cut_it():
    images = keras.Input((16, 16, 3), name="images")
    size = keras.Input((2,), name="size")
    features = keras.layers.Conv2D(4, 3, name="features")(images)
    pooled = keras.layers.GlobalAveragePooling2D()(features)
    both = keras.layers.Concatenate()([pooled, size])
    model = keras.Model([images, size], keras.layers.Dense(2)(both))
    for layer in (None, "features"):
        with pytest.raises(ValueError, match=r"2 inputs \('images', 'size'\)"):
            as_backbone(model, layer)
    # What the message says.
    part = keras.Model(model.inputs[0], model.get_layer("features").output)
    assert as_backbone(part) is part


def test_a_model_of_two_outputs_is_asked_which():
    base = classifier()
    layers = [base.get_layer(name) for name in ("fine", "coarse")]
    two = keras.Model(base.inputs, [layer.output for layer in layers])
    with pytest.raises(ValueError, match=r"2 outputs.*'fine' or 'coarse'"):
        as_backbone(two)
    assert as_backbone(two, "fine").output_shape == (None, 7, 7, 4)
    heads = keras.Model(
        base.inputs, [base.output, keras.layers.Dense(3)(base.output)]
    )
    with pytest.raises(ValueError, match=r"`layer_name`, such as .*'coarse'"):
        as_backbone(heads)


def test_what_is_no_built_model_says_how_to_make_one():
    unbuilt = keras.Sequential([keras.layers.Conv2D(2, 3)])
    with pytest.raises(ValueError, match=r"not built.*keras\.Input"):
        as_backbone(unbuilt)
    with pytest.raises(ValueError, match=r"a keras\.Model.*keras\.Sequential"):
        as_backbone(keras.layers.Conv2D(2, 3))
