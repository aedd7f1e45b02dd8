import keras
import numpy as np
import pytest
from known_features import averaging_backbone, identity_backbone
from test_segmentation import bilinear

from keras_vicregl.evaluation import Segmenter
from keras_vicregl.evaluation.segmentation.resizing import resize_maps
from keras_vicregl.evaluation.segmentation.segmenter import window_scores


def segmenter(model=None, **options):
    model = model or identity_backbone(3)
    return Segmenter(model, **{"preprocess": None, **options})


def upsampled(maps, size):
    """(h, w, C) to (C, *size), in float64."""
    return np.stack(
        [bilinear(maps[..., c], *size) for c in range(maps.shape[-1])]
    )


def block_means(image, stride=4):
    height, width = (side // stride * stride for side in image.shape[:2])
    blocks = image[:height, :width].astype(np.float64)
    blocks = blocks.reshape(height // stride, stride, -1, stride, 3)
    return blocks.mean((1, 3))


def windows_one_by_one(image, window, stride):
    """Averaged scores of `averaging_backbone`, window after window."""
    total = np.zeros((3, *image.shape[:2]))
    count = np.zeros(image.shape[:2])
    height, width = (min(window, side) for side in image.shape[:2])
    # The first window that reaches the border is the last one.
    tops, lefts = [], []
    for starts, side, length in (
        (tops, height, image.shape[0]),
        (lefts, width, image.shape[1]),
    ):
        start = 0
        while start + side < length:
            starts.append(start)
            start += stride
        starts.append(length - side)
    for top in tops:
        for left in lefts:
            part = image[top : top + height, left : left + width]
            scores = upsampled(block_means(part), (height, width))
            total[:, top : top + height, left : left + width] += scores
            count[top : top + height, left : left + width] += 1
    assert count.min() == 1
    return total / count


@pytest.mark.parametrize(
    ("size", "window", "stride"),
    [((20, 29), 12, 8), ((9, 30), 12, 12), ((24, 12), 12, 5), ((13, 8), 12, 1)],
)
@pytest.mark.parametrize("batch_size", [1, 4])
def test_windows_are_averaged_where_they_overlap(
    size, window, stride, batch_size
):
    image = np.random.default_rng(0).normal(size=(*size, 3)).astype("float32")
    found = window_scores(
        averaging_backbone(), image, window, stride, batch_size
    )
    # Float32 of values of about 1.
    np.testing.assert_allclose(
        found, windows_one_by_one(image, window, stride), atol=1e-6
    )


def test_a_window_of_the_images_size_is_the_image():
    images = np.random.default_rng(0).normal(size=(2, 16, 12, 3))
    images = images.astype("float32")
    model = averaging_backbone()
    found = window_scores(model, images[0], 16, 3, 2)
    expected = upsampled(block_means(images[0]), (16, 12))
    np.testing.assert_allclose(found, expected, atol=1e-6)
    whole = segmenter(model).predict(images)
    cut = segmenter(model, window=16, window_stride=3).predict(images)
    np.testing.assert_array_equal(whole, cut)
    np.testing.assert_array_equal(whole[0], expected.argmax(0))


def test_images_of_any_size():
    rng = np.random.default_rng(0)
    sizes = [(8, 12), (8, 12), (8, 12), (16, 9), (8, 12), (30, 33)]
    images = [rng.integers(0, 256, (*size, 3), np.uint8) for size in sizes]
    model = averaging_backbone()
    whole = segmenter(model, batch_size=2).predict(images)
    cut = segmenter(model, batch_size=2, window=16, window_stride=11)
    for image, found, found_cut in zip(
        images, whole, cut.predict(images), strict=True
    ):
        expected = upsampled(block_means(image), image.shape[:2])
        np.testing.assert_array_equal(found, expected.argmax(0))
        expected = windows_one_by_one(image, 16, 11)
        np.testing.assert_array_equal(found_cut, expected.argmax(0))
        assert found.dtype == np.int32


def test_resized_images_are_scored_at_their_labels_size():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (10, 14, 3), np.uint8)
    inner = upsampled(image, (20, 28)).transpose(1, 2, 0)
    for options in ({}, {"window": 21, "window_stride": 7}):
        options["shorter_side"] = 20
        (found,) = segmenter(**options).predict([image])
        expected = upsampled(inner, (10, 14))
        np.testing.assert_array_equal(found, expected.argmax(0))


def test_preprocessing():
    images = np.zeros((1, 4, 4, 3), np.uint8)
    result = segmenter(preprocess=lambda x: x + np.array([1.0, 3.0, 2.0]))
    assert np.all(result.predict(images)[0] == 1)


@pytest.mark.parametrize("ignore_label", [255, 5, None])
def test_figures_against_scikit_learn(ignore_label):
    """Random predictions; class 2 is neither labelled nor predicted."""
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    classes, sizes = 6, [(20, 30), (17, 40), (17, 40)]
    labels, data = [], []
    predictions = [rng.choice([0, 1, 3, 4, 5], size) for size in sizes]
    for size, predicted in zip(sizes, predictions, strict=True):
        mask = rng.choice([0, 1, 3, 4, 5], size)
        mask = np.where(rng.random(size) < 0.3, predicted, mask)
        if ignore_label == 255:
            mask[rng.random(size) < 0.2] = 255
        labels.append(mask)
        scores = np.eye(classes, dtype="float32")[predicted]
        data.append({"images": scores, "segmentation_masks": mask})
    model = identity_backbone(classes)
    found = segmenter(model).evaluate(data, ignore_label=ignore_label)
    labels = np.concatenate([each.ravel() for each in labels])
    predictions = np.concatenate([each.ravel() for each in predictions])
    counted = labels != ignore_label
    labels, predictions = labels[counted], predictions[counted]
    present = sorted(set(labels) | set(predictions))
    iou = metrics.jaccard_score(
        labels, predictions, labels=present, average=None
    )
    expected = dict.fromkeys(range(classes), np.nan)
    expected.update(zip(present, iou, strict=True))
    for label, value in expected.items():
        np.testing.assert_allclose(found.pop(f"iou_{label}"), value, rtol=1e-12)
    assert found.pop("mean_iou") == pytest.approx(iou.mean(), rel=1e-12)
    accuracy = metrics.accuracy_score(labels, predictions)
    assert found.pop("pixel_accuracy") == pytest.approx(accuracy, rel=1e-12)
    assert not found
    assert np.isnan(expected[2])


def test_maps_are_resized_in_graphs_of_unknown_size():
    rng = np.random.default_rng(0)
    model = keras.Sequential([keras.Input((None, None, 2)), _Doubled()])
    for size in ((3, 5), (4, 2), (3, 4)):
        maps = rng.normal(size=(1, *size, 2)).astype("float32")
        expected = upsampled(maps[0], (2 * size[0], 2 * size[1]))
        np.testing.assert_allclose(
            model.predict_on_batch(maps)[0].transpose(2, 0, 1),
            expected,
            atol=1e-6,
        )


class _Doubled(keras.layers.Layer):
    def call(self, maps):
        height, width = keras.ops.shape(maps)[1:3]
        return resize_maps(maps, (2 * height, 2 * width))

    def compute_output_spec(self, maps):
        return keras.KerasTensor((None, None, None, 2))


GOOD = {
    "images": np.zeros((2, 4, 4, 3), "float32"),
    "segmentation_masks": np.zeros((2, 4, 4), int),
}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"segmentation_masks": np.full((2, 4, 4), 255)}, "test is empty, or"),
        ({k: v[:0] for k, v in GOOD.items()}, "test is empty, or"),
        ({"segmentation_masks": np.full((2, 4, 4), 3)}, r"test\[0\].*to 3"),
        ({"segmentation_masks": np.zeros((2, 4, 5), int)}, "4 x 5"),
        ({"images": np.full((2, 4, 4, 3), np.nan)}, "infinite or NaN"),
    ],
)
def test_bad_data(changes, message):
    with pytest.raises(ValueError, match=message):
        segmenter().evaluate({**GOOD, **changes})


def test_images_that_are_none():
    with pytest.raises(ValueError, match=r"shape \(H, W, C\).*\(4, 4\)"):
        segmenter().predict(np.zeros((2, 4, 4)))
    assert segmenter().predict([]) == []
    nan = np.full((1, 40, 4, 3), np.nan)
    with pytest.raises(ValueError, match="infinite or NaN"):
        segmenter(window=8, window_stride=8).predict(nan)
