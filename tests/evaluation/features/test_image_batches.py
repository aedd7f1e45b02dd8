"""Test images against Pillow, from arrays and from files."""

import numpy as np
import pytest
from PIL import Image

from keras_vicregl.data import load
from keras_vicregl.evaluation import image_batches
from keras_vicregl.evaluation.features.image_batches import common_size


def arrays(height, width, count=3):
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (count, 5, 7, 3), dtype=np.uint8)
    images = [
        np.asarray(Image.fromarray(each).resize((width, height), 3))
        for each in small
    ]
    masks = rng.integers(0, 9, (count, height, width, 1), dtype=np.uint8)
    return {
        "images": np.stack(images),
        "labels": np.arange(count, dtype=np.int32),
        "segmentation_masks": masks,
    }


def by_pillow(image, size, resize, how):
    """Resize, and cut the middle, of an array (H, W, channels)."""
    height, width = image.shape[:2]
    shorter = min(height, width)
    new = (width * resize // shorter, height * resize // shorter)
    resized = np.stack(
        [
            # Channel by channel as floats: Pillow would round them.
            np.asarray(
                Image.fromarray(channel.astype(np.float32)).resize(new, how)
            )
            for channel in np.moveaxis(image, -1, 0)
        ],
        axis=-1,
    )
    top, left = (new[1] - size) // 2, (new[0] - size) // 2
    return resized[top : top + size, left : left + size]


def files(data, folder):
    for kind in ("images", "segmentation_masks"):
        (folder / kind).mkdir()
        for index, array in enumerate(data[kind]):
            path = folder / kind / f"{index}.png"
            Image.fromarray(array.squeeze()).save(path)
    images, masks = (
        [folder / kind / f"{index}.png" for index in range(3)]
        for kind in ("images", "segmentation_masks")
    )
    return load(images, labels=data["labels"].tolist(), masks=masks)


# Odd, so that the middle of no pixel falls between two others: there Pillow's
# nearest pixel is one or the other.
@pytest.mark.parametrize(
    ("shape", "from_files"),
    [((41, 61), False), ((65, 41), False), ((21, 27), False), ((41, 61), True)],
)
def test_the_middle_of_resized_images(shape, from_files, tmp_path):
    data = arrays(*shape)
    source = files(data, tmp_path) if from_files else data
    batches = image_batches(source, size=21, resize=28, batch_size=2)
    first, second = batches
    assert [len(batch["images"]) for batch in (first, second)] == [2, 1]
    actual = {key: np.concatenate([first[key], second[key]]) for key in first}
    np.testing.assert_array_equal(actual["labels"], data["labels"])
    for index in range(3):
        # Pillow's weights are float64, and have 24 bits in what is compared.
        np.testing.assert_allclose(
            actual["images"][index],
            by_pillow(data["images"][index], 21, 28, Image.BILINEAR),
            atol=0.01,
        )
        np.testing.assert_array_equal(
            actual["segmentation_masks"][index],
            by_pillow(data["segmentation_masks"][index], 21, 28, Image.NEAREST),
        )
    # As often as one likes.
    np.testing.assert_array_equal(next(iter(batches))["labels"], [0, 1])


def test_without_a_size_images_stay_as_they_are():
    data = arrays(12, 16)
    for source in (data, load(data)):
        (batch,) = image_batches(source)
        for key, value in data.items():
            np.testing.assert_array_equal(batch[key], value)


def test_images_are_evenly_spread():
    data = arrays(12, 16)
    for limit, expected in ((2, [0, 1]), (1, [0]), (3, [0, 1, 2])):
        (batch,) = image_batches(data, limit=limit)
        np.testing.assert_array_equal(batch["labels"], expected)


def test_the_default_is_that_of_the_paper():
    data = {"images": arrays(40, 50)["images"]}
    (actual,) = image_batches(data, size=21)  # 8/7 of it is 24
    (expected,) = image_batches(data, size=21, resize=24)
    np.testing.assert_array_equal(actual["images"], expected["images"])


def test_sizes_that_are_known(tmp_path):
    data = arrays(12, 16)
    assert common_size(data) == common_size(load(data)) == (12, 16)
    assert common_size(files(data, tmp_path)) is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0}, "size must be positive"),
        ({"limit": 0}, "limit must be positive"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"resize": 8}, "resize=8 needs a size"),
        ({"size": 8, "resize": 7}, "at least size=8.*resize=7"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        image_batches(arrays(12, 16), **options)
