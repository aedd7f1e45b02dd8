import keras
import numpy as np
import pytest
from known_features import averaging_backbone, identity_backbone

from keras_vicregl.evaluation import (
    class_iou,
    confusion_matrix,
    evaluate_segmentation,
    mean_iou,
)
from keras_vicregl.evaluation.segmentation.head import PixelCrossEntropy
from keras_vicregl.evaluation.segmentation.resizing import upsample_scores


def labelled(maps, masks):
    return {"features": maps, "segmentation_masks": masks}


def one_hot(masks, classes):
    return np.eye(classes, dtype=np.float32)[masks]


def blocky_masks(count, size, classes, block, seed=0):
    """Masks (count, size, size) of constant blocks of random classes."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, classes, (count, size // block, size // block))
    return coarse.repeat(block, axis=1).repeat(block, axis=2)


def bilinear(values, height, width):
    """One value at a time: (h, w) to (height, width), in float64."""
    h, w = values.shape
    result = np.zeros((height, width))
    for row in range(height):
        for column in range(width):
            y = min(max((row + 0.5) * h / height - 0.5, 0), h - 1)
            x = min(max((column + 0.5) * w / width - 0.5, 0), w - 1)
            top, left = int(y), int(x)
            bottom, right = min(top + 1, h - 1), min(left + 1, w - 1)
            v, u = y - top, x - left
            result[row, column] = (1 - v) * (
                (1 - u) * values[top, left] + u * values[top, right]
            ) + v * ((1 - u) * values[bottom, left] + u * values[bottom, right])
    return result


SIZES = [((2, 2), (8, 8)), ((3, 5), (7, 4)), ((1, 3), (5, 9)), ((4, 4), (4, 4))]


@pytest.mark.parametrize(("small", "large"), SIZES)
def test_upsampling_is_bilinear_without_aligned_corners(small, large):
    rng = np.random.default_rng(0)
    scores = rng.standard_normal((2, *small, 3)).astype(np.float32)
    result = keras.ops.convert_to_numpy(upsample_scores(scores, large))
    expected = [
        [bilinear(image[..., c], *large) for c in range(3)] for image in scores
    ]
    # float32 of values of about 1.
    np.testing.assert_allclose(result, expected, atol=1e-6)


@pytest.mark.parametrize(("small", "large"), SIZES[:3])
def test_upsampling_against_torch(small, large):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    scores = rng.standard_normal((2, *small, 3)).astype(np.float32)
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(scores.transpose(0, 3, 1, 2)),
        size=large,
        mode="bilinear",
        align_corners=False,
    )
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(upsample_scores(scores, large)),
        expected.numpy(),
        atol=1e-6,
    )


@pytest.mark.parametrize("ignore_label", [255, None, 1])
def test_loss_is_cross_entropy_over_labelled_pixels(ignore_label):
    rng = np.random.default_rng(1)
    scores = 3 * rng.standard_normal((2, 3, 2, 4)).astype(np.float32)
    masks = rng.integers(0, 4, (2, 7, 6, 1)).astype(np.uint8)
    if ignore_label == 255:
        masks[:, 2:4] = 255
    losses = []
    for image, mask in zip(scores, masks[..., 0], strict=True):
        z = np.stack([bilinear(image[..., c], 7, 6) for c in range(4)])
        log_p = z - np.log(np.exp(z).sum(axis=0))
        for pixel in np.ndindex(7, 6):
            if mask[pixel] != ignore_label:
                losses.append(-log_p[(mask[pixel], *pixel)])
    loss = PixelCrossEntropy(ignore_label)(masks, scores)
    # A float32 mean of up to 84 values of about 3.
    assert float(loss) == pytest.approx(np.mean(losses), rel=1e-6)


def test_a_batch_without_labelled_pixels_costs_nothing():
    masks = np.full((1, 4, 4, 1), 255, np.uint8)
    scores = np.ones((1, 2, 2, 3), np.float32)
    assert float(PixelCrossEntropy(255)(masks, scores)) == 0


def test_confusion_matrix_against_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 5, (3, 9, 8)).astype(np.uint8)
    predictions = rng.integers(0, 5, (3, 9, 8)).astype(np.int32)
    result = confusion_matrix(labels, predictions, 5)
    np.testing.assert_array_equal(
        result, metrics.confusion_matrix(labels.ravel(), predictions.ravel())
    )
    assert result.dtype == np.int64
    expected = metrics.jaccard_score(
        labels.ravel(), predictions.ravel(), average=None
    )
    np.testing.assert_allclose(class_iou(result), expected, rtol=1e-12)
    assert mean_iou(result) == pytest.approx(expected.mean(), rel=1e-12)
    # Parts add up.
    parts = [
        confusion_matrix(labels[i : i + 1], predictions[i : i + 1], 5)
        for i in range(3)
    ]
    np.testing.assert_array_equal(sum(parts), result)


def test_ignored_pixels_are_not_counted():
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    labels = rng.choice([0, 1, 2, 255], (40, 40)).astype(np.uint8)
    predictions = rng.integers(0, 3, (40, 40))
    counted = labels != 255
    np.testing.assert_array_equal(
        confusion_matrix(labels, predictions, 3),
        metrics.confusion_matrix(labels[counted], predictions[counted]),
    )
    assert confusion_matrix(labels, predictions, 3).sum() == counted.sum()
    np.testing.assert_array_equal(
        confusion_matrix(labels % 255, predictions, 3, ignore_label=1),
        metrics.confusion_matrix(
            (labels % 255)[labels != 1],
            predictions[labels != 1],
            labels=range(3),
        ),
    )


def test_classes_that_do_not_occur_are_left_out_of_the_mean():
    # Class 1 is labelled but never predicted, 2 predicted but never labelled,
    # 3 neither.
    confusion = confusion_matrix([0, 0, 0, 1], [0, 0, 2, 0], num_classes=4)
    np.testing.assert_array_equal(class_iou(confusion), [0.5, 0, 0, np.nan])
    assert mean_iou(confusion) == pytest.approx(0.5 / 3)


def test_counts_do_not_overflow():
    confusion = np.diag([2**40, 2**40])
    confusion[0, 1] = 2**40
    np.testing.assert_array_equal(class_iou(confusion), [0.5, 0.5])


@pytest.mark.parametrize(
    ("labels", "predictions", "message"),
    [
        ([0, 1], [[0, 1]], r"\(2,\) and \(1, 2\)"),
        ([0, 3], [0, 1], "labels must be between 0 and num_classes - 1 = 2"),
        ([0, -1], [0, 1], "from -1 to 0"),
        ([0, 1], [0, 3], "predictions must be between"),
    ],
)
def test_bad_confusion(labels, predictions, message):
    with pytest.raises(ValueError, match=message):
        confusion_matrix(labels, predictions, num_classes=3)


def test_mean_of_nothing():
    with pytest.raises(ValueError, match="No pixel was counted"):
        mean_iou(np.zeros((2, 2), np.int64))


def test_maps_that_encode_the_mask_are_segmented_without_a_mistake():
    train, test = (blocky_masks(12, 6, 3, 1, seed) for seed in (0, 1))
    result = evaluate_segmentation(
        None,
        labelled(one_hot(train, 3), train),
        labelled(one_hot(test, 3), test[..., None].astype(np.uint8)),
        epochs=10,
        batch_size=4,
    )
    assert result == {
        "mean_iou": 1.0,
        "pixel_accuracy": 1.0,
        "iou_0": 1.0,
        "iou_1": 1.0,
        "iou_2": 1.0,
    }


def test_upsampled_border_lies_between_the_cells():
    """A map at half the resolution of a mask whose halves are two classes.

    Interpolated, the feature goes -1, ..., -1/2 | 1/2, ..., 1 over the border,
    so that any threshold in between finds it; the classes are balanced, so
    that it is 0 but for the noise of few steps.
    """
    maps = np.ones((8, 4, 6, 1), np.float32)
    maps[:, :, :3] = -1
    maps[4:] *= -1
    masks = (maps[..., 0] > 0).astype(np.uint8)
    masks = masks.repeat(2, axis=1).repeat(2, axis=2)
    data = labelled(maps, masks)
    result = evaluate_segmentation(None, data, data, epochs=10, batch_size=8)
    assert result["mean_iou"] == 1


def test_features_that_say_nothing_give_the_most_frequent_class():
    rng = np.random.default_rng(0)
    train, test = rng.choice(3, (2, 8, 6, 6), p=[0.2, 0.7, 0.1])
    maps = np.full((8, 3, 3, 5), 2.5, np.float32)
    result = evaluate_segmentation(
        None,
        labelled(maps, train),
        labelled(maps, test),
        num_classes=4,
        epochs=10,
        batch_size=4,
    )
    frequency = np.mean(test == 1)
    assert result.pop("pixel_accuracy") == pytest.approx(frequency, rel=1e-12)
    # Classes 0 and 2 are in the labels, 3 is not.
    assert result.pop("mean_iou") == pytest.approx(frequency / 3, rel=1e-12)
    assert result.pop("iou_1") == pytest.approx(frequency, rel=1e-12)
    assert np.isnan(result.pop("iou_3"))
    assert result == {"iou_0": 0.0, "iou_2": 0.0}


def test_ignored_pixels_neither_train_nor_count():
    train, test = (blocky_masks(12, 6, 2, 1, seed) for seed in (0, 1))
    maps, test_maps = one_hot(train, 2), one_hot(test, 2)
    # Labels that are wrong in most columns teach the wrong thing ...
    wrong = np.where(np.arange(6) < 5, 1 - train, train)
    options = {"epochs": 10, "batch_size": 4}
    result = evaluate_segmentation(
        None, labelled(maps, wrong), labelled(test_maps, test), **options
    )
    assert result["mean_iou"] == 0
    # ... unless they are ignored, and count unless they are ignored.
    shown = np.where(np.arange(6) < 5, 255, train)
    mixed = np.where(np.arange(6) < 2, 1 - test, test)
    mixed[:6, :, :2] = 255
    result = evaluate_segmentation(
        None, labelled(maps, shown), labelled(test_maps, mixed), **options
    )
    # Of twelve masks, half have 12 wrong of 36 pixels, half 24 pixels.
    assert result["pixel_accuracy"] == pytest.approx(48 / 60)


def test_weight_decay_is_on_the_weights():
    masks = blocky_masks(8, 4, 2, 1)
    masks[:4] = 1
    data = labelled(one_hot(masks, 2), masks)
    result = evaluate_segmentation(
        None, data, data, epochs=10, batch_size=8, weight_decay=15.0
    )
    # No weights worth the name are left, only the bias.
    assert result["iou_0"] == 0
    assert result["pixel_accuracy"] == pytest.approx(np.mean(masks == 1))


def test_sets_of_other_sizes_than_the_training_set():
    train, test = blocky_masks(12, 6, 3, 1), blocky_masks(3, 10, 3, 1)
    result = evaluate_segmentation(
        None,
        labelled(one_hot(train, 3), train),
        labelled(one_hot(test, 3), test),
        epochs=10,
        batch_size=4,
    )
    assert result["mean_iou"] == 1


def test_on_images():
    masks = blocky_masks(16, 16, 3, 8)
    images = np.eye(3, dtype=np.uint8)[masks] * 255
    data = {"images": images, "segmentation_masks": masks[..., None]}
    result = evaluate_segmentation(averaging_backbone(), data, data)
    # Cells are 4 px and blocks 8 px: borders between blocks are those between
    # cells, so that only corners where three blocks meet may be mistaken.
    assert result["mean_iou"] > 0.97


def test_seed_decides():
    rng = np.random.default_rng(0)
    maps = rng.standard_normal((20, 4, 4, 5)).astype(np.float32)
    data = labelled(maps, rng.integers(0, 3, (20, 8, 8)))
    options = {"epochs": 2, "batch_size": 4}
    first, second, other = (
        evaluate_segmentation(None, data, data, seed=seed, **options)
        for seed in (0, 0, 1)
    )
    assert first == second
    assert first != other


def test_mixed_precision_is_for_the_backbone():
    rng = np.random.default_rng(0)
    # Values beyond the reach of float16.
    maps = 1e6 * rng.standard_normal((16, 6, 6, 1)).astype(np.float32)
    data = labelled(maps, (maps[..., 0] > 0).astype(int))
    options = {"epochs": 20, "batch_size": 8}
    expected = evaluate_segmentation(None, data, data, **options)
    before = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy("mixed_float16")
        result = evaluate_segmentation(None, data, data, **options)
    finally:
        keras.config.set_dtype_policy(before)
    assert result == expected
    assert result["mean_iou"] > 0.9


MASKS = blocky_masks(6, 4, 2, 1)
MAPS = one_hot(MASKS, 2)
GOOD = labelled(MAPS, MASKS)


@pytest.mark.parametrize(
    ("test", "options", "message"),
    [
        (GOOD, {"epochs": 0}, "epochs=0"),
        (GOOD, {"learning_rate": -0.1}, "learning_rate=-0.1"),
        (GOOD, {"weight_decay": -0.1}, "weight_decay=-0.1"),
        (GOOD, {"batch_size": 0}, "batch_size=0"),
        (GOOD, {"num_classes": 1}, "segmentation_masks of train.*from 0 to 1"),
        (GOOD, {"learning_rate": 1e38}, "diverged. Lower learning_rate"),
        (labelled(MAPS, MASKS + 1), {}, "segmentation_masks of test.*1 to 2"),
        (labelled(MAPS, MASKS * 1.0), {}, "integers. Received: float64"),
        (labelled(MAPS, MASKS[:5]), {}, "6 features but 5 segmentation_masks"),
        (labelled(MAPS, MASKS * 0 + 255), {}, "no pixel.*ignore_label=255"),
        (labelled(MAPS, MASKS[..., None, None]), {}, r"\(N, H, W, 1\)"),
        (labelled(MAPS.mean((1, 2)), MASKS), {}, r"\(N, h, w, F\)"),
        (labelled(MAPS[..., :1], MASKS), {}, "number of features.*2 and 1"),
        (labelled(np.full_like(MAPS, np.inf), MASKS), {}, "finite"),
        (labelled(MAPS[:0], MASKS[:0]), {}, "empty"),
        ({"features": MAPS}, {}, "test must have 'segmentation_masks'"),
    ],
)
def test_bad_arguments(test, options, message):
    with pytest.raises(ValueError, match=message):
        evaluate_segmentation(None, GOOD, test, **{"epochs": 1, **options})


def test_masks_without_images_of_their_size_need_no_common_size():
    """Masks at another resolution than the images."""
    masks = blocky_masks(8, 2, 2, 1)
    images = one_hot(masks, 2).repeat(2, axis=1).repeat(2, axis=2)
    data = {"images": images, "segmentation_masks": masks}
    result = evaluate_segmentation(
        identity_backbone(2), data, data, preprocess=None
    )
    assert result["mean_iou"] == 1
