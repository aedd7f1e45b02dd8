"""Backbones through files, configs, dtypes and data formats."""

import keras
import numpy as np
import pytest
import seeded_weights

from keras_vicregl.models import backbones

ARGUMENTS = {
    backbones.ResNet: {
        "block_counts": (1, 1),
        "widths": (4, 6),
        "block": "basic",
        "strides": (1, 2),
        "stem": "small",
        "stem_strides": 2,
        "stem_width": 5,
        "output_stride": 2,
        "input_shape": (None, 16, 3),
        "name": "mine",
        "trainable": False,
    },
    backbones.ConvNeXt: {
        "depths": (1, 1),
        "widths": (4, 6),
        "stochastic_depth_rate": 0.3,
        "layer_scale": 0.1,
        "output_stride": 4,
        "input_shape": (None, 16, 3),
        "seed": 9,
        "name": "mine",
        "trainable": False,
    },
}


@pytest.fixture(params=ARGUMENTS, ids=lambda kind: kind.__name__)
def kind(request):
    return request.param


def build(kind, seed=2, **changes):
    with seeded_weights.no_random_weights():
        model = kind(**{**ARGUMENTS[kind], **changes})
    seeded_weights.assign(backbones.state_dict_layout(model), seed)
    return model


def load(path):
    with seeded_weights.no_random_weights():
        return keras.saving.load_model(path)


def images():
    rng = np.random.default_rng(0)
    return rng.standard_normal((2, 12, 16, 3)).astype("float32")


def run(model):
    with_pyramid = keras.Model(
        model.input, [model.output, *model.pyramid_outputs.values()]
    )
    return seeded_weights.run(with_pyramid, images())


def assert_same(results, expected):
    assert len(results) == 3
    for result, target in zip(results, expected, strict=True):
        np.testing.assert_array_equal(result, target)


def test_keras_file_gives_the_same_model_and_pyramid(kind, tmp_path):
    model = build(kind)
    model.save(tmp_path / "model.keras")
    again = load(tmp_path / "model.keras")
    assert type(again) is kind
    assert again.get_config() == model.get_config()
    assert again.pyramid_strides == model.pyramid_strides
    assert not again.trainable_variables
    assert_same(run(again), run(model))


def test_weight_file_fits_a_dilated_model(kind, tmp_path):
    model = build(kind)
    model.save_weights(tmp_path / "model.weights.h5")
    other = build(kind, seed=5, output_stride=None)
    other.load_weights(tmp_path / "model.weights.h5")
    layouts = map(backbones.state_dict_layout, (model, other))
    for ours, theirs in zip(*(x.values() for x in layouts), strict=True):
        np.testing.assert_array_equal(ours.to_torch(), theirs.to_torch())


def test_config_is_complete(kind):
    with seeded_weights.no_weights():
        model = kind(**ARGUMENTS[kind])
        config = keras.saving.serialize_keras_object(model)
        again = keras.saving.deserialize_keras_object(config)
    for argument, value in ARGUMENTS[kind].items():
        assert model.get_config()[argument] == value
        assert again.get_config()[argument] == value


def test_part_of_a_larger_model_survives_a_file(kind, tmp_path):
    backbone = build(kind)
    inputs = keras.Input((12, 16, 3))
    pooled = keras.layers.GlobalAveragePooling2D(data_format="channels_last")
    model = keras.Model(inputs, pooled(backbone(inputs)))
    model.save(tmp_path / "model.keras")
    again = load(tmp_path / "model.keras")
    assert type(again.get_layer("mine")) is kind
    np.testing.assert_array_equal(
        seeded_weights.run(again, images()),
        seeded_weights.run(model, images()),
    )


def test_mixed_precision_keeps_float32_weights(kind, tmp_path):
    model = build(kind, dtype="mixed_bfloat16")
    expected = run(build(kind))
    model.save(tmp_path / "model.keras")
    again = load(tmp_path / "model.keras")
    for network in (model, again):
        assert network.dtype_policy.name == "mixed_bfloat16"
        assert all(v.dtype == "float32" for v in network.trainable_variables)
        results = run(network)
        for result, target in zip(results, expected, strict=True):
            assert keras.backend.standardize_dtype(result.dtype) == "bfloat16"
            # Bfloat16 has 8 bits: 0.4 % a rounding, and a few of them.
            np.testing.assert_allclose(
                result.astype("float32"),
                target,
                atol=0.05 * np.abs(target).max(),
            )


def test_channels_stay_last_whatever_the_default(kind):
    expected = run(build(kind))
    default = keras.config.image_data_format()
    keras.config.set_image_data_format("channels_first")
    try:
        results = run(build(kind))
    finally:
        keras.config.set_image_data_format(default)
    assert_same(results, expected)
