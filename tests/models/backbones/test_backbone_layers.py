import keras
import numpy as np
import pytest

from keras_vicregl.models.backbones import LayerScale, StochasticDepth
from keras_vicregl.models.backbones.layers import PointwiseConv2D, Subsample


def call(layer, values, **arguments):
    values = keras.ops.convert_to_tensor(values)
    return keras.ops.convert_to_numpy(layer(values, **arguments))


def test_stochastic_depth_keeps_or_drops_whole_samples():
    values = np.random.default_rng(0).uniform(1, 2, (2000, 3, 2))
    values = values.astype("float32")
    result = call(StochasticDepth(0.3, seed=7), values, training=True)
    kept = result[:, 0, 0] != 0
    # Divided by the probability of staying, with one rounding to float32.
    np.testing.assert_allclose(result[kept], values[kept] / 0.7, rtol=1e-6)
    assert np.all(result[~kept] == 0)
    # Four standard deviations of the frequency, sqrt(0.3 * 0.7 / 2000).
    assert abs(np.mean(~kept) - 0.3) < 4 * 0.0103


def test_stochastic_depth_does_nothing_in_inference_or_at_rate_0():
    values = np.ones((8, 2, 2, 3), "float32")
    assert np.all(call(StochasticDepth(0.9, seed=1), values) == 1)
    assert np.all(call(StochasticDepth(0, seed=1), values, training=True) == 1)


def test_stochastic_depth_resumes_where_it_was(tmp_path):
    def model():
        inputs = keras.Input((1,))
        return keras.Model(inputs, StochasticDepth(0.5, seed=3)(inputs))

    values = np.ones((64, 1), "float32")
    first = model()
    call(first, values, training=True)
    first.save_weights(tmp_path / "first.weights.h5")
    expected = call(first, values, training=True)

    fresh, resumed = model(), model()
    resumed.load_weights(tmp_path / "first.weights.h5")
    assert np.any(call(fresh, values, training=True) != expected)
    np.testing.assert_array_equal(
        call(resumed, values, training=True), expected
    )


def test_stochastic_depth_loads_weights_saved_without_its_state():
    layer = StochasticDepth(0.5, seed=3)
    before = keras.ops.convert_to_numpy(layer.seed_generator.state)
    layer.load_own_variables({})
    after = keras.ops.convert_to_numpy(layer.seed_generator.state)
    np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("rate", [-0.1, 1, 1.5])
def test_stochastic_depth_refuses_other_rates(rate):
    with pytest.raises(ValueError, match=f"`rate`.*rate={rate}"):
        StochasticDepth(rate)


def test_layer_scale_multiplies_channels():
    layer = LayerScale(0.25)
    values = np.arange(12, dtype="float32").reshape(2, 2, 3)
    np.testing.assert_array_equal(call(layer, values), values / 4)
    layer.gamma.assign(np.array([1, 2, 4], "float32"))
    np.testing.assert_array_equal(call(layer, values), values * [1, 2, 4])


@pytest.mark.parametrize(
    "layer", [StochasticDepth(0.2, seed=4, name="a"), LayerScale(0.1, name="b")]
)
def test_configs_are_complete(layer):
    config = keras.saving.serialize_keras_object(layer)
    again = keras.saving.deserialize_keras_object(config)
    assert type(again) is type(layer)
    assert again.get_config() == layer.get_config()
    inputs = keras.KerasTensor((None, 4, 3))
    assert again.compute_output_spec(inputs).shape == (None, 4, 3)


@pytest.mark.parametrize("size", [(7, 8), (1, 2), (6, 9)])
@pytest.mark.parametrize("stride", [2, 3])
def test_a_slice_and_a_pointwise_convolution_are_a_strided_one(size, stride):
    values = np.random.default_rng(1).normal(size=(1, *size, 3))
    values = values.astype("float32")
    for padding in ("same", "valid"):
        strided = keras.layers.Conv2D(5, 1, stride, padding=padding)
        expected = call(strided, values)
        sliced = PointwiseConv2D.from_config(strided.get_config())
        sliced.build(values.shape)
        sliced.set_weights(strided.get_weights())
        np.testing.assert_allclose(call(sliced, values), expected, atol=1e-6)
        kept = Subsample(stride)
        assert kept.compute_output_shape(values.shape)[:3] == expected.shape[:3]
        np.testing.assert_array_equal(
            call(kept, values), values[:, ::stride, ::stride]
        )
