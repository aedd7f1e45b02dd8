import keras
import published_models
import pytest
import seeded_weights

from keras_vicregl.models import backbones

FEATURES = {
    "resnet18": 512,
    "resnet34": 512,
    "resnet50": 2048,
    "resnet101": 2048,
    "resnet50x2": 4096,
    "resnet50x4": 8192,
    "resnet200x2": 4096,
    "small_resnet": 192,
    "convnext_tiny": 768,
    "convnext_small": 768,
    "convnext_base": 1024,
    "convnext_large": 1536,
    "convnext_xlarge": 2048,
}


def test_every_name_is_tested():
    assert list(backbones.BACKBONES) == list(FEATURES)


@pytest.mark.parametrize("name", FEATURES)
def test_models_bear_their_names_and_have_their_features(name):
    model = published_models.without_weights(name)
    assert model.name == name
    assert model.output_shape == (None, None, None, FEATURES[name])
    stride = 8 if name == "small_resnet" else 32
    assert model.pyramid_strides["P5"] == stride
    assert [*model.pyramid_outputs] == ["P2", "P3", "P4", "P5"]


def test_arguments_reach_the_constructor():
    with seeded_weights.no_weights():
        model = backbones.backbone(
            "small_resnet",
            name="mine",
            input_shape=(64, 32, 1),
            widths=(2, 2, 2, 2),
            output_stride=4,
            dtype="bfloat16",
        )
    assert model.name == "mine"
    assert model.input_shape == (None, 64, 32, 1)
    assert model.output_shape == (None, 16, 8, 2)
    dtype = keras.backend.standardize_dtype(model.output.dtype)
    assert dtype == "bfloat16"


def test_unknown_names_are_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"`name`.*resnet18.*convnext_xlarge"):
        backbones.backbone("resnet19")
