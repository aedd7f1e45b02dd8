"""Photometric layers against PIL, SciPy and colorsys, and their draws."""

import itertools

import numpy as np
import pytest
import scipy.ndimage
import scipy.stats
import tensorflow as tf
from hues import turned
from keras import ops
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from keras_vicregl.views import (
    ColorJitter,
    Normalize,
    RandomGaussianBlur,
    RandomGrayscale,
    RandomSolarize,
)
from keras_vicregl.views.drawing import stateless
from keras_vicregl.views.pixels import color

SIZE = (20, 28)


def to_numpy(tensor):
    return ops.convert_to_numpy(tensor)


def noise(count=1, size=SIZE, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, *size, 3), dtype=np.uint8)


def seeds(count):
    return np.stack([np.ones(count), np.arange(count)], 1).astype("int32")


def draws_of(layer, count, each):
    """The numbers that a layer uses for `seeds(count)`."""
    keys = stateless.example_keys(tf.constant(seeds(count)))
    return stateless.uniform(layer.keys_of_layer(keys), each).numpy()


def on_images(function, images, *parameters):
    """Apply a function of planar pixels to images with channels last."""
    pixels = color.to_planar(tf.cast(images, tf.float32))
    parameters = map(tf.convert_to_tensor, parameters)
    return color.to_channels_last(function(pixels, *parameters)).numpy()


def blurred(images, sigma, radius=8):
    return on_images(
        lambda pixels, sigma: color.gaussian_blur(pixels, sigma, radius),
        images,
        np.array(sigma, "float32"),
    )


def test_planes_and_channels_last_are_each_others_inverse():
    images = noise(3).astype("float32")
    pixels = color.to_planar(tf.constant(images))
    np.testing.assert_array_equal(pixels, np.moveaxis(images, -1, 1))
    np.testing.assert_array_equal(color.to_channels_last(pixels), images)


# One operation at a time -----------------------------------------------------


@pytest.mark.parametrize("factor", [0.0, 0.6, 1.0, 1.4, 2.5])
@pytest.mark.parametrize(
    ("operation", "enhance"),
    [
        (color.BRIGHTNESS, ImageEnhance.Brightness),
        (color.CONTRAST, ImageEnhance.Contrast),
        (color.SATURATION, ImageEnhance.Color),
    ],
)
def test_blends_are_those_of_pil(operation, enhance, factor):
    images = noise()
    found = on_images(color.blend, images, tf.constant([factor]), [operation])
    expected = np.asarray(enhance(Image.fromarray(images[0])).enhance(factor))
    # PIL cuts results to bytes, an error below 1, and rounds the grey value it
    # blends with, an error below 0.5 times |1 - factor|.
    tolerance = 1.01 + 0.5 * abs(1 - factor)
    np.testing.assert_allclose(found[0], expected, atol=tolerance)


def test_every_image_has_its_own_blend():
    images = noise(6)
    factors = np.array([0.3, 1.7, 0.5, 1.5, 0.2, 1.9], "float32")
    operations = np.array([0, 1, 2, 0, 1, 2])
    found = on_images(color.blend, images, factors, operations)
    for index in range(6):
        np.testing.assert_allclose(
            found[index],
            blended(images[index], factors[index], operations[index]),
            atol=1e-3,  # float32 against float64
        )


def blended(image, factor, operation):
    image = image.astype("float64")
    gray = image @ [0.299, 0.587, 0.114]
    other = [0.0, gray.mean(), gray[..., None]][operation]
    return np.clip(factor * image + (1 - factor) * other, 0, 255)


@pytest.mark.parametrize("shift", [-0.5, -0.1, 0.0, 0.03, 0.25, 0.5])
def test_hue_turns_as_in_colorsys(shift):
    images = noise()
    # Grey, black, white, primary colours and ties between channels.
    images[0, 0, :11] = [
        [0, 0, 0], [255, 255, 255], [7, 7, 7], [255, 0, 0], [0, 255, 0],
        [0, 0, 255], [9, 9, 0], [9, 0, 9], [0, 9, 9], [8, 9, 9], [1, 0, 0],
    ]  # fmt: skip
    found = on_images(color.shift_hue, images, tf.constant([shift]))
    # float32 against float64, the hue being multiplied by 6 * 255.
    np.testing.assert_allclose(found[0], turned(images[0], shift), atol=5e-3)


def test_grayscale_is_pils():
    image = noise()[0]
    found = to_numpy(RandomGrayscale(1.0)(image))
    expected = np.asarray(Image.fromarray(image).convert("L"))
    # PIL rounds to bytes.
    np.testing.assert_allclose(
        found, np.repeat(expected[..., None], 3, -1), atol=0.51
    )


@pytest.mark.parametrize("threshold", [0, 100, 128, 256])
def test_solarize_is_pils(threshold):
    image = noise()[0]
    found = to_numpy(RandomSolarize(threshold, probability=1.0)(image))
    expected = ImageOps.solarize(Image.fromarray(image), threshold)
    np.testing.assert_array_equal(found, np.asarray(expected))


# Smaller than a block of rows, one block, and several with a remainder.
@pytest.mark.parametrize("size", [(5, 3), (32, 20), (70, 45)])
def test_blur_is_scipys(size):
    images = noise(4, size)
    sigma = np.array([0.1, 0.7, 1.3, 2.0], "float32")
    found = blurred(images, sigma)
    for index in range(4):
        expected = scipy.ndimage.gaussian_filter(
            images[index].astype("float64"),
            sigma[index],
            mode="nearest",
            radius=8,
            axes=(0, 1),
        )
        # 2e-3 of 255: float32 against float64.
        np.testing.assert_allclose(found[index], expected, atol=2e-3)


def test_blur_is_near_pils():
    image = noise(1, (48, 48))[0]
    found = blurred(image[None], [1.5])
    expected = Image.fromarray(image).filter(ImageFilter.GaussianBlur(1.5))
    difference = np.abs(found[0] - np.asarray(expected))[6:-6, 6:-6]
    # PIL takes three box blurs for a Gaussian, rounds to bytes, and has its own
    # ways at the edges. White noise is the hardest case: it has a standard
    # deviation of 74 before and of 14 after the blur.
    assert difference.mean() < 1.0 and difference.max() < 5.0


@pytest.mark.parametrize("probability", [1.0, 0.5])
def test_the_blur_layer_draws_sigma_uniformly(probability):
    layer = RandomGaussianBlur((0.5, 1.5), probability=probability)
    images = np.zeros((40, 13, 13, 3), "uint8")
    images[:, 6, 6] = 255
    found = to_numpy(layer({"images": images, "seeds": seeds(40)})["images"])
    draws = draws_of(layer, 40, 2)
    chosen = draws[:, 0] < probability
    sigma = 0.5 + draws[:, 1]
    taps = np.exp(-0.5 * (np.arange(-6, 7) / sigma[:, None]) ** 2)
    middle = 255 / taps.sum(axis=1) ** 2
    np.testing.assert_allclose(
        found[:, 6, 6, 0], np.where(chosen, middle, 255), rtol=1e-5
    )


@pytest.mark.parametrize(
    ("mean", "std"),
    [
        ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ((0.1, 0.2, 0.3), (1.0, 2.0, 3.0)),
    ],
)
def test_normalize(mean, std):
    images = noise(2)
    expected = (images / 255.0 - mean) / std
    # 1e-5: float32 against float64, values up to 3.
    np.testing.assert_allclose(
        to_numpy(Normalize(mean, std)(images)), expected, atol=1e-5
    )


def test_normalize_defaults_to_imagenet():
    layer = Normalize()
    assert layer.mean == (0.485, 0.456, 0.406)
    assert layer.std == (0.229, 0.224, 0.225)


# Jitter ----------------------------------------------------------------------

STRENGTHS = {"brightness": 0.4, "contrast": 0.5, "saturation": 1.3, "hue": 0.2}


def jittered(image, draws, probability):
    """One image by the documented use of its nine draws."""
    if draws[0] >= probability:
        return image
    strengths = list(STRENGTHS.values())
    factors = []
    for strength, draw in zip(strengths[:3], draws[1:4], strict=True):
        low = max(0.0, 1.0 - strength)
        factors.append(low + (1.0 + strength - low) * draw)
    shift = STRENGTHS["hue"] * (2 * draws[4] - 1)
    image = image.astype("float64")
    for operation in np.argsort(draws[5:9]):
        if operation == 3:
            image = turned(image, shift)
        else:
            image = blended(image, factors[operation], operation)
    return image


@pytest.mark.parametrize("probability", [1.0, 0.7])
def test_jitter_applies_its_operations_in_each_images_order(probability):
    count = 48
    images = noise(count, (5, 4))
    layer = ColorJitter(**STRENGTHS, probability=probability)
    found = to_numpy(layer({"images": images, "seeds": seeds(count)})["images"])
    draws = draws_of(layer, count, 9)
    orders = {tuple(row) for row in np.argsort(draws[:, 5:], axis=1)}
    assert len(orders) > 15
    for index in range(count):
        expected = jittered(images[index], draws[index], probability)
        # 2e-2 of 255: four operations in float32, each up to 2.3 times as steep
        # as its input.
        np.testing.assert_allclose(found[index], expected, atol=2e-2)


def test_jitter_takes_all_orders_equally_often():
    orders = np.argsort(draws_of(ColorJitter(), 12_000, 9)[:, 5:], axis=1)
    counts = [
        (orders == order).all(axis=1).sum()
        for order in itertools.permutations(range(4))
    ]
    # The seeds are fixed, and with them the p-value.
    assert scipy.stats.chisquare(counts).pvalue > 1e-3


def test_jitter_factors_are_uniform_in_their_intervals():
    """Measured on images that show one factor each."""
    count = 3000
    batch = {"seeds": seeds(count)}
    off = dict.fromkeys(STRENGTHS, 0.0)
    gray = np.full((count, 1, 1, 3), 100.0, "float32")
    two_grays = gray + np.array([20.0, -20.0])[:, None]
    reddish = gray + np.array([8.0, 0.0, 0.0])

    def brightness(layer):
        return (
            to_numpy(layer({**batch, "images": gray})["images"])[:, 0, 0, 0]
            / 100
        )

    def contrast(layer):
        images = to_numpy(layer({**batch, "images": two_grays})["images"])
        return (images[:, 0, 0, 0] - images[:, 0, 1, 0]) / 40

    def saturation(layer):
        images = to_numpy(layer({**batch, "images": reddish})["images"])
        return (images[:, 0, 0, 0] - images[:, 0, 0, 1]) / 8

    for name, measure, high in (
        ("brightness", brightness, 1.4),
        ("contrast", contrast, 1.5),
        ("saturation", saturation, 2.3),
    ):
        strength = STRENGTHS[name]
        layer = ColorJitter(**{**off, name: strength}, probability=1.0)
        low = max(0.0, 1.0 - strength)
        uniform = (measure(layer) - low) / (high - low)
        # The seeds are fixed, and with them the p-values.
        assert scipy.stats.kstest(uniform, "uniform").pvalue > 1e-3, name


def test_jitter_of_strength_zero_changes_nothing():
    images = noise(8)
    layer = ColorJitter(0.0, 0.0, 0.0, 0.0, probability=1.0)
    # 1e-4: blends with a factor of 1 still round.
    np.testing.assert_allclose(to_numpy(layer(images)), images, atol=1e-4)


# Probabilities ---------------------------------------------------------------

RANDOM_LAYERS = {
    "jitter": lambda p: ColorJitter(probability=p),
    "grayscale": lambda p: RandomGrayscale(p),
    "blur": lambda p: RandomGaussianBlur((1.0, 2.0), probability=p),
    "solarize": lambda p: RandomSolarize(probability=p),
}


@pytest.mark.parametrize("probability", [0.0, 0.1, 0.8, 1.0])
@pytest.mark.parametrize("name", RANDOM_LAYERS)
def test_layers_apply_with_their_probability_or_not_at_all(name, probability):
    count = 3000
    images = np.broadcast_to(noise(1, (3, 3)), (count, 3, 3, 3))
    layer = RANDOM_LAYERS[name](probability)
    found = to_numpy(layer({"images": images, "seeds": seeds(count)})["images"])
    assert found.dtype == np.float32
    # What is not drawn is left alone to the last bit.
    changed = (found != images).any(axis=(1, 2, 3)).sum()
    low, high = scipy.stats.binom.interval(0.9999, count, probability)
    assert low <= changed <= high


@pytest.mark.parametrize("name", RANDOM_LAYERS)
def test_results_stay_in_the_range_of_images(name):
    images = noise(64)
    images[:, :10] = np.where(images[:, :10] < 128, 0, 255)
    found = to_numpy(RANDOM_LAYERS[name](1.0)(images))
    # 1e-3: the weights of a blur sum up to 1 within float32.
    assert found.min() >= -1e-3 and found.max() <= 255 + 1e-3
