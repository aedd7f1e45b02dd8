import backend_tools
import keras
import numpy as np
import pytest
import seeded_weights

from keras_vicregl.models import backbones
from keras_vicregl.models.backbones import ConvNeXt, StochasticDepth, convnext

TINY = {"depths": (1, 2, 1, 1), "widths": (4, 6, 8, 8)}


def seeded(seed=3, **arguments):
    with seeded_weights.no_random_weights():
        model = ConvNeXt(**arguments)
    seeded_weights.assign(convnext.state_dict_layout(model), seed)
    return model


def images(height, width, batch=2):
    rng = np.random.default_rng([height, width])
    return rng.standard_normal((batch, height, width, 3)).astype("float32")


def assert_close(result, expected):
    # Float32 sums in another order, over a few layers.
    np.testing.assert_allclose(
        result, expected, rtol=0, atol=1e-5 * np.abs(expected).max()
    )


@pytest.mark.parametrize("layer_scale", [None, 0.1])
def test_any_size_agrees_with_pytorch(layer_scale):
    pytest.importorskip("torch")
    import plain_networks

    # Sizes that leave a remainder at every stride. The layout loads with all
    # its keys, the factors of the branches with their own.
    model = seeded(**TINY, layer_scale=layer_scale)
    layout = convnext.state_dict_layout(model)
    network = plain_networks.load(
        plain_networks.ConvNeXt(*TINY.values(), layer_scale), layout
    )
    assert list(layout) == list(network.state_dict())
    expected = plain_networks.run(network, images(67, 110))
    assert_close(seeded_weights.run(model, images(67, 110)), expected)


def test_gradients_agree_with_pytorch():
    pytest.importorskip("torch")
    import plain_networks

    arguments = {"depths": (1, 1), "widths": (4, 6)}
    model = seeded(**arguments)
    network = plain_networks.load(
        plain_networks.ConvNeXt(*arguments.values(), layer_scale=None),
        convnext.state_dict_layout(model),
    )
    values = images(16, 24)
    weights = np.random.default_rng(0).standard_normal((2, 2, 3, 6))
    weights = weights.astype("float32")
    _, (gradient,) = backend_tools.value_and_grad(
        lambda x: _weighted_sum(model(x, training=False), weights),
        [values],
        compiled=keras.backend.backend() == "jax",
    )
    expected = plain_networks.run_with_gradient(network, values, weights)
    assert_close(gradient, expected)


def _weighted_sum(result, weights):
    return keras.ops.sum(keras.ops.multiply(result, weights))


def test_dilated_map_holds_the_strided_one():
    # Each convolution of the dilated network sees, at every fourth position,
    # what the strided network sees.
    strided = seeded(**TINY)
    dilated = seeded(**TINY, output_stride=8)
    values = images(64, 96)
    expected = seeded_weights.run(strided, values)
    result = seeded_weights.run(dilated, values)
    assert result.shape == (2, 8, 12, 8)
    assert_close(result[:, ::4, ::4], expected)


def test_dilated_map_moves_with_the_image():
    # What the positions between hold: with the image moved by 16 pixels, the
    # strided network gives the odd rows of the dilated map of stride 16.
    strided = seeded(**TINY)
    dilated = seeded(**TINY, output_stride=16)
    values = images(1024, 32, 1)
    result = seeded_weights.run(dilated, values)
    expected = seeded_weights.run(strided, np.roll(values, -16, axis=1))
    # Without the rows near a border, whose zero padding does not move: a
    # feature sees 3 (7 x 7 kernels) positions of each stage, 4 for the
    # downsampling before it, less than 256 pixels in all.
    assert_close(result[:, 17:47:2, ::2], expected[:, 8:23])


def test_dilated_network_has_gradients():
    # Not all kernels of the frameworks have them for dilated convolutions.
    model = seeded(depths=(1, 1), widths=(4, 6), output_stride=4)
    values, direction = images(16, 24), images(16, 25)[:, :, :24]
    weights = np.random.default_rng(0).standard_normal((2, 4, 6, 6))
    weights = weights.astype("float32")

    def loss(x):
        return _weighted_sum(model(x, training=False), weights)

    _, (gradient,) = backend_tools.value_and_grad(
        loss, [values], compiled=keras.backend.backend() == "jax"
    )
    step = 1e-2
    ahead, behind = (
        np.sum(
            seeded_weights.run(model, values + sign * step * direction)
            * weights,
            dtype="float64",
        )
        for sign in (1, -1)
    )
    # A central difference errs by step^2, and by float32 over the step.
    np.testing.assert_allclose(
        np.sum(gradient * direction), (ahead - behind) / (2 * step), rtol=1e-2
    )


def test_pyramid_holds_the_stages_without_the_final_norm():
    model = seeded(**TINY)
    pyramid = keras.Model(
        model.input, {**model.pyramid_outputs, "output": model.output}
    )
    maps = seeded_weights.run(pyramid, images(64, 96))
    assert {key: map_.shape for key, map_ in maps.items()} == {
        "P2": (2, 16, 24, 4),
        "P3": (2, 8, 12, 6),
        "P4": (2, 4, 6, 8),
        "P5": (2, 2, 3, 8),
        "output": (2, 2, 3, 8),
    }
    assert model.pyramid_strides == {"P2": 4, "P3": 8, "P4": 16, "P5": 32}
    raw = maps["P5"].astype("float64")
    normed = (raw - raw.mean(-1, keepdims=True)) / np.sqrt(
        raw.var(-1, keepdims=True) + 1e-6
    )
    layout = convnext.state_dict_layout(model)
    scale, offset = (
        layout[f"norm.{parameter}"].to_torch()
        for parameter in ("weight", "bias")
    )
    assert_close(maps["output"], normed * scale + offset)


def test_weights_start_as_documented():
    keras.utils.set_random_seed(0)
    model = ConvNeXt(depths=(2,), widths=(32,), layer_scale=1e-6)
    for key, entry in convnext.state_dict_layout(model).items():
        value = entry.to_torch()
        if key.endswith("gamma"):
            assert np.all(value == np.float32(1e-6))
        elif key.endswith("bias"):
            assert np.all(value == 0), key
        elif value.ndim == 1:
            assert np.all(value == 1), key
        else:
            scaled = value / 0.02
            # The standard deviation of n values errs by 1 / sqrt(2 n).
            assert abs(scaled.std() - 1) < 4 / np.sqrt(2 * scaled.size), key
            # 1.2 % lie beyond 2.5 sigma, none in a truncated distribution.
            assert 0.005 < np.mean(np.abs(scaled) > 2.5) < 0.02, key
    kernels = [
        keras.ops.convert_to_numpy(model.get_layer(name).kernel)
        for name in ("stages_0_0_pwconv1", "stages_0_1_pwconv1")
    ]
    assert np.any(kernels[0] != kernels[1])


def test_stochastic_depth_rises_linearly_over_the_blocks():
    with seeded_weights.no_weights():
        model = backbones.ConvNeXtTiny(seed=5)
        flat = backbones.ConvNeXtTiny(stochastic_depth_rate=0)
    layers = _stochastic_depth(model)
    # The k-th of 18 blocks drops with probability 0.1 k / 17.
    np.testing.assert_allclose(
        [layer.rate for layer in layers],
        [0.1 * block / 17 for block in range(18)],
        rtol=1e-12,
    )
    # Blocks that shared a seed would all drop the same samples.
    assert len({layer.seed for layer in layers}) == 18
    assert [layer.rate for layer in _stochastic_depth(flat)] == [0.0] * 18


def _stochastic_depth(model):
    return [
        layer for layer in model.layers if isinstance(layer, StochasticDepth)
    ]


def test_training_drops_whole_branches_sample_by_sample():
    # The first block never drops, the second drops half of the samples and
    # doubles its branch for the others.
    model = seeded(depths=(2,), widths=(6,), stochastic_depth_rate=0.5, seed=11)
    ends = keras.Model(
        model.input,
        [
            model.get_layer("stages_0_0_add").output,
            model.pyramid_outputs["P2"],
        ],
    )
    values = images(8, 8, batch=32)
    first, second = seeded_weights.run(ends, values)
    kept_first, result = (
        keras.ops.convert_to_numpy(x)
        for x in ends(keras.ops.convert_to_tensor(values), training=True)
    )
    assert_close(kept_first, first)
    dropped = np.array(
        [np.allclose(result[i], first[i], atol=1e-5) for i in range(32)]
    )
    # Sixteen on average; both kinds are sure to be there.
    assert 5 <= dropped.sum() <= 27
    doubled = 2 * second - first
    assert_close(result, np.where(dropped[:, None, None, None], first, doubled))


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("widths", (4, 8)),
        ("depths", ()),
        ("depths", (1, 0, 1, 1)),
        ("widths", (4, 6, 8, None)),
        ("stochastic_depth_rate", 1.0),
        ("stochastic_depth_rate", -0.1),
        ("output_stride", 2),
        ("input_shape", (31, None, 3)),
        ("input_shape", (None, None, 0)),
    ],
)
def test_bad_arguments_are_named(argument, value):
    with pytest.raises(ValueError, match=f"`{argument}`") as error:
        ConvNeXt(**{**TINY, argument: value})
    assert str(value) in str(error.value)
