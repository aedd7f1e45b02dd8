import backend_tools
import keras
import numpy as np
import pytest
import seeded_weights

from keras_vicregl.models import backbones
from keras_vicregl.models.backbones import ResNet, resnet

TINY = {
    "imagenet": {
        "block_counts": (1, 2, 2, 2),
        "widths": (4, 4, 6, 8),
    },
    "basic": {
        "block_counts": (1, 2, 1, 2),
        "widths": (4, 4, 6, 8),
        "block": "basic",
    },
    "small": {
        "block_counts": (2, 1),
        "widths": (4, 6),
        "strides": (1, 2),
        "stem": "small",
        "stem_strides": 2,
        "block": "basic",
    },
    "small_unstrided": {
        "block_counts": (1, 1),
        "widths": (4, 4),
        "strides": (1, 2),
        "stem": "small",
    },
}


def seeded(seed=3, **arguments):
    with seeded_weights.no_random_weights():
        model = ResNet(**arguments)
    seeded_weights.assign(resnet.state_dict_layout(model), seed)
    return model


def images(height, width, batch=2):
    rng = np.random.default_rng([height, width])
    return rng.standard_normal((batch, height, width, 3)).astype("float32")


def torch_twin(model):
    pytest.importorskip("torch")
    import plain_networks

    network = plain_networks.ResNet(
        model.block_counts,
        model.widths,
        model.block,
        model.strides,
        model.stem,
        model.stem_strides,
    )
    return plain_networks.load(network, resnet.state_dict_layout(model))


def assert_close(result, expected):
    # Float32 sums in another order, over a few layers.
    np.testing.assert_allclose(
        result, expected, rtol=0, atol=1e-5 * np.abs(expected).max()
    )


@pytest.mark.parametrize("kind", TINY)
def test_any_size_agrees_with_pytorch(kind):
    # An odd by an even size, of other remainders at every stride.
    model = seeded(**TINY[kind])
    expected = _run_torch(torch_twin(model), images(65, 98))
    assert_close(seeded_weights.run(model, images(65, 98)), expected)


def _run_torch(network, values):
    import plain_networks

    return plain_networks.run(network, values)


@pytest.mark.parametrize(
    ("output_stride", "dilated"), [(16, (4,)), (8, (3, 4))]
)
def test_dilation_agrees_with_pytorch(output_stride, dilated):
    model = seeded(**TINY["imagenet"], output_stride=output_stride)
    network = torch_twin(model)
    network.replace_stride_with_dilation(dilated)
    expected = _run_torch(network, images(50, 33))
    assert expected.shape[1] == -(-50 // output_stride)
    assert_close(seeded_weights.run(model, images(50, 33)), expected)


def test_gradients_agree_with_pytorch():
    # Dilated too, for not all kernels of TensorFlow have gradients for it.
    model = seeded(
        block_counts=(1, 2), widths=(4, 4), strides=(1, 2), output_stride=4
    )
    network = torch_twin(model)
    network.replace_stride_with_dilation((2,))
    import plain_networks

    values = images(17, 24)
    shape = model.compute_output_shape(values.shape)
    weights = np.random.default_rng(0).standard_normal(shape).astype("float32")
    _, (gradient,) = backend_tools.value_and_grad(
        lambda x: _weighted_sum(model(x, training=False), weights),
        [values],
        compiled=keras.backend.backend() == "jax",
    )
    expected = plain_networks.run_with_gradient(network, values, weights)
    assert_close(gradient, expected)


def _weighted_sum(result, weights):
    return keras.ops.sum(keras.ops.multiply(result, weights))


@pytest.mark.parametrize("kind", ["imagenet", "basic"])
def test_dilated_map_holds_the_strided_one(kind):
    # Each convolution of the dilated network sees, at every fourth position,
    # what the strided network sees. At all sizes: no stage drops a last odd
    # position.
    strided = seeded(**TINY[kind])
    dilated = seeded(**TINY[kind], output_stride=8)
    values = images(70, 45)
    expected = seeded_weights.run(strided, values)
    result = seeded_weights.run(dilated, values)
    assert result.shape[1:3] == (9, 6)
    assert_close(result[:, ::4, ::4], expected)


@pytest.mark.parametrize("output_stride", [8, 16])
def test_dilation_changes_no_weights(output_stride):
    with seeded_weights.no_weights():
        model = backbones.ResNet50(output_stride=output_stride)
    shapes = {
        key: entry.shape
        for key, entry in resnet.state_dict_layout(model).items()
    }
    assert shapes == seeded_weights.published_shapes("resnet50_seed1")
    size = 224 // output_stride
    assert model.compute_output_shape((1, 224, 224, 3)) == (1, size, size, 2048)
    assert model.pyramid_strides == {
        "P2": 4,
        "P3": 8,
        "P4": output_stride,
        "P5": output_stride,
    }


def test_projection_stays_where_only_the_stride_needed_it():
    # The stride becomes dilation, its projection's weights must stay.
    arguments = {
        "block_counts": (1, 1),
        "widths": (4, 4),
        "strides": (1, 2),
        "block": "basic",
    }
    with seeded_weights.no_weights():
        keys = [
            list(resnet.state_dict_layout(ResNet(**arguments, **dilation)))
            for dilation in ({}, {"output_stride": 4})
        ]
    assert keys[0] == keys[1]
    assert "layer2.0.downsample.0.weight" in keys[0]
    assert "layer1.0.downsample.0.weight" not in keys[0]


def test_no_pointwise_convolution_is_strided():
    # Its gradient at a batch of one ends the process on some CPUs.
    with seeded_weights.no_weights():
        models = [ResNet(**arguments) for arguments in TINY.values()]
        models.append(backbones.ResNet50())
    for model in models:
        convolutions = [
            layer
            for layer in model.layers
            if isinstance(layer, keras.layers.Conv2D)
        ]
        assert any(max(layer.strides) > 1 for layer in convolutions)
        assert not any(
            layer.kernel_size == (1, 1) and max(layer.strides) > 1
            for layer in convolutions
        )


def test_pyramid_holds_the_stages():
    model = seeded(**TINY["imagenet"])
    pyramid = keras.Model(model.input, model.pyramid_outputs)
    values = images(64, 96)
    maps = seeded_weights.run(pyramid, values)
    assert {key: map_.shape for key, map_ in maps.items()} == {
        "P2": (2, 16, 24, 16),
        "P3": (2, 8, 12, 16),
        "P4": (2, 4, 6, 24),
        "P5": (2, 2, 3, 32),
    }
    # One compiled function or another: the last bits may differ.
    assert_close(maps["P5"], seeded_weights.run(model, values))


def test_blocks_start_as_identities():
    with seeded_weights.no_random_weights():
        models = [ResNet(**TINY["imagenet"]), ResNet(**TINY["basic"])]
    for model, last in zip(models, ("bn3", "bn2"), strict=True):
        for layer in model.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                expected = float(not layer.name.endswith(last))
                gamma = keras.ops.convert_to_numpy(layer.gamma)
                assert np.all(gamma == expected), layer.name


def test_blocks_start_at_work_on_demand():
    with seeded_weights.no_random_weights():
        model = ResNet(**TINY["basic"], zero_init_residual=False)
    norms = [v for v in model.trainable_variables if v.name == "gamma"]
    assert norms
    assert all(np.all(keras.ops.convert_to_numpy(v) == 1) for v in norms)


def test_convolutions_start_kaiming_normal_over_the_fan_out():
    keras.utils.set_random_seed(0)
    model = ResNet((1,), widths=(32,), strides=(1,), block="basic")
    kernels = {
        name: keras.ops.convert_to_numpy(model.get_layer(name).kernel)
        for name in ("conv1", "layer1_0_conv1", "layer1_0_conv2")
    }
    for name, fan_out in zip(kernels, (49 * 32, 9 * 32, 9 * 32), strict=True):
        scaled = kernels[name] * np.sqrt(fan_out / 2)
        # The standard deviation of n values errs by 1 / sqrt(2 n): four of
        # these. Fan-in would be off by sqrt(32 / 3) in the stem.
        assert abs(scaled.std() - 1) < 4 / np.sqrt(2 * scaled.size), name
        # 1.2 % lie beyond 2.5 sigma, none in a truncated distribution.
        assert 0.005 < np.mean(np.abs(scaled) > 2.5) < 0.02, name
    assert np.any(kernels["layer1_0_conv1"] != kernels["layer1_0_conv2"])


def test_running_statistics_follow_pytorchs():
    torch = pytest.importorskip("torch")
    import plain_networks

    model = seeded(
        block_counts=(1,),
        widths=(4,),
        strides=(1,),
        stem="small",
        block="basic",
    )
    network = torch_twin(model).train()
    values = images(8, 6)
    with torch.no_grad():
        expected = plain_networks.forward(network, torch.from_numpy(values))
    before = _statistics(model)
    result = keras.ops.convert_to_numpy(
        model(keras.ops.convert_to_tensor(values), training=True)
    )
    assert_close(result, expected.numpy())
    after = _statistics(model)
    theirs = network.state_dict()
    n = 2 * 8 * 6
    for key, value in after.items():
        target = theirs[key].numpy()
        if key.endswith("running_var"):
            # PyTorch accumulates the unbiased variance, Keras the biased.
            target = 0.9 * before[key] + (target - 0.9 * before[key]) * (
                (n - 1) / n
            )
        np.testing.assert_allclose(value, target, rtol=1e-5, atol=1e-6)
        assert np.any(value != before[key])


def _statistics(model):
    return {
        key: entry.to_torch().copy()
        for key, entry in resnet.state_dict_layout(model).items()
        if key.endswith(("running_mean", "running_var"))
    }


def test_small_resnet_maps_64_pixels_to_8_by_8():
    with seeded_weights.no_weights():
        fast = backbones.SmallResNet()
        fine = backbones.SmallResNet(stem_strides=1, strides=(1, 2, 2, 2))
    for model in (fast, fine):
        assert model.compute_output_shape((5, 64, 64, 3)) == (5, 8, 8, 192)
    assert list(fast.pyramid_strides.values()) == [4, 8, 8, 8]
    assert list(fine.pyramid_strides.values()) == [1, 2, 4, 8]


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("block", "resnext"),
        ("stem", "cifar"),
        ("output_stride", 12),
        ("output_stride", 64),
        ("block_counts", (1, 2)),
        ("block_counts", (1, 2, 0, 2)),
        ("widths", (4, 4, 6, 8.0)),
        ("strides", (1, 2, 2, -2)),
        ("stem_strides", 0),
        ("widths", (4, 4, 8)),
        ("strides", ()),
        ("input_shape", (None, None)),
        ("input_shape", (None, None, None)),
        ("input_shape", (-1, 32, 3)),
        ("input_shape", 224),
    ],
)
def test_bad_arguments_are_named(argument, value):
    arguments = {**TINY["imagenet"], argument: value}
    with pytest.raises(ValueError, match=f"`{argument}`") as error:
        ResNet(**arguments)
    assert str(value) in str(error.value)
