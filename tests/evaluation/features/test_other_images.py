"""Evaluations of images of other channels and depths, through their range."""

import numpy as np
import pytest

from keras_vicregl.evaluation import (
    evaluate_augmented_linear,
    evaluate_segmentation,
    extract_features,
    normalize_images,
)
from keras_vicregl.models.backbones.normalization import remember
from keras_vicregl.views import MultiView

RANGE = (200.0, 4000.0)


@pytest.fixture(scope="module")
def trained():
    """A backbone of two channels that knows what it was trained on."""
    from keras_vicregl import backbone

    network = backbone("small_resnet", input_shape=(None, None, 2))
    views = MultiView.for_channels(2, value_range=RANGE, mean=(0.3, 0.6))
    remember(network, views.normalization)
    return network


@pytest.fixture(scope="module")
def data():
    """Twelve bits; classes are told by which channel is bright."""
    rng = np.random.default_rng(0)
    labels = np.arange(12, dtype="int32") % 2
    images = rng.integers(200, 1200, (12, 32, 32, 2), dtype="uint16")
    images[np.arange(12), :, :, labels] += 2500
    masks = np.broadcast_to(labels[:, None, None, None], (12, 32, 32, 1))
    return {
        "images": images,
        "labels": labels,
        "segmentation_masks": np.uint8(masks),
    }


def test_features_are_those_of_normalised_values(trained, data):
    unit = (np.float64(data["images"]) - 200) / 3800
    normalized = (np.clip(unit, 0, 1) - (0.3, 0.6)) / 0.25
    found = normalize_images(data["images"], (0.3, 0.6), (0.25, 0.25), RANGE)
    np.testing.assert_allclose(found, normalized, atol=1e-6)
    expected = trained.predict_on_batch(np.float32(normalized))
    features = extract_features(trained, data)["features"]
    np.testing.assert_allclose(features, expected, atol=1e-5)
    half = extract_features(trained, data, size=16)["features"]
    assert half.shape[0] == 12 and np.isfinite(half).all()


def test_training_on_crops_maps_values_too(trained, data):
    figures = evaluate_augmented_linear(
        trained, data, data, epochs=8, batch_size=6, learning_rate=3.0
    )
    # Classes that a glance at the mapped values tells: chance is a half.
    assert figures["top1"] > 0.9


def test_segmentation_takes_raw_values(trained, data):
    figures = evaluate_segmentation(
        trained, data, data, num_classes=2, epochs=20, batch_size=256
    )
    assert figures["mean_iou"] > 0.9


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x.astype("float32") * np.nan, "must be finite"),
        (lambda x: x[..., :1], r"takes images of 2 channels, last.*32, 1\)"),
    ],
)
def test_images_that_cannot_be_mapped_are_refused(
    trained, data, change, message
):
    with pytest.raises(ValueError, match=message):
        extract_features(trained, {"images": change(data["images"])})
    if "finite" not in message:
        with pytest.raises(ValueError, match="takes images of 2 channels"):
            other = {**data, "images": change(data["images"])}
            evaluate_augmented_linear(trained, other, other)


def test_values_mostly_beyond_the_range_are_told(trained, data):
    unit = np.float32(data["images"] / 65535)
    with pytest.warns(UserWarning, match=r"100% of the values.*value_range"):
        extract_features(trained, {"images": unit})
