"""Evaluations say where their figures are by chance."""

import re
import warnings

import keras
import numpy as np
import pytest
from backend_tools import eager_steps
from known_features import averaging_backbone

from keras_vicregl.data import load
from keras_vicregl.evaluation import (
    Segmenter,
    effective_rank,
    evaluate_finetuning,
    evaluate_knn,
    evaluate_linear,
    evaluate_segmentation,
    extract_features,
    train_segmentation,
)

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (12, 8, 8, 3), dtype=np.uint8)
LABELS = (np.arange(12) % 3).astype("int32")
MASKS = np.ones((12, 8, 8, 1), "uint8") * LABELS[:, None, None, None]
DATA = {"images": IMAGES, "labels": LABELS, "segmentation_masks": MASKS}


@pytest.fixture(autouse=True)
def quick_steps():
    with eager_steps():
        yield


def backbone(spread):
    """Features around 1 that differ by about `spread`."""
    return keras.Sequential(
        [
            keras.Input((None, None, 3)),
            keras.layers.AveragePooling2D(2),
            keras.layers.Rescaling(spread, 1.0),
        ]
    )


def told(function):
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        function()
    return [str(each.message) for each in found if each.category is UserWarning]


EVALUATIONS = {
    "knn": lambda model, data: evaluate_knn(model, data, data, k=3),
    "linear": lambda model, data: evaluate_linear(model, data, data, epochs=2),
    "segmentation": lambda model, data: evaluate_segmentation(
        model, data, data, epochs=1
    ),
    "rank": effective_rank,
    "finetuning": lambda model, data: evaluate_finetuning(
        model, data, data, epochs=1, backbone_learning_rate=1e-9
    ),
}


@pytest.mark.parametrize("name", EVALUATIONS)
def test_constant_features_are_said(name):
    found = told(lambda: EVALUATIONS[name](backbone(1e-4), DATA))
    assert any("features of 12 images hardly vary" in each for each in found)
    found = told(lambda: EVALUATIONS[name](backbone(1.0), DATA))
    assert not any("hardly" in each for each in found)


def test_features_of_one_image_are_constant_by_right():
    same = {"images": np.repeat(IMAGES[:1], 12, axis=0)}
    for data in (same, {"images": IMAGES[:1]}):
        found = told(lambda data=data: extract_features(backbone(1), data))
        assert not any("hardly" in each for each in found)
    found = told(lambda: extract_features(backbone(0), {"images": IMAGES}))
    assert sum("hardly" in each for each in found) == 1


def test_constant_features_that_are_given_are_said():
    data = {"features": np.ones((12, 5)), "labels": LABELS}
    found = told(lambda: evaluate_knn(None, data, data, k=12))
    assert (
        sum("The features of train hardly vary" in each for each in found) == 1
    )
    assert (
        sum("The features of test hardly vary" in each for each in found) == 1
    )


def test_a_single_predicted_class_is_said():
    # All neighbours vote for the class that has the most.
    train = {"features": RNG.normal(size=(9, 4)), "labels": LABELS[:9] // 2}
    test = {"features": RNG.normal(size=(6, 4)), "labels": LABELS[:6] // 2}
    knn = {"k": 9, "temperature": 1e9}
    (message,) = told(lambda: evaluate_knn(None, train, test, **knn))
    assert message.startswith(
        "The single class 0 is predicted everywhere in test, which has 2 cl"
    )
    # It is right where there is no other.
    one = {**test, "labels": np.zeros(6, int)}
    assert told(lambda: evaluate_knn(None, train, one, **knn)) == []


def test_a_single_predicted_class_of_linear_layers_is_said():
    rare = {
        "features": RNG.normal(size=(60, 2)),
        "labels": (np.arange(60) == 0).astype(int),
    }
    found = told(lambda: evaluate_linear(None, rare, rare, epochs=1))
    assert any("single class 0" in each for each in found)


def always_first(images):
    scores = keras.layers.Conv2D(3, 1, kernel_initializer="zeros")(images)
    return keras.layers.Rescaling(1.0, [1.0, 0.0, 0.0])(scores)


def test_a_single_predicted_class_of_pixels_is_said():
    images = keras.Input((None, None, 3))
    segmenter = Segmenter(keras.Model(images, always_first(images)))
    (message,) = told(lambda: segmenter.evaluate(DATA))
    assert "The single class 0 is predicted everywhere" in message
    one = {"images": IMAGES, "segmentation_masks": 0 * MASKS}
    assert told(lambda: segmenter.evaluate(one)) == []


def fixed():
    images = keras.Input((8, 8, 3), name="images")
    features = keras.layers.Conv2D(4, 2, 2)(images)
    return keras.Model(images, features, name="fixed")


def test_images_of_another_size_than_the_backbones_are_refused():
    message = "'fixed' takes images of 8 x 8 x 3 alone. Received: "
    larger = {**DATA, "images": np.zeros((12, 10, 8, 3), "uint8")}
    with pytest.raises(ValueError, match=message + "images of 10 x 8 x 3"):
        evaluate_knn(fixed(), DATA, larger, k=1)
    with pytest.raises(ValueError, match=message + "crops of 6 x 6 x 3"):
        evaluate_finetuning(fixed(), DATA, DATA, size=6)
    with pytest.raises(ValueError, match=r"8 x 8 x 3 alone.*crops of 6 x 6"):
        train_segmentation(
            fixed(),
            DATA,
            DATA,
            num_classes=3,
            crop_size=6,
            output_stride="as_is",
        )
    assert averaging_backbone().input_shape == (None, None, None, 3)


@pytest.mark.parametrize(
    ("images", "values"),
    [
        (IMAGES / 255, "0 to 1"),
        (IMAGES / np.float32(127.5) - 1, "-1 to 1"),
        ((IMAGES > 100).astype("uint8"), "0 to 1"),
        (IMAGES.astype("uint16") * 16, "0 to 4.08e.03"),
    ],
    ids=["unit", "tf", "cut off", "12 bits"],
)
@pytest.mark.parametrize("batched", [False, True])
def test_images_of_another_range(images, values, batched):
    data = {"images": images}
    data = [data, data] if batched else data
    found = told(lambda: extract_features(averaging_backbone(4), data))
    (message,) = [text for text in found if "hardly" not in text]
    assert re.match(f"Images have values of {values}, and are norm", message)
    assert "preprocess=None" in message
    quiet = told(
        lambda: extract_features(averaging_backbone(4), data, preprocess=None)
    )
    assert not any("have values" in text for text in quiet)


@pytest.mark.parametrize("images", [IMAGES, IMAGES * 1.0, 0 * IMAGES])
def test_images_of_the_range_that_is_wanted(images):
    assert (
        told(
            lambda: extract_features(averaging_backbone(4), {"images": images})
        )
        == []
    )


@pytest.mark.parametrize("evaluation", ["features", "crops"])
def test_masks_of_one_class_say_nothing(evaluation):
    """A mask of 0 and 255 is one of a class and of what is left out."""
    data = {**DATA, "segmentation_masks": np.where(MASKS == 0, 0, 255)}
    data["segmentation_masks"] = data["segmentation_masks"].astype("uint8")
    model = averaging_backbone(4)

    def evaluate(data):
        if evaluation == "features":
            return evaluate_segmentation(model, data, data, epochs=1)
        return train_segmentation(
            model,
            data,
            data,
            num_classes=2,
            iterations=2,
            batch_size=2,
            crop_size=8,
            output_stride="as_is",
        )

    (message,) = told(lambda: evaluate(data))
    left = 8 * 8 * 8
    assert message.startswith(f"{left} of 768 pixels of test are left out, and")
    assert "mask_labels={0: 0, 255: 1}" in message
    two = load(data, mask_labels={0: 0, 255: 1})
    assert not any("left out" in text for text in told(lambda: evaluate(two)))
