"""Views of any channels and depth: geometry, values, host and device."""

import keras
import numpy as np
import pytest
import scipy.stats
from backend_tools import value
from channel_images import KINDS, kind_name, pixels_of, ramps
from keras import ops
from test_device_views import nothing_but, reference, rendered
from view_helpers import make_views

from keras_vicregl.views import MultiView, ViewGroup
from keras_vicregl.views.rendering.device import device_views

SOURCE = (30, 44)
SIZE = (16, 14)
GROUPS = [ViewGroup(SIZE, 2, scale=(0.3, 0.9), blur=(0.0,), solarize=(0.0,))]
SEEDS = np.array([[3, index] for index in range(3)])


# What TensorFlow makes on the host is the same under every backend.
WHERE = ["host", pytest.param("device", marks=pytest.mark.every_backend)]


def recipe_of(kind, on, groups=GROUPS, **options):
    """Crops and flips only, in pixels of 255 as they are."""
    channels, _, value_range = kind
    return make_views(
        groups,
        channels=channels,
        value_range=value_range,
        on=on,
        **{
            "mean": (0.0,) * channels,
            "std": (1 / 255,) * channels,
            "brightness": 0.0,
            "contrast": 0.0,
            "saturation": 0.0,
            "hue": 0.0,
            "grayscale": 0.0,
            **options,
        },
    )


def made(recipe, images, seeds=SEEDS):
    """Views, as NumPy, and parameters, whatever makes them."""
    drawn = recipe.parameters(seeds, images.shape[1:3])
    if recipe.on == "host":
        batch = recipe({"images": images, "seeds": seeds})
        return [np.asarray(view) for view in batch["views"]], drawn
    values = keras.tree.flatten(drawn)

    def fn(images, *values):
        parameters = keras.tree.pack_sequence_as(drawn, values)
        return device_views(recipe, images, parameters)[0]

    return [np.asarray(view) for view in value(fn, [images, *values])], drawn


@pytest.mark.parametrize("kind", KINDS, ids=kind_name)
@pytest.mark.parametrize("on", WHERE)
def test_pixels_lie_where_boxes_and_flips_put_them(kind, on):
    channels, dtype, value_range = kind
    step = 5
    images = ramps(SOURCE, channels, dtype, value_range, step)
    images = np.stack([images] * len(SEEDS))
    # Away from edges a kernel that is not widened leaves a ramp as it is.
    recipe = recipe_of(kind, on, antialias=False)
    views, (drawn,) = made(recipe, images)
    h, w = SIZE
    inner = (slice(4, -4), slice(4, -4))
    # Integers are rounded to, of a range of 3900: 1 / 30 of a pixel.
    rounding = 0.0
    if dtype == "uint16":
        rounding = 0.5 * 255 / np.ptp(value_range) / step
    flipped = drawn["flips"].sum()
    assert 0 < flipped < drawn["flips"].size
    for view, example in np.ndindex(len(views), len(SEEDS)):
        top, left, height, width = drawn["boxes"][example, view]
        u, v = (np.arange(w) + 0.5) / w, (np.arange(h) + 0.5) / h
        if drawn["flips"][example, view]:
            u = 1 - u
        x, y = np.meshgrid(left + width * u, top + height * v)
        found = views[view][example] / step + 0.5
        for channel in range(channels):
            np.testing.assert_allclose(
                found[inner][..., channel],
                (y if channel % 2 else x)[inner],
                # As exact as for RGB of 8 bits, and what the data is.
                atol=0.01 + 1.5 * rounding,
            )


def random_images(kind, seed=0):
    """Some values are beyond the range."""
    channels, dtype, value_range = kind
    rng = np.random.default_rng(seed)
    shape = (len(SEEDS), 21, 26, channels)
    if value_range is None:
        return rng.integers(0, 256, shape).astype(dtype)
    low, high = np.moveaxis(np.float64(value_range), -1, 0)
    images = low + (high - low) * rng.uniform(-0.1, 1.1, shape)
    if dtype == "uint16":
        images = np.clip(np.rint(images), 0, 65535)
    return images.astype(dtype)


@pytest.mark.every_backend
@pytest.mark.parametrize("kind", KINDS, ids=kind_name)
def test_the_devices_views_are_what_the_definition_says(kind):
    channels, _, value_range = kind
    images = random_images(kind)
    rng = np.random.default_rng(1)
    shape = (3, 2, channels)
    parameters = nothing_but(
        [
            [[0, 0, 21, 26], [3, 7, 5, 4]],
            [[2, 0, 8, 26], [4, 5, 12, 13]],
            [[20, 25, 1, 1], [0, 2, 21, 3]],
        ],
        flips=[[0, 1], [1, 0], [1, 0]],
        sigma=[[0.0, 0.4], [2.0, 0.1], [1.3, 0.0]],
        solarize=[[0, 1], [1, 0], [0, 1]],
    )
    gain = np.float32(1 + rng.normal(0, 0.3, shape))
    lift = np.float32(rng.normal(0, 0.2, shape))
    if channels == 3:
        one = {}
    else:
        del parameters["matrix"], parameters["from_mean"]
        one = {"gain": gain, "lift": lift}
    options = {
        "size": (12, 9),
        "mean": (0.4,) * channels,
        "std": (1 / 255,) * channels,
    }
    actual = rendered(
        images, {**parameters, **one}, value_range=value_range, **options
    )
    # The matrix of `gain` and `lift` has these on its diagonal.
    whole = {
        **parameters,
        "matrix": np.broadcast_to(np.eye(channels), (*shape, channels)),
        "from_mean": np.zeros((*shape, channels)),
    }
    if one:
        whole["matrix"] = gain[..., None] * np.eye(channels)
        whole["from_mean"] = lift[..., None] * np.eye(channels)
    pixels = pixels_of(images, value_range)
    expected = reference(pixels, whole, **options)
    # Of 255. Solarised values jump at the threshold: few are that near.
    error = np.abs(actual - expected)
    assert np.mean(error > 0.01) < 1e-3
    assert error.max() < 1.05


@pytest.mark.every_backend
@pytest.mark.parametrize("kind", [KINDS[0], KINDS[3], KINDS[-1]], ids=kind_name)
def test_host_and_device_make_the_same_views(kind):
    channels, _, _ = kind
    images = random_images(kind)
    options = {
        "brightness": 0.4,
        "contrast": 0.4,
        "gamma": 0.5,
        "noise": 0.1,
        "per_channel": channels != 1,
        "jitter": 0.8,
    }
    groups = [ViewGroup((20, 9), 2, blur=(0.7,), solarize=(0.3,))]
    host, device = (
        made(recipe_of(kind, on, groups, **options), images)[0]
        for on in ("host", "device")
    )
    for one, other in zip(host, device, strict=True):
        # Float32 of 255, the steep end of gamma at 0 included; solarising
        # turns rounding at the threshold around.
        error = np.abs(one - other)
        assert np.mean(error > 0.01) < 1e-3
        assert error.max() < 1.05


# Photometric changes off: float32. On: a step of the threshold, 1 of 255.
@pytest.mark.parametrize(
    ("options", "most"),
    [({"jitter": 0.0, "grayscale": 0.0}, 1e-6), ({}, 1.0 / 255)],
)
@pytest.mark.parametrize("on", WHERE)
def test_sixteen_bits_are_their_eight_bit_twin(options, most, on):
    images = random_images((3, "uint8", None))
    groups = [ViewGroup((20, 9), 2)] if not options else GROUPS
    plain = {"mean": (0.0,) * 3, "std": (1.0,) * 3, "on": on, **options}
    eight, _ = made(make_views(groups, **plain), images)
    sixteen, _ = made(
        make_views(groups, value_range=(0, 65535), **plain),
        np.uint16(images) * np.uint16(257),
    )
    for one, other in zip(eight, sixteen, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=most)


@pytest.mark.every_backend
@pytest.mark.parametrize("options", [{"value_range": None}, {"channels": 4}])
def test_the_device_refuses_what_it_was_not_told_of(options):
    recipe = make_views(
        GROUPS,
        on="device",
        **{"channels": 1, "value_range": (0, 99), **options},
        **dict.fromkeys(("saturation", "hue", "grayscale"), 0.0),
    )
    images = ops.convert_to_tensor(np.zeros((2, *SOURCE, 1), "float32"))
    drawn = recipe.parameters([[0, 0], [0, 1]], SOURCE)
    with pytest.raises(ValueError, match=r"float32 of shape \(2, 30, 44, 1\)"):
        device_views(recipe, images, drawn)


@pytest.mark.every_backend
def test_noise_is_normal_and_each_pixels_own():
    kind = (2, "float32", (0.0, 1.0))
    groups = [ViewGroup(64, 1, blur=(0.0,), solarize=(0.0,))]
    recipe = recipe_of(kind, "device", groups, noise=0.05, jitter=1.0)
    images = np.full((len(SEEDS), 64, 64, 2), 0.5, "float32")
    (views,), (drawn,) = made(recipe, images)
    for example, view in enumerate(views):
        deviation = drawn["noise"][example, 0, 0]
        noise = (view - 127.5) / deviation
        count = noise.size
        # Four standard errors of each figure, of fixed seeds.
        assert abs(noise.mean()) < 4 / np.sqrt(count)
        assert abs(noise.std() - 1) < 4 / np.sqrt(2 * count)
        assert scipy.stats.kstest(noise.ravel(), "norm").pvalue > 1e-3
        for shifted in (noise[:, ::-1], noise[..., ::-1], views[example - 1]):
            correlation = np.corrcoef(noise.ravel(), shifted.ravel())[0, 1]
            assert abs(correlation) < 4 / np.sqrt(count / 2)


# A seed and a pixel of 8 x 8 whose hash has ones in all of its 24 bits.
ONES, PLACE = 246740, (1, 4)


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("deviation", [0.0, 5.0])
def test_noise_is_finite_where_all_bits_are_ones(where, deviation):
    """Float32 rounds 2^24 - 1 and a half up: infinite, and times 0 NaN."""
    noise = np.float32([deviation, ONES])
    if where == "host":
        pytest.importorskip("tensorflow")
        from keras_vicregl.views.rendering import fused

        pixels = 100 + np.transpose(fused._noise(noise, (8, 8), 1)[:, 0])
    else:
        from keras_vicregl.views.rendering import device

        values = [np.full((1, 1, 8, 1, 8), 100, "float32"), noise[None, None]]
        pixels = np.asarray(value(device._noisy, values))[0, 0, :, 0]
    largest = scipy.stats.norm.isf(2.0**-25)
    # Float32's functions of numbers so near to 1.
    assert pixels[PLACE] == pytest.approx(100 + deviation * largest, rel=1e-3)
    assert np.isfinite(pixels).all()
    assert np.abs(pixels - 100).max() <= 5.5 * deviation


def test_the_recipe_for_channels_has_no_colours():
    recipe = MultiView.for_channels(5, size=SIZE, value_range=(0, 1))
    (drawn,) = recipe.parameters(np.stack([SEEDS[0]] * 3), SOURCE)
    assert "matrix" not in drawn and not drawn["solarize"].any()
    assert drawn["gain"].shape == (3, 2, 5)
    np.testing.assert_array_equal(
        drawn["gain"][..., :1] * np.ones(5), drawn["gain"]
    )
