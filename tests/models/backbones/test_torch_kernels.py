"""PyTorch's kernels in Keras' layers: the same values, and no others' ways.

Tolerances: both compute in float32, sums in another order; 1e-5 of the largest
value is some ten times what was seen.
"""

import itertools

import keras
import numpy as np
import pytest
from keras import layers

if keras.backend.backend() != "torch":
    pytest.skip("of PyTorch alone", allow_module_level=True)

import torch
from torch.utils._python_dispatch import TorchDispatchMode

import keras_vicregl
from keras_vicregl.models.backbones import (
    ResNet,
    SmallResNet,
    torch_kernels,
)
from keras_vicregl.models.backbones.torch_kernels import use_torch_kernels


def random(*shape, seed=0):
    values = np.random.default_rng(seed).normal(0.5, 2, shape)
    return torch.tensor(values, dtype=torch.float32, requires_grad=True)


def twins(make, shape):
    """A layer of Keras with random weights, and its like with our calls."""
    pair = make(), make()
    for layer in pair:
        layer.build((None, *shape[1:]))
        for number, variable in enumerate(layer.weights):
            noise = random(*variable.shape, seed=number).detach()
            variable.assign(abs(noise) + 0.5)
    use_torch_kernels(pair[1])
    assert "call" in vars(pair[1])
    return pair


def close(actual, desired, tolerance=1e-5):
    actual, desired = (
        each.detach().float().numpy() for each in (actual, desired)
    )
    largest = max(np.abs(desired).max(), 1e-30)
    np.testing.assert_allclose(
        actual / largest, desired / largest, rtol=0, atol=tolerance
    )


def assert_same(make, shape, dtype=torch.float32, tolerance=1e-5, **arguments):
    """Output, gradients and state of both; twice, as state has a past."""
    pair = twins(make, shape)
    for step in range(2):
        found = []
        for layer in pair:
            x = random(*shape, seed=7 + step)
            for variable in layer.trainable_weights:
                variable.value.grad = None
            y = layer(x.to(dtype), **arguments)
            weights = random(*y.shape, seed=9).detach()
            (y * weights.to(y.dtype)).sum().backward()
            gradients = [v.value.grad for v in layer.trainable_weights]
            state = [v.value for v in layer.non_trainable_weights]
            assert y.dtype == dtype
            found.append([y, x.grad, *gradients, *state])
        for theirs, ours in zip(*found, strict=True):
            close(ours, theirs, tolerance)


SHAPES = [(6, 5), (3, 4, 5), (3, 4, 6, 5), (2, 2, 3, 2, 5)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("training", [True, False])
def test_batch_normalization(shape, training):
    assert_same(
        lambda: layers.BatchNormalization(momentum=0.8, epsilon=1e-3),
        shape,
        training=training,
    )


@pytest.mark.parametrize(
    "arguments",
    [
        {"scale": False},
        {"center": False},
        {"scale": False, "center": False},
        {"trainable": False},
        # Where Keras' own ways are taken.
        {"axis": 1},
        {"renorm": True},
    ],
)
def test_batch_normalization_of_other_kinds(arguments):
    assert_same(
        lambda: layers.BatchNormalization(**arguments),
        (3, 4, 6, 5),
        training=True,
    )


def test_a_mask_is_kept_to():
    mask = torch.tensor([[True, True, False], [True, False, False]])
    assert_same(layers.BatchNormalization, (2, 3, 4), training=True, mask=mask)


def test_one_value_a_channel_is_keras_own():
    assert_same(layers.BatchNormalization, (1, 4), training=True)


def test_bfloat16_has_float32_statistics():
    # Values come out rounded to 8 bits in both.
    assert_same(
        lambda: layers.BatchNormalization(dtype="mixed_bfloat16"),
        (8, 4, 6, 5),
        dtype=torch.bfloat16,
        tolerance=1e-2,
        training=True,
    )
    theirs, ours = twins(
        lambda: layers.BatchNormalization(dtype="mixed_bfloat16"), (8, 4, 6, 5)
    )
    x = random(8, 4, 6, 5).bfloat16()
    for layer in (theirs, ours):
        layer(x, training=True)
    for one, other in zip(
        theirs.non_trainable_weights, ours.non_trainable_weights, strict=True
    ):
        close(other.value, one.value)


def test_float16_on_a_cpu_is_keras_own():
    assert_same(
        lambda: layers.BatchNormalization(dtype="mixed_float16"),
        (8, 4, 6, 5),
        dtype=torch.float16,
        tolerance=1e-6,
        training=True,
    )


def test_state_stays_within_a_scope():
    layer = twins(layers.BatchNormalization, (4, 3))[1]
    before = layer.moving_mean.numpy().copy()
    with keras.StatelessScope() as scope:
        layer(random(4, 3), training=True)
    np.testing.assert_array_equal(layer.moving_mean.numpy(), before)
    assert scope.get_current_value(layer.moving_mean) is not None


CONVOLUTIONS = [
    {},
    {"padding": "same"},
    {"padding": "same", "dilation_rate": 2},
    {"padding": "valid", "strides": 2},
    {"groups": 2, "padding": "same"},
    {"use_bias": False, "activation": "relu"},
    {"kernel_size": 1},
    {"kernel_size": 1, "use_bias": False, "activation": "relu"},
    {"kernel_size": 1, "strides": 2},
    {"kernel_size": 1, "groups": 2},
    {"kernel_size": (1, 3), "padding": "same"},
    # Where Keras' own ways are taken.
    {"padding": "same", "strides": 2},
    {"padding": "same", "kernel_size": 4},
    {"data_format": "channels_first", "padding": "same"},
]


@pytest.mark.parametrize("arguments", CONVOLUTIONS)
def test_convolution(arguments):
    settings = {"filters": 6, "kernel_size": 3, **arguments}
    assert_same(lambda: layers.Conv2D(**settings), (2, 8, 8, 8))


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"padding": "same", "depth_multiplier": 2},
        {"padding": "same", "kernel_size": 7, "use_bias": False},
        {"strides": 2, "activation": "relu"},
        {"padding": "same", "strides": 2},
    ],
)
def test_depthwise_convolution(arguments):
    settings = {"kernel_size": 3, **arguments}
    assert_same(lambda: layers.DepthwiseConv2D(**settings), (2, 9, 8, 3))


@pytest.mark.parametrize("shape", [(3, 4), (3, 2, 4), (2, 3, 2, 4)])
@pytest.mark.parametrize("use_bias", [True, False])
def test_dense(shape, use_bias):
    assert_same(
        lambda: layers.Dense(5, use_bias=use_bias, activation="gelu"), shape
    )


def test_classes_derived_are_left_alone():
    class Own(layers.Conv2D):
        pass

    layer = Own(2, 3)
    use_torch_kernels(layer)
    assert "call" not in vars(layer)


class Seen(TorchDispatchMode):
    """What PyTorch is asked for: name and number of values that come out."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        first = result[0] if isinstance(result, (tuple, list)) else result
        size = first.numel() if isinstance(first, torch.Tensor) else 0
        self.calls.append((function.overloadpacket.__name__, size))
        return result

    def count(self, name):
        return sum(each == name for each, _ in self.calls)


def test_a_backbone_has_one_kernel_for_each_normalization_and_no_copies():
    backbone = ResNet((1, 1), widths=(8, 16), strides=(1, 2))
    images = random(4, 64, 64, 3)
    with Seen() as seen:
        (backbone(images, training=True) ** 2).mean().backward()
    norms = sum(
        isinstance(e, layers.BatchNormalization) for e in backbone.layers
    )
    assert seen.count("native_batch_norm") == norms
    assert seen.count("native_batch_norm_backward") == norms
    # Mean and variance, in the sums that are accurate on a CPU.
    assert seen.count("mean") == 2 * norms + 1
    # Maps have 4 x 8 x 8 x 16 values and more, weights less. Keras' max
    # pooling, padding and a slice copy; its convolutions did so three times.
    smallest = 4 * 8 * 8 * 16
    copies = [
        size
        for name, size in seen.calls
        if name in ("clone", "copy_", "contiguous") and size >= smallest
    ]
    assert len(copies) <= 4, copies


def test_the_model_has_them_and_its_file_does_not():
    model = keras_vicregl.VICRegL(
        SmallResNet(widths=(4, 4, 4, 4)),
        expander_units=(8, 8),
        local_expander_units=(8, 8),
    )
    kinds = layers.BatchNormalization, layers.Conv2D, layers.Dense
    found = [e for e in model._flatten_layers() if type(e) in kinds]
    assert found and all("call" in vars(each) for each in found)
    for layer in found:
        again = type(layer).from_config(layer.get_config())
        assert "call" not in vars(again)


def test_the_kernel_for_gpus_is_the_same(monkeypatch):
    # It runs on CPUs as well, adding up less well.
    theirs, ours = twins(layers.BatchNormalization, (3, 4, 6, 5))
    monkeypatch.setattr(torch_kernels._ByParts, "apply", torch_kernels._at_once)
    found = []
    for layer in (theirs, ours):
        x = random(3, 4, 6, 5)
        layer(x, training=True).pow(3).sum().backward()
        state = [v.value for v in layer.non_trainable_weights]
        gradients = [v.value.grad for v in layer.trainable_weights]
        found.append([x.grad, *gradients, *state])
    for one, other in zip(*found, strict=True):
        close(other, one)


def test_statistics_of_large_maps_are_accurate():
    # 200,000 values a channel: added up one by one, the variance is off by
    # more than 1e-5.
    layer = layers.BatchNormalization(momentum=0.0)
    layer.build((None, None, None, 4))
    use_torch_kernels(layer)
    x = (
        np.random.default_rng(0)
        .normal(1, 2, (4, 224, 224, 4))
        .astype("float32")
    )
    layer(torch.tensor(x), training=True)
    wide = x.astype("float64").reshape(-1, 4)
    np.testing.assert_allclose(layer.moving_mean.numpy(), wide.mean(0), 1e-6)
    np.testing.assert_allclose(layer.moving_variance.numpy(), wide.var(0), 2e-6)


def test_gradients_of_gradients():
    # Kernels that are twice differentiable, as Keras' pieces are.
    theirs, ours = twins(layers.BatchNormalization, (5, 3))
    found = []
    for layer in (theirs, ours):
        x = random(5, 3)
        y = layer(x, training=True).pow(3).sum()
        (slope,) = torch.autograd.grad(y, x, create_graph=True)
        found.append(torch.autograd.grad(slope.square().sum(), x)[0])
    close(found[1], found[0], 1e-4)


def test_every_pair_of_layers_keeps_layouts():
    # What a layer gives is what the next one takes without a copy.
    makers = [
        lambda: layers.Conv2D(8, 3, padding="same", use_bias=False),
        lambda: layers.Conv2D(8, 1, use_bias=False),
        lambda: layers.DepthwiseConv2D(3, padding="same", use_bias=False),
        layers.BatchNormalization,
    ]
    for first, second in itertools.product(makers, repeat=2):
        model = keras.Sequential([keras.Input((8, 8, 8)), first(), second()])
        use_torch_kernels(model)
        with Seen() as seen, torch.no_grad():
            y = model(random(2, 8, 8, 8), training=True)
        assert y.is_contiguous()
        sizes = [s for n, s in seen.calls if n in ("clone", "copy_")]
        assert max(sizes, default=0) < 2 * 8 * 8 * 8
