"""Classification with augmented images, against loops in NumPy."""

import os

import keras
import numpy as np
import pytest
from backend_tools import eager_steps

from keras_vicregl.data import load, subset
from keras_vicregl.evaluation import (
    evaluate_augmented_linear,
    evaluate_finetuning,
    extract_features,
    image_batches,
    label_subset,
)
from keras_vicregl.evaluation.classification import classifier, finetuning

CLASSES = 3
VIEWS = {
    "size": 8,
    # Crops of whole images: only flips are random, and the mean over the image
    # does not know of them.
    "scale": (1.0, 1.0),
    "mean": (0.5, 0.5, 0.5),
    "std": (0.25, 0.25, 0.25),
    "seed": 3,
}


@pytest.fixture(autouse=True)
def quick_steps():
    """Eager under TensorFlow, where tracing costs more than some steps."""
    with eager_steps():
        yield


def colored(count, seed=0, size=8):
    """Images with more of one colour, which is their class."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(count) % CLASSES).astype("int32")
    images = rng.integers(0, 120, (count, size, size, 3))
    images += (80 * np.eye(3, dtype=int)[labels])[:, None, None]
    return {"images": images.astype("uint8"), "labels": labels}


def colors(units=5, seed=0):
    """A backbone of one 1 x 1 convolution, and its kernel (3, units)."""
    inputs = keras.Input((None, None, 3))
    layer = keras.layers.Conv2D(units, 1, use_bias=False)
    backbone = keras.Model(inputs, layer(inputs))
    rng = np.random.default_rng(seed)
    kernel = rng.standard_normal((3, units)).astype("float32")
    layer.kernel.assign(kernel[None, None])
    return backbone, kernel


def softmax(scores):
    p = np.exp(scores - scores.max(axis=1, keepdims=True))
    return p / p.sum(axis=1, keepdims=True)


def by_hand(data, kernel, epochs, rate, backbone_rate, decay, batch_size):
    """SGD of kernel, weights and bias in float64, and the last epoch's loss."""
    _, batches = classifier.augmented_batches(
        load(data), batch_size=batch_size, **VIEWS
    )
    weights = np.zeros((len(kernel[0]), CLASSES))
    weights[:] = np.random.default_rng(VIEWS["seed"]).normal(
        0, 0.01, weights.shape
    )
    values = [kernel.astype(np.float64), weights, np.zeros(CLASSES)]
    velocities = [0.0, 0.0, 0.0]
    rates = [backbone_rate, rate, rate]
    for epoch in range(epochs):
        cosine = (1 + np.cos(np.pi * epoch / epochs)) / 2
        losses = []
        for inputs, labels in batches:
            pixels = inputs["images"].astype(np.float64) / 255
            means = ((pixels - 0.5) / 0.25).mean(axis=(1, 2))
            kernel, weights, bias = values
            p = softmax(means @ kernel @ weights + bias)
            losses.append(-np.log(p[np.arange(len(p)), labels]).mean())
            error = (p - np.eye(CLASSES)[labels]) / len(p)
            gradients = [
                means.T @ error @ weights.T,
                (means @ kernel).T @ error,
                error.sum(axis=0),
            ]
            for i, gradient in enumerate(gradients):
                gradient = gradient + decay * values[i]
                velocities[i] = 0.9 * velocities[i] + gradient
                values[i] = values[i] - cosine * rates[i] * velocities[i]
    return values, np.mean(losses)


def trained(data, backbone, rates, backbone_rate, epochs, decay, batch_size):
    views, batches = classifier.augmented_batches(
        load(data), batch_size=batch_size, **VIEWS
    )
    model = classifier.Classifier(
        backbone,
        CLASSES,
        learning_rates=rates,
        backbone_learning_rate=backbone_rate,
        seed=VIEWS["seed"],
        views=views,
    )
    return model, model.fit_on(batches, epochs, decay)


def test_all_weights_are_trained_as_by_hand():
    """Momentum, L2, cosine by epoch, a rate each for layer and backbone."""
    data = colored(26)
    backbone, kernel = colors()
    settings = {"epochs": 4, "decay": 0.05, "batch_size": 8}
    model, loss = trained(
        data, backbone, rates=[0.3], backbone_rate=0.1, **settings
    )
    expected, expected_loss = by_hand(
        data, kernel, rate=0.3, backbone_rate=0.1, **settings
    )
    (actual,) = model.backbone.get_weights()
    # float32 over 12 steps. Without the cosine, or the decay, weights differ
    # by more than 1e-2.
    np.testing.assert_allclose(actual[0, 0], expected[0], atol=2e-5)
    parameters = model.head_parameters
    np.testing.assert_allclose(parameters[:-1], expected[1], atol=2e-5)
    np.testing.assert_allclose(parameters[-1], expected[2], atol=2e-5)
    assert loss == pytest.approx(expected_loss, abs=1e-5)
    # The copy has been trained, and the backbone has not.
    np.testing.assert_array_equal(backbone.get_weights()[0][0, 0], kernel)


def test_layers_are_trained_side_by_side_on_a_frozen_backbone():
    data = colored(26)
    backbone, kernel = colors()
    settings = {"epochs": 3, "decay": 1e-3, "batch_size": 8}
    rates = [0.02, 1e37, 0.3]
    model, _ = trained(data, backbone, rates, backbone_rate=0.0, **settings)
    np.testing.assert_array_equal(model.backbone.get_weights()[0][0, 0], kernel)
    parameters = model.head_parameters.reshape(-1, len(rates), CLASSES)
    assert not np.isfinite(parameters[:, 1]).all()
    for head in (0, 2):
        (_, weights, bias), _ = by_hand(
            data, kernel, rate=rates[head], backbone_rate=0.0, **settings
        )
        np.testing.assert_allclose(parameters[:-1, head], weights, atol=2e-5)
        np.testing.assert_allclose(parameters[-1, head], bias, atol=2e-5)


def normalized():
    """A backbone that is another function in training mode."""
    inputs = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(6, 3, 2)(inputs)
    backbone = keras.Model(inputs, keras.layers.BatchNormalization()(x))
    rng = np.random.default_rng(1)
    backbone.set_weights(
        [
            np.float32(rng.uniform(0.5, 1.5, weight.shape))
            for weight in backbone.get_weights()
        ]
    )
    return backbone


def test_a_frozen_backbone_is_in_inference_mode():
    backbone = normalized()
    before = [np.array(weight) for weight in backbone.get_weights()]
    frozen, _ = trained(colored(16), backbone, [0.1], 0.0, 1, 0.0, 8)
    tuned, _ = trained(colored(16), backbone, [0.1], 0.1, 1, 0.0, 8)
    for model, same in ((frozen, True), (tuned, False)):
        after = model.backbone.get_weights()
        assert all(map(np.array_equal, before, after)) == same
    for old, new in zip(before, backbone.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert backbone.trainable


OPTIONS = {"epochs": 4, "batch_size": 16, "scale": (0.5, 1.0)}


def test_a_rate_is_chosen_and_trained_with():
    train, test = colored(50), colored(30, seed=1)
    backbone, _ = colors()
    rates = [1e-5, 0.1, 1e37]
    result = evaluate_augmented_linear(
        backbone, train, test, learning_rate=rates, **OPTIONS
    )
    assert result["learning_rate"] == 0.1
    assert np.isnan(result["validation_top1_1e+37"])
    accuracies = [result[f"validation_top1_{rate}"] for rate in rates[:2]]
    assert accuracies[0] < accuracies[1]
    assert result["top1"] > 0.9
    alone = evaluate_augmented_linear(
        backbone, train, test, learning_rate=0.1, **OPTIONS
    )
    assert alone == {key: result[key] for key in alone}


def test_the_figures_are_those_of_the_test_images():
    """Resized, cut and normalised, and scored with what was trained."""
    train, test = colored(20), colored(9, seed=1, size=20)
    backbone, _ = colors()
    task = finetuning._Task(
        backbone,
        train,
        test,
        **{key: VIEWS[key] for key in ("size", "scale", "mean", "std", "seed")},
        resize=10,
        epochs=1,
        weight_decay=0.0,
        batch_size=4,
        num_classes=None,
    )
    model, _ = task._trained(task._train, [0.1])
    scores, labels = task._scores(model, task._test)
    (batch,) = image_batches(test, size=8, resize=10)
    features = extract_features(
        backbone,
        {"images": batch["images"]},
        pooled=True,
        preprocess=lambda images: (images / 255 - 0.5) / 0.25,
    )["features"]
    parameters = model.head_parameters
    np.testing.assert_allclose(
        scores, features @ parameters[:-1] + parameters[-1], atol=1e-5
    )
    np.testing.assert_array_equal(labels, test["labels"])
    top1 = np.mean(scores.argmax(1) == labels)
    result = task.result(0.1, 0.0)
    assert result["top1"] == pytest.approx(top1)


def test_a_fraction_is_the_label_subset():
    train, test = colored(60), colored(30, seed=1)
    backbone, _ = colors()
    result = evaluate_finetuning(
        backbone, train, test, fraction=0.2, seed=5, **OPTIONS
    )
    rows = label_subset(train["labels"], 0.2, seed=5)
    expected = evaluate_finetuning(
        backbone, subset(load(train), rows), test, seed=5, **OPTIONS
    )
    assert result == expected
    everything = evaluate_finetuning(backbone, train, test, seed=5, **OPTIONS)
    assert everything["train_loss"] != result["train_loss"]


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow" and "ALL_TESTS" not in os.environ,
    reason="pipelines of tf.data take time to make",
)
def test_files_give_what_arrays_do(tmp_path):
    """Crops in tf.data, and in the model."""
    pytest.importorskip("tensorflow")
    from PIL import Image

    data = colored(12)
    paths = [tmp_path / f"{index}.png" for index in range(12)]
    for path, image in zip(paths, data["images"], strict=True):
        Image.fromarray(image).save(path)
    files = load(paths, labels=data["labels"].tolist())
    backbone, _ = colors()
    results = [
        evaluate_augmented_linear(
            backbone, source, source, size=8, resize=8, epochs=2, batch_size=4
        )
        for source in (data, files)
    ]
    assert results[0]["top1"] == results[1]["top1"]
    # Resampled by other programs, by up to 0.01 of 255.
    assert results[0]["train_loss"] == pytest.approx(
        results[1]["train_loss"], abs=1e-4
    )
    with pytest.raises(ValueError, match="size must be given: the images of"):
        evaluate_augmented_linear(backbone, files, files)


def test_a_backbone_that_cannot_be_trained():
    with pytest.raises(ValueError, match=r"must be a keras.Model; received"):
        evaluate_finetuning(lambda images: images, GOOD, GOOD)


GOOD = colored(12)
NO_LABELS = {"images": GOOD["images"]}
TWO_CLASSES = {**GOOD, "labels": GOOD["labels"] % 2}


@pytest.mark.parametrize(
    ("function", "train", "options", "message"),
    [
        (evaluate_augmented_linear, GOOD, {"epochs": 0}, "epochs=0"),
        (evaluate_augmented_linear, GOOD, {"learning_rate": []}, "numbers"),
        (evaluate_augmented_linear, NO_LABELS, {}, "Labels are needed"),
        (evaluate_augmented_linear, TWO_CLASSES, {}, "labels of test.* = 1"),
        (evaluate_augmented_linear, GOOD, {"num_classes": 2}, "labels of tr"),
        (evaluate_augmented_linear, GOOD, {"resize": 8}, "resize=8 needs"),
        (
            evaluate_augmented_linear,
            GOOD,
            {"learning_rate": [0.1], "validation_fraction": 0.01},
            "validation_fraction=0.01",
        ),
        (
            evaluate_augmented_linear,
            GOOD,
            {"learning_rate": 1e37, "epochs": 3, "weight_decay": 1.0},
            r"diverged.*learning_rate=1e\+37$",
        ),
        (evaluate_finetuning, GOOD, {"fraction": 0.1}, "for each of 3 classes"),
        (evaluate_finetuning, GOOD, {"fraction": 2.0}, "fraction=2.0"),
        (
            evaluate_finetuning,
            GOOD,
            {"backbone_learning_rate": 0.0},
            "learning_rate=0.0",
        ),
        (
            evaluate_finetuning,
            GOOD,
            {"backbone_learning_rate": 1e37, "batch_size": 4},
            r"diverged.*backbone_learning_rate=1e\+37",
        ),
    ],
)
def test_bad_arguments(function, train, options, message):
    backbone, _ = colors()
    with pytest.raises(ValueError, match=message):
        function(backbone, train, GOOD, **options)
