"""Crops and flips: pixels against PIL, geometry against the pixels."""

import itertools

import keras_cv
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf
from keras import ops
from PIL import Image

from keras_vicregl.views import RandomHorizontalFlip, RandomResizedCrop
from keras_vicregl.views.drawing import stateless
from keras_vicregl.views.drawing.boxes import sample_boxes
from keras_vicregl.views.geometry import positions
from keras_vicregl.views.pixels.resize import resize_nearest, resize_smoothly

SOURCE = (96, 60)
VIEW = (32, 24)


def to_numpy(tensor):
    return ops.convert_to_numpy(tensor)


def seeds(count):
    return np.stack([np.zeros(count), np.arange(count)], 1).astype("int32")


def noise(count, size=SOURCE):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (count, *size, 3), dtype=np.uint8)


def coordinate_images(count, size=SOURCE):
    """Images whose first two channels are x and y of the pixels' centres."""
    height, width = size
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    image = np.stack([x, y, np.full_like(x, 100.0)], axis=-1)
    return np.repeat(image[None], count, axis=0).astype("float32")


def coordinates_seen_and_said(outputs):
    """Coordinates in the pixels of views, and those that the maps give.

    Only of pixels so far inside that the kernel, which reaches two pixels to
    either side, of the source or the view, whichever are larger, is not cut off
    at the edge of the box: there a ramp is not resampled to a ramp.
    """
    images = to_numpy(outputs["images"])
    height, width = images.shape[1:3]
    said = to_numpy(positions(outputs["view_to_source"], height, width))
    said = said.reshape(-1, height, width, 2)
    inner = (slice(None), slice(6, -6), slice(6, -6))
    return images[..., :2][inner], said[inner]


# A box ---------------------------------------------------------------------


def boxes_of_torchvision(draws, height, width, scale, aspect_ratio):
    """One box by torchvision's loop, fed with given draws."""
    for attempt in range(10):
        area = height * width
        area *= scale[0] + (scale[1] - scale[0]) * draws[attempt]
        low, high = np.log(aspect_ratio)
        ratio = np.exp(low + (high - low) * draws[10 + attempt])
        box_width = round(np.sqrt(area * ratio))
        box_height = round(np.sqrt(area / ratio))
        if 0 < box_width <= width and 0 < box_height <= height:
            top = int(draws[20] * (height - box_height + 1))
            left = int(draws[21] * (width - box_width + 1))
            return top, left, box_height, box_width
    if width / height < min(aspect_ratio):
        box_height, box_width = round(width / min(aspect_ratio)), width
    elif width / height > max(aspect_ratio):
        box_height, box_width = height, round(height * max(aspect_ratio))
    else:
        box_height, box_width = height, width
    top, left = (height - box_height) // 2, (width - box_width) // 2
    return top, left, box_height, box_width


def drawn_boxes(draws, size, scale, aspect_ratio):
    """The boxes, which are the same with TensorFlow and NumPy."""
    size = np.array(size)
    boxes = sample_boxes(np.asarray(draws), size, scale, aspect_ratio)
    tensors = (tf.constant(draws), tf.constant(size))
    in_tensorflow = sample_boxes(*tensors, scale, aspect_ratio)
    np.testing.assert_array_equal(in_tensorflow, boxes)
    return boxes


@pytest.mark.parametrize(
    ("size", "scale", "aspect_ratio"),
    [
        ((375, 500), (0.08, 1.0), (3 / 4, 4 / 3)),
        ((64, 64), (0.25, 1.0), (3 / 4, 4 / 3)),
        # So long that the tries fail: the last resort, lying and standing, and
        # as large as the whole image.
        ((40, 400), (0.5, 1.0), (3 / 4, 4 / 3)),
        ((401, 40), (0.5, 1.0), (3 / 4, 4 / 3)),
        ((40, 50), (1.0, 1.0), (0.3, 3.0)),
        ((7, 5), (0.001, 0.01), (0.5, 2.0)),
    ],
)
def test_boxes_are_those_of_torchvisions_loop(size, scale, aspect_ratio):
    rng = np.random.default_rng(0)
    draws = rng.uniform(size=(300, 22)).astype("float32")
    found = drawn_boxes(draws, size, scale, aspect_ratio)
    expected = [
        boxes_of_torchvision(row, *size, scale, aspect_ratio)
        for row in draws.astype("float64")
    ]
    np.testing.assert_array_equal(found, expected)


def test_areas_and_ratios_and_offsets_have_their_distributions():
    # So large that rounding does not show, and so small boxes that every first
    # try fits: nothing distorts the distributions.
    size, scale, aspect_ratio = 20_000, (0.05, 0.5), (3 / 4, 4 / 3)
    keys = stateless.example_keys(tf.constant(seeds(4000)))
    draws = stateless.uniform(keys, 22)
    boxes = drawn_boxes(draws, (size, size), scale, aspect_ratio)
    top, left, height, width = boxes.T.astype("float64")
    area = height * width / size**2
    log_ratio = np.log(width / height) / np.log(4 / 3)
    uniforms = {
        "area": (area - 0.05) / 0.45,
        "aspect ratio": (log_ratio + 1) / 2,
        "top": (top + 0.5) / (size - height + 1),
        "left": (left + 0.5) / (size - width + 1),
    }
    for name, values in uniforms.items():
        # The keys are fixed, and with them the p-values.
        assert scipy.stats.kstest(values, "uniform").pvalue > 1e-3, name
    for first, second in itertools.combinations(uniforms.values(), 2):
        # 4 standard deviations of the correlation of independent numbers.
        assert abs(np.corrcoef(first, second)[0, 1]) < 4 / np.sqrt(4000)


# Its pixels ----------------------------------------------------------------

BOXES = np.array(
    [
        [0, 0, 96, 60],  # everything
        [5, 10, 80, 40],  # made smaller
        [50, 30, 7, 5],  # made larger
        [90, 57, 6, 3],  # in the corner
        [10, 0, 20, 60],  # one of each
        [33, 22, 32, 24],  # neither
        [95, 59, 1, 1],  # a single pixel
    ],
    np.int32,
)
FLIPS = np.arange(len(BOXES)) % 2 == 1


def resized_by_pil(image, box, flip, resample):
    """Crop and resize channel by channel in PIL's floating-point mode."""
    top, left, height, width = box
    image = image[top : top + height, left : left + width].astype("float32")
    channels = [
        Image.fromarray(image[..., channel]).resize(VIEW[::-1], resample)
        for channel in range(3)
    ]
    resized = np.stack([np.asarray(channel) for channel in channels], axis=-1)
    return resized[:, ::-1] if flip else resized


@pytest.mark.parametrize(
    ("kernel", "resample"),
    [
        ("triangle", Image.Resampling.BILINEAR),
        ("keyscubic", Image.Resampling.BICUBIC),
    ],
)
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_smooth_resizing_is_that_of_pil(kernel, resample, dtype):
    images = noise(len(BOXES))
    found = resize_smoothly(
        images.astype(dtype),
        BOXES,
        FLIPS,
        *VIEW,
        kernel=kernel,
        antialias=True,
    )
    for index, image in enumerate(images):
        expected = resized_by_pil(image, BOXES[index], FLIPS[index], resample)
        # 2e-3 of 255: both are float32, with sums in different order.
        np.testing.assert_allclose(
            found[index], np.clip(expected, 0, 255), atol=2e-3
        )


def test_resizing_is_within_rounding_of_pil_on_bytes():
    ramp = np.clip(coordinate_images(1)[0] * 2.5, 0, 255).astype("uint8")
    image = Image.fromarray(ramp)
    for top, left, height, width in BOXES:
        box = (left, top, left + width, top + height)
        expected = image.crop(box).resize(VIEW[::-1], Image.Resampling.BICUBIC)
        found = resize_smoothly(
            ramp[None],
            np.array([[top, left, height, width]], np.int32),
            np.array([False]),
            *VIEW,
            kernel="keyscubic",
            antialias=True,
        )[0]
        # PIL rounds to bytes after its passes over columns and rows.
        np.testing.assert_allclose(found, np.asarray(expected), atol=1.01)


def keys_cubic(t):
    t = np.abs(t)
    near = (1.5 * t - 2.5) * t**2 + 1
    far = ((-0.5 * t + 2.5) * t - 4) * t + 2
    return np.where(t < 1, near, np.where(t < 2, far, 0.0))


def test_without_antialiasing_four_pixels_make_one():
    images = noise(1)
    top, left, height, width = 5, 10, 80, 40
    found = resize_smoothly(
        images,
        np.array([[top, left, height, width]], np.int32),
        np.array([False]),
        *VIEW,
        kernel="keyscubic",
        antialias=False,
    )[0]
    expected = images[0, top : top + height, left : left + width]
    expected = expected.astype("float64")
    for axis, (old, new) in enumerate(zip((height, width), VIEW, strict=True)):
        centres = (np.arange(new) + 0.5) * old / new
        weights = keys_cubic(centres[:, None] - np.arange(old) - 0.5)
        weights /= weights.sum(axis=1, keepdims=True)
        expected = np.moveaxis(
            np.tensordot(weights, expected, (1, axis)), 0, axis
        )
    # 2e-3 of 255: float32 against float64.
    np.testing.assert_allclose(found, np.clip(expected, 0, 255), atol=2e-3)


def test_nearest_resizing_is_that_of_pil():
    masks = noise(len(BOXES))[..., :1]
    found = resize_nearest(masks, BOXES, FLIPS, *VIEW).numpy()
    assert found.dtype == np.uint8
    for index, (top, left, height, width) in enumerate(BOXES):
        box = (left, top, left + width, top + height)
        expected = Image.fromarray(masks[index, ..., 0]).crop(box)
        expected = expected.resize(VIEW[::-1], Image.Resampling.NEAREST)
        expected = np.asarray(expected)
        if FLIPS[index]:
            expected = expected[:, ::-1]
        np.testing.assert_array_equal(found[index, ..., 0], expected)


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
def test_the_layer_resizes_by_the_interpolation_it_is_told(interpolation):
    images = noise(1)
    layer = RandomResizedCrop(*VIEW, interpolation=interpolation)
    outputs = layer({"images": images, "seeds": seeds(1)})
    maps = to_numpy(outputs["view_to_source"])[0]
    box = np.rint([maps[1, 2], maps[0, 2], maps[1, 1], maps[0, 0]]).astype(int)
    resample = getattr(Image.Resampling, interpolation.upper())
    expected = resized_by_pil(images[0], box, False, resample)
    # 2e-3 of 255: both are float32, with sums in different order.
    np.testing.assert_allclose(
        to_numpy(outputs["images"])[0], np.clip(expected, 0, 255), atol=2e-3
    )


# The geometry --------------------------------------------------------------

FLIP = {"probability": 0.5, "stream": 3}
CHAINS = {
    "crop": lambda: [RandomResizedCrop(*VIEW, scale=(0.3, 1.0))],
    "crop that flips": lambda: [
        RandomResizedCrop(*VIEW, scale=(0.3, 1.0), flip=0.5)
    ],
    "flip": lambda: [RandomHorizontalFlip(**FLIP)],
    "crop, flip": lambda: [
        RandomResizedCrop(*VIEW, scale=(0.3, 1.0)),
        RandomHorizontalFlip(**FLIP),
    ],
    "flip, crop, flip, crop that flips": lambda: [
        RandomHorizontalFlip(**FLIP),
        RandomResizedCrop(80, 50, scale=(0.7, 1.0)),
        RandomHorizontalFlip(),
        RandomResizedCrop(*VIEW, scale=(0.5, 1.0), flip=0.5, stream=1),
    ],
    "crop, a layer of keras-cv, flip": lambda: [
        RandomResizedCrop(*VIEW, scale=(0.3, 1.0)),
        keras_cv.layers.RandomBrightness((0.0, 0.0)),
        RandomHorizontalFlip(**FLIP),
    ],
}


@pytest.mark.parametrize("name", CHAINS)
def test_maps_say_what_the_pixels_show(name):
    count = 24
    batch = {"images": coordinate_images(count), "seeds": seeds(count)}
    for layer in CHAINS[name]():
        batch = layer(batch)
    seen, said = coordinates_seen_and_said(batch)
    # A ramp is resampled to a ramp exactly by the cubic kernel as it is, and to
    # within 0.03 px by one widened for a reduction, the weights of which are
    # normalised but not exactly balanced. Twice that for two resamplings. Half
    # a pixel, the usual mistake, is far outside.
    tolerance = 0.06 if name.count("crop") > 1 else 0.03
    assert np.abs(seen - said).max() < tolerance
    # And not to one side: with thousands of pixels the errors average out.
    assert np.abs((seen - said).mean(axis=(0, 1, 2))).max() < 3e-3
    np.testing.assert_array_equal(
        to_numpy(batch["source_size"]), np.tile(SOURCE, (count, 1))
    )
    mirrored = to_numpy(batch["view_to_source"])[:, 0, 0] < 0
    assert mirrored.any() == ("flip" in name) and not mirrored.all()


def test_a_keras_cv_layer_before_is_where_the_source_begins():
    resized = keras_cv.layers.Resizing(48, 80)({"images": noise(4)})
    ramp = coordinate_images(4, (48, 80))
    outputs = RandomResizedCrop(*VIEW, scale=(0.4, 1.0))(
        {**resized, "images": ramp, "seeds": seeds(4)}
    )
    seen, said = coordinates_seen_and_said(outputs)
    # As above.
    assert np.abs(seen - said).max() < 0.03
    np.testing.assert_array_equal(
        to_numpy(outputs["source_size"]), [[48, 80]] * 4
    )


def test_a_given_map_is_composed_onto():
    """The images are themselves boxes of larger ones."""
    count = 8
    full = coordinate_images(1, (120, 150))
    images = np.repeat(full[:, 20:116, 70:130], count, axis=0)
    given = np.array([[60, 0, 70], [0, 96, 20]], "float32")
    outputs = RandomResizedCrop(*VIEW, scale=(0.3, 1.0), flip=0.5)(
        {
            "images": images,
            "seeds": seeds(count),
            "view_to_source": np.repeat(given[None], count, axis=0),
            "source_size": np.array([[120, 150]] * count, "float32"),
        }
    )
    seen, said = coordinates_seen_and_said(outputs)
    # As above.
    assert np.abs(seen - said).max() < 0.03
    np.testing.assert_array_equal(
        to_numpy(outputs["source_size"]), [[120, 150]] * count
    )


@pytest.mark.parametrize("name", ["crop", "crop that flips", "crop, flip"])
def test_the_class_at_a_position_is_the_class_in_the_view(name):
    count = 24
    rng = np.random.default_rng(0)
    source = rng.integers(0, 21, (count, *SOURCE, 1)).astype("uint8")
    batch = {
        "images": noise(count),
        "segmentation_masks": source,
        "seeds": seeds(count),
    }
    for layer in CHAINS[name]():
        batch = layer(batch)
    masks = to_numpy(batch["segmentation_masks"])
    assert masks.shape == (count, *VIEW, 1) and masks.dtype == np.uint8
    said = to_numpy(positions(batch["view_to_source"], *VIEW))
    said = said.reshape(count, *VIEW, 2)
    x, y = np.moveaxis(np.floor(said).astype(int), -1, 0)
    expected = source[np.arange(count)[:, None, None], y, x]
    # Centres that fall on the border of two pixels belong to either.
    clear = (np.abs(said - np.rint(said)) > 1e-3).all(axis=-1)
    assert clear.mean() > 0.6
    np.testing.assert_array_equal(masks[clear], expected[clear])


@pytest.mark.parametrize("fused", [True, False])
def test_untracked_flips_turn_the_pixels_but_not_the_map(fused):
    count = 32
    batch = {"images": noise(count), "seeds": seeds(count)}
    if fused:
        crop = {"scale": (0.3, 1.0), "flip": 0.5}
        tracked = RandomResizedCrop(*VIEW, **crop)(batch)
        ignored = RandomResizedCrop(*VIEW, track_flips=False, **crop)(batch)
    else:
        tracked = RandomHorizontalFlip()(batch)
        ignored = RandomHorizontalFlip(track=False)(batch)
    np.testing.assert_array_equal(
        to_numpy(tracked["images"]), to_numpy(ignored["images"])
    )
    with_flip = to_numpy(tracked["view_to_source"])
    without = to_numpy(ignored["view_to_source"])
    mirrored = with_flip[:, 0, 0] < 0
    assert 4 < mirrored.sum() < 28
    np.testing.assert_array_equal(with_flip[~mirrored], without[~mirrored])
    # 1e-4 px: the maps are rounded to float32 after different products.
    np.testing.assert_allclose(
        to_numpy(positions(without, 5, 7)).reshape(count, 5, 7, 2)[mirrored],
        to_numpy(positions(with_flip, 5, 7)).reshape(count, 5, 7, 2)[
            mirrored, :, ::-1
        ],
        atol=1e-4,
    )


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("fused", [True, False])
def test_flips_happen_with_their_probability(fused, probability):
    count = 4000
    batch = {
        "images": np.broadcast_to(noise(1, (3, 4)), (count, 3, 4, 3)),
        "seeds": seeds(count),
    }
    if fused:
        layer = RandomResizedCrop(
            2, 2, flip=probability, interpolation="nearest"
        )
    else:
        layer = RandomHorizontalFlip(probability)
    maps = to_numpy(layer(batch)["view_to_source"])
    flips = (maps[:, 0, 0] < 0).sum()
    interval = scipy.stats.binom.interval(0.9999, count, probability)
    assert interval[0] <= flips <= interval[1]


def test_flipped_images_are_mirrored_exactly():
    images = noise(16)
    outputs = RandomHorizontalFlip()({"images": images, "seeds": seeds(16)})
    mirrored = to_numpy(outputs["view_to_source"])[:, 0, 0] < 0
    expected = np.where(
        mirrored[:, None, None, None], images[:, :, ::-1], images
    )
    np.testing.assert_array_equal(to_numpy(outputs["images"]), expected)
