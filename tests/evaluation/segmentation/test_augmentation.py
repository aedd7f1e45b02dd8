import numpy as np
import pytest

from keras_vicregl.evaluation import normalize_images
from keras_vicregl.evaluation.segmentation.augmentation import (
    Augmentation,
    crop_batches,
    resize_image,
    sample,
    scaled_size,
)
from keras_vicregl.evaluation.segmentation.examples import UNLABELLED, Example

RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (13, 19, 3)).astype(np.uint8)


@pytest.mark.parametrize("size", [(26, 38), (13, 19), (7, 9), (40, 19)])
def test_resizing_against_torch(size):
    torch = pytest.importorskip("torch")
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(IMAGE.transpose(2, 0, 1)[None].astype(np.float64)),
        size=size,
        mode="bilinear",
        align_corners=False,
    )[0].permute(1, 2, 0)
    # float32 of values up to 255.
    np.testing.assert_allclose(
        resize_image(IMAGE, size), expected.numpy(), atol=1e-4
    )


def test_samples_lie_between_pixels_and_end_at_the_border():
    image = np.array([[[0.0], [10.0]], [[20.0], [30.0]]])
    result = sample(image, np.array([-0.5, 0.25, 1.4]), np.array([0.0, 0.5]))
    np.testing.assert_allclose(
        result[..., 0], [[0, 5], [5, 10], [20, 25]], rtol=1e-6
    )


def test_sizes():
    assert scaled_size((375, 500), None, 0.5) == (188, 250)
    assert scaled_size((375, 500), 512) == (512, 683)
    assert scaled_size((500, 375), 512, 2.0) == (1365, 1024)
    assert scaled_size((3, 500), None, 0.1) == (1, 50)


def coordinates(height, width):
    """An image of its own coordinates, and a mask that follows from it."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    image = np.stack([y, x, np.zeros_like(x)], -1)
    return Example(image, (y * width + x).astype(np.int32))


def test_image_and_mask_are_cropped_together():
    height, width = 30, 44
    example = coordinates(height, width)
    augmentation = Augmentation((16, 24), (0.5, 2.0), True, None)
    scales, flips, firsts = [], [], []
    for seed in range(300):
        image, mask = augmentation.crop(example, np.random.default_rng(seed))
        assert mask.shape[0] <= 16 and mask.shape[1] <= 24
        assert image.shape == (*mask.shape, 3) and image.dtype == np.float32
        rows, columns = np.divmod(mask, width)
        # A sample's mask is that of the pixel it lies in.
        inner = slice(1, -1)
        assert np.abs(image[inner, inner, 0] - rows[inner, inner]).max() < 0.51
        assert (
            np.abs(image[inner, inner, 1] - columns[inner, inner]).max() < 0.51
        )
        step = image[5, 6, 1] - image[5, 5, 1]
        flips.append(step < 0)
        scales.append(1 / abs(step))
        firsts.append(image[0, :, 0].mean())
    # Five standard deviations of 300 draws: 0.14 and 0.12.
    assert abs(np.mean(flips) - 0.5) < 0.15
    assert abs(np.mean(scales) - 1.25) < 0.13
    assert min(scales) > 0.49 and max(scales) < 2.05
    assert min(firsts) < 1 and max(firsts) > 15


def test_nothing_happens_at_scale_1_in_a_crop_of_the_images_size():
    example = Example(IMAGE, RNG.integers(0, 5, (13, 19)).astype(np.int32))
    augmentation = Augmentation((13, 19), (1.0, 1.0), False, None)
    image, mask = augmentation.crop(example, np.random.default_rng(0))
    np.testing.assert_array_equal(image, IMAGE)
    np.testing.assert_array_equal(mask, example.mask)


def test_shorter_side():
    example = coordinates(20, 40)
    augmentation = Augmentation((100, 100), (1.5, 1.5), False, 10)
    image, _ = augmentation.crop(example, np.random.default_rng(0))
    assert image.shape == (15, 30, 3)


def stream(*sizes):
    return (
        (Example(np.full((*size, 3), 128.0), np.zeros(size, np.int32)), (i, 7))
        for i, size in enumerate(sizes)
    )


def test_small_images_are_padded_after_preprocessing():
    augmentation = Augmentation((6, 8), (1.0, 1.0), True, None)
    sizes = [(4, 5), (9, 8), (6, 3), (7, 2)]
    batches = list(
        crop_batches(stream(*sizes), augmentation, 2, 2, normalize_images)
    )
    assert len(batches) == 2
    grey = normalize_images(np.full(3, 128.0))
    images = np.concatenate([images for images, _ in batches])
    masks = np.concatenate([masks for _, masks in batches])
    assert images.shape == (4, 6, 8, 3) and images.dtype == np.float32
    assert masks.shape == (4, 6, 8, 1) and masks.dtype == np.int32
    for image, mask, (height, width) in zip(images, masks, sizes, strict=True):
        expected = np.full((6, 8, 1), UNLABELLED)
        expected[:height, :width] = 0
        np.testing.assert_array_equal(mask, expected)
        np.testing.assert_allclose(
            image, np.where(expected == 0, grey, 0), rtol=1e-6
        )


def test_crops_follow_from_their_seeds():
    examples = [coordinates(30, 30) for _ in range(6)]
    augmentation = Augmentation((8, 8), (0.5, 2.0), True, None)
    runs = [
        list(
            crop_batches(
                ((each, (run, i)) for i, each in enumerate(examples)),
                augmentation,
                3,
                2,
                None,
            )
        )
        for run in (0, 0, 1)
    ]
    first, again, other = (np.concatenate([x for x, _ in run]) for run in runs)
    np.testing.assert_array_equal(first, again)
    assert np.any(first != other)


def test_errors_of_threads_are_raised():
    def fail(images):
        raise ValueError("preprocess failed")

    augmentation = Augmentation((8, 8), (1.0, 1.0), True, None)
    with pytest.raises(ValueError, match="preprocess failed"):
        list(crop_batches(stream((8, 8), (8, 8)), augmentation, 1, 2, fail))
