"""The published layouts against the authors' release."""

import numpy as np
import published_models
import pytest
import seeded_weights

from keras_vicregl.models import backbones

# Float32 convolutions summed in another order: 2e-6 of the largest value is
# what the three backends reach.
TOLERANCE = 1e-5


@pytest.fixture(scope="module", params=["resnet50", "convnext_tiny"])
def figures(request):
    """A seeded model, and `(images, map, mean)` of the release for it."""
    with seeded_weights.no_random_weights():
        model = backbones.backbone(request.param)
    seeded_weights.assign(backbones.state_dict_layout(model), seed=1)
    rng = np.random.default_rng(1)
    cases = {}
    with np.load(seeded_weights.GOLDENS / f"{request.param}_seed1.npz") as file:
        for size in (224, 96):
            images = rng.standard_normal((2, size, size, 3)).astype("float32")
            cases[size] = images, file[f"maps{size}"], file[f"pool{size}"]
    return model, cases


@pytest.mark.parametrize("size", [224, 96])
def test_feature_map_and_mean_are_those_of_the_release(figures, size):
    model, cases = figures
    images, maps, pooled = cases[size]
    result = seeded_weights.run(model, images)
    assert result.shape == (2, size // 32, size // 32, maps.shape[-1])
    np.testing.assert_allclose(
        result.reshape(maps.shape), maps, atol=TOLERANCE * np.abs(maps).max()
    )
    np.testing.assert_allclose(
        result.mean((1, 2)), pooled, atol=TOLERANCE * np.abs(pooled).max()
    )


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("resnet50", "resnet50_seed1"),
        ("resnet101", "resnet101_seed2"),
        ("convnext_tiny", "convnext_tiny_seed1"),
        ("convnext_base", "convnext_base_seed2"),
    ],
)
def test_keys_and_shapes_are_the_published_ones_in_order(name, published):
    model = published_models.without_weights(name)
    layout = backbones.state_dict_layout(model)
    shapes = {key: entry.shape for key, entry in layout.items()}
    expected = seeded_weights.published_shapes(published)
    assert list(shapes.items()) == list(expected.items())
    # Every variable has a key, and only one. (The layout leaves out the
    # states of random number generators.)
    variables = [
        id(entry.variable)
        for entry in layout.values()
        if entry.variable is not None
    ]
    assert len(variables) == len(set(variables))
    assert set(variables) == {id(variable) for variable in _weights(model)}


def _weights(model):
    return [
        variable
        for layer in model.layers
        for variable in layer.weights
        if not isinstance(layer, backbones.StochasticDepth)
    ]


@pytest.mark.parametrize(
    ("name", "count"),
    [  # Of torchvision's models, less their classifier's 1000 (F + 1).
        ("resnet18", 11_689_512 - 1000 * 513),
        ("resnet34", 21_797_672 - 1000 * 513),
        ("resnet50", 25_557_032 - 1000 * 2049),
        ("resnet101", 44_549_160 - 1000 * 2049),
    ],
)
def test_resnet_parameter_counts(name, count):
    assert _trainable_count(name) == count


@pytest.mark.parametrize(
    ("name", "millions"),
    # Tables of SimCLR and BYOL, in millions, without the classifier.
    [("resnet50x2", 94), ("resnet50x4", 375), ("resnet200x2", 250)],
)
def test_wide_resnet_parameter_counts(name, millions):
    assert round(_trainable_count(name) / 1e6) == millions


@pytest.mark.parametrize(
    ("name", "depths", "width", "count"),
    [  # Of torchvision's models; the last of timm's.
        ("convnext_tiny", (3, 3, 9, 3), 96, 28_589_128),
        ("convnext_small", (3, 3, 27, 3), 96, 50_223_688),
        ("convnext_base", (3, 3, 27, 3), 128, 88_591_464),
        ("convnext_large", (3, 3, 27, 3), 192, 197_767_336),
        ("convnext_xlarge", (3, 3, 27, 3), 256, 350_196_968),
    ],
)
def test_convnext_parameter_counts(name, depths, width, count):
    # Those models have a classifier and, in each block, layer scale.
    classifier = 1000 * (8 * width + 1)
    factors = sum(
        depth * width * 2**stage for stage, depth in enumerate(depths)
    )
    assert _trainable_count(name) == count - classifier - factors


def _trainable_count(name):
    model = published_models.without_weights(name)
    return sum(np.prod(v.shape) for v in model.trainable_variables)
