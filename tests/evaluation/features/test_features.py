import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from known_features import averaging_backbone, block_means, identity_backbone

from keras_vicregl.evaluation import (
    evaluate_knn,
    extract_features,
    normalize_images,
)

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (10, 8, 12, 3), dtype=np.uint8)
DATA = {
    "images": IMAGES,
    "labels": np.arange(10),
    "segmentation_masks": RNG.integers(0, 3, (10, 8, 12, 1)),
}


def normalized(images):
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    return (images / 255 - np.array(mean)) / np.array(std)


def batches(*sizes, keys=("images", "labels")):
    ends = np.cumsum(sizes)
    return [
        {key: DATA[key][end - size : end] for key in keys}
        for size, end in zip(sizes, ends, strict=True)
    ]


def test_normalize_images_is_imagenets():
    # float32 of values up to 2.7.
    np.testing.assert_allclose(
        normalize_images(IMAGES), normalized(IMAGES), atol=1e-6
    )
    assert normalize_images(IMAGES).dtype == np.float32


@pytest.mark.parametrize(
    "images, message",
    [
        (np.ones((2, 8, 8, 1), "uint8"), r"must be \(\.\.\., 3\).*8, 1\)"),
        (np.ones((2, 8, 8, 3), "uint16"), "uint16 need a value_range"),
    ],
)
def test_images_that_are_not_imagenets_are_refused(images, message):
    with pytest.raises(
        ValueError, match=rf"{message}.*backbone\.normalization"
    ):
        normalize_images(images)


@pytest.mark.parametrize("batch_size", [1, 4, 10, 256])
def test_maps_and_means_whatever_the_batch_size(batch_size):
    backbone = averaging_backbone()
    expected = block_means(normalized(IMAGES))
    result = extract_features(backbone, DATA, batch_size=batch_size)
    assert list(result) == ["labels", "segmentation_masks", "features"]
    assert result["features"].dtype == np.float32
    # Means of 16 float32 values up to 2.7.
    np.testing.assert_allclose(result["features"], expected, atol=2e-6)
    for key in ("labels", "segmentation_masks"):
        np.testing.assert_array_equal(result[key], DATA[key])
    result = extract_features(
        backbone, DATA, batch_size=batch_size, pooled=True
    )
    np.testing.assert_allclose(
        result["features"], expected.mean(axis=(1, 2)), atol=2e-6
    )


def test_preprocess_is_the_callers_choice():
    for preprocess, expected in (
        (None, IMAGES),
        (lambda images: images[:, ::-1] / 2, IMAGES[:, ::-1] / 2),
    ):
        result = extract_features(
            identity_backbone(), {"images": IMAGES}, preprocess=preprocess
        )
        np.testing.assert_array_equal(result["features"], expected)


@pytest.mark.parametrize("sizes", [(4, 4, 2), (2, 5, 3), (10,), (4, 0, 6)])
def test_iterables_of_batches(sizes):
    expected = extract_features(averaging_backbone(), DATA)
    result = extract_features(averaging_backbone(), iter(batches(*sizes)))
    for key in ("features", "labels"):
        np.testing.assert_allclose(result[key], expected[key], atol=2e-6)


def test_tf_dataset():
    tf = pytest.importorskip("tensorflow")
    dataset = tf.data.Dataset.from_tensor_slices(DATA).batch(4)
    result = extract_features(averaging_backbone(), dataset)
    expected = extract_features(averaging_backbone(), DATA)
    for key in expected:
        np.testing.assert_allclose(result[key], expected[key], atol=2e-6)


def test_pairs_of_images_and_targets():
    pairs = [(batch["images"], batch["labels"]) for batch in batches(6, 4)]
    options = {"k": 1, "preprocess": None}
    result = evaluate_knn(averaging_backbone(), pairs, DATA, **options)
    assert result == {"top1": 1.0, "top5": 1.0}


def test_inference_mode():
    """Moving statistics are used and stay; dropout is off."""
    norm = keras.layers.BatchNormalization(epsilon=1e-3)
    backbone = keras.Sequential(
        [keras.Input((None, None, 3)), norm, keras.layers.Dropout(0.9)]
    )
    weights = [np.array(w, np.float32) for w in ([2, 1, 3], [1, 0, 2])]
    moving = [np.array(w, np.float32) for w in ([5, 9, 7], [4, 2, 8])]
    norm.set_weights(weights + moving)
    result = extract_features(backbone, {"images": IMAGES}, preprocess=None)
    (gamma, beta), (mean, variance) = weights, moving
    expected = (IMAGES - mean) / np.sqrt(variance + 1e-3) * gamma + beta
    # float32 of values up to a few hundred.
    np.testing.assert_allclose(result["features"], expected, rtol=1e-5)
    for before, after in zip(weights + moving, norm.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)


def test_half_precision_backbones_give_float32():
    backbone = keras.Sequential(
        [
            keras.Input((None, None, 3)),
            keras.layers.AveragePooling2D(4, dtype="float16"),
        ]
    )
    result = extract_features(backbone, DATA)["features"]
    assert result.dtype == np.float32
    # float16 has 11 bits, for values and sums up to 2.7.
    np.testing.assert_allclose(
        result, block_means(normalized(IMAGES)), atol=4e-3
    )


def test_the_backbone_sees_one_batch_shape():
    seen = set()

    class Recorder(keras.layers.Layer):
        def call(self, inputs):
            seen.add(inputs.shape[0])
            return inputs

    backbone = keras.Sequential([keras.Input((None, None, 3)), Recorder()])
    seen.clear()  # of what the layer was built with
    extract_features(backbone, DATA, batch_size=4)
    extract_features(backbone, batches(4, 4, 2))
    assert seen == {4}
    seen.clear()
    extract_features(backbone, DATA, batch_size=256)
    # TensorFlow may have made the size a variable by now.
    assert seen <= {10, None}


def test_another_image_size_on_the_same_backbone():
    backbone = averaging_backbone()
    for shape in ((3, 4, 4, 3), (2, 16, 8, 3)):
        images = RNG.integers(0, 256, shape, dtype=np.uint8)
        result = extract_features(backbone, {"images": images})
        np.testing.assert_allclose(
            result["features"], block_means(normalized(images)), atol=2e-6
        )


def test_features_take_the_place_of_images():
    features = extract_features(averaging_backbone(), DATA)
    pooled = extract_features(averaging_backbone(), DATA, pooled=True)
    expected = evaluate_knn(averaging_backbone(), DATA, DATA, k=3)
    for data in (features, pooled):
        assert evaluate_knn(None, data, data, k=3) == expected


def two_maps():
    image = keras.Input((None, None, 3))
    return keras.Model(image, [image, image])


def pooled_backbone():
    return keras.Sequential(
        [
            keras.Input((None, None, 3)),
            keras.layers.GlobalAveragePooling2D(),
        ]
    )


def nan_backbone():
    return keras.Sequential(
        [
            keras.Input((None, None, 3)),
            keras.layers.Rescaling(float("nan")),
        ]
    )


@pytest.mark.parametrize(
    ("make_backbone", "message"),
    [
        (two_maps, "one feature map. Received: a list of 2"),
        (pooled_backbone, r"shape \(N, h, w, F\). Received: shape \(10, 3\)"),
        (nan_backbone, "must be finite"),
    ],
)
def test_bad_backbones(make_backbone, message):
    with pytest.raises(ValueError, match=message):
        extract_features(make_backbone(), DATA)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"images": IMAGES[:0]}, "The data is empty"),
        ([], "The data is empty"),
        ({"images": IMAGES[0]}, r"Received: shape \(8, 12, 3\)"),
        ({"labels": DATA["labels"]}, r"keys \['labels'\]"),
        (
            {**DATA, "labels": np.arange(9)},
            "images and labels differ.*10 and 9",
        ),
        ({**DATA, "labels": 3}, "a scalar"),
        (IMAGES, "Received: ndarray"),
        (3, "Received: int"),
        ([IMAGES], "Received: ndarray"),
        (
            [{"images": IMAGES}, {"images": IMAGES[:, :4]}],
            r"features of one shape. Received: \(4, 12, 3\) and \(8, 12, 3\)",
        ),
        (
            [batches(10)[0], {"images": IMAGES}],
            r"\['features', 'labels'\] and then \['features'\]",
        ),
    ],
)
def test_bad_data(data, message):
    with pytest.raises(ValueError, match=message):
        extract_features(identity_backbone(), data)


def test_a_backbone_of_integers_gets_images_as_they_are():
    """As exports with their preprocessing: it normalises them itself."""
    inputs = keras.Input((None, None, 3), dtype="uint8")
    scaled = keras.layers.Rescaling(1 / 255)(inputs)
    convolution = keras.layers.Conv2D(4, 2, 2)
    backbone = keras.Model(inputs, convolution(scaled))
    found = extract_features(backbone, DATA)["features"]
    expected = keras.ops.convert_to_numpy(
        convolution((IMAGES / 255).astype("float32"))
    )
    # Products of float32 in another order.
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_bad_batch_size():
    with pytest.raises(ValueError, match="batch_size=0"):
        extract_features(identity_backbone(), DATA, batch_size=0)


@pytest.mark.skipif(
    keras.backend.backend() == "tensorflow",
    reason="The TensorFlow backend needs TensorFlow.",
)
def test_evaluation_works_without_tensorflow_and_keras_cv():
    code = """
import sys
sys.modules["tensorflow"] = sys.modules["keras_cv"] = None
import keras, numpy as np
from keras_vicregl import evaluation
backbone = keras.Sequential(
    [keras.Input((None, None, 3)), keras.layers.AveragePooling2D(2)]
)
images = np.zeros((8, 4, 4, 3))
images[4:] = 255
data = {
    "images": images,
    "labels": np.arange(8) // 4,
    "segmentation_masks": (images[..., 0] > 0).astype(int),
}
assert evaluation.evaluate_knn(backbone, data, data, k=1)["top1"] == 1
assert evaluation.evaluate_linear(backbone, data, data)["top1"] == 1
result = evaluation.evaluate_segmentation(backbone, data, data)
assert result["mean_iou"] == 1
"""
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ)
