import keras
import numpy as np
import pytest
import seeded_weights

from keras_vicregl.models.backbones import as_backbone


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
