"""Figures of merit as a model trains."""

import csv

import keras
import numpy as np
import pytest

from keras_vicregl.data import load
from keras_vicregl.evaluation import (
    effective_rank,
    evaluate_knn,
    evaluate_linear,
    evaluate_segmentation,
    extract_features,
)
from keras_vicregl.training import Evaluation, feature_evaluation


def colored(count, seed):
    """Images of one colour each, which is their class and that of pixels."""
    labels = (np.arange(count) % 3).astype("int32")
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 40, (count, 8, 8, 3))
    images += 200 * np.eye(3, dtype=int)[labels][:, None, None]
    masks = np.broadcast_to(labels[:, None, None, None], (count, 8, 8, 1))
    return {
        "images": images.astype("uint8"),
        "labels": labels,
        "segmentation_masks": masks.astype("uint8"),
    }


TRAIN, TEST = colored(24, 0), colored(12, 1)


@pytest.fixture
def model():
    """A classifier with a backbone that gives the colours of images."""
    inputs = keras.Input((8, 8, 3))
    backbone = keras.Model(inputs, keras.layers.AveragePooling2D(2)(inputs))
    features = keras.layers.GlobalAveragePooling2D()(backbone(inputs))
    model = keras.Model(inputs, keras.layers.Dense(3)(features))
    model.backbone = backbone
    # Eager under TensorFlow, where tracing costs more than the steps.
    eager = keras.backend.backend() == "tensorflow"
    model.compile(
        "sgd",
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        run_eagerly=eager,
    )
    return model


EVALUATIONS = {
    "knn": {"k": 3},
    "linear": {"epochs": 5, "learning_rate": [0.01, 0.1]},
    "segmentation": {"epochs": 2},
    "rank": {},
}


def test_figures_are_those_of_the_evaluations(model, monkeypatch):
    calls = []
    predict = model.backbone.predict_on_batch
    monkeypatch.setattr(
        model.backbone,
        "predict_on_batch",
        lambda images: calls.append(len(images)) or predict(images),
    )
    evaluate = feature_evaluation(TRAIN, load(TEST), EVALUATIONS, batch_size=16)
    figures = evaluate(model)
    # The features are computed once: 24 images in two batches, 12 in one.
    assert calls == [16, 16, 12]
    train, test = (extract_features(model.backbone, d) for d in (TRAIN, TEST))
    expected = {
        "knn": evaluate_knn(None, train, test, k=3),
        "linear": evaluate_linear(
            None, train, test, epochs=5, learning_rate=[0.01, 0.1]
        ),
        "segmentation": evaluate_segmentation(None, train, test, epochs=2),
    }
    for name in ("iou_0", "iou_1", "iou_2"):
        del expected["segmentation"][name]
    expected = {
        f"{name}_{key}": value
        for name, result in expected.items()
        for key, value in result.items()
    }
    expected["rank"] = effective_rank(train["features"].mean(axis=(1, 2)))
    # The rest of a batch is padded, and sums may be in another order.
    assert figures == pytest.approx(expected, abs=1e-5)
    assert figures["knn_top1"] == 1
    assert 1 < figures["rank"] < 3.01


def test_without_masks_features_are_pooled(model):
    data = {key: TRAIN[key] for key in ("images", "labels")}
    evaluations = {"rank": {}, "knn": {"k": 1}}
    figures = feature_evaluation(data, data, evaluations, limit=23)(model)
    # Evenly spread.
    rows = np.arange(23) * len(data["labels"]) // 23
    half = {key: value[rows] for key, value in data.items()}
    pooled = extract_features(model.backbone, half, pooled=True)
    assert figures["rank"] == pytest.approx(effective_rank(pooled["features"]))
    assert list(figures) == ["rank", "knn_top1"]


def test_the_rank_needs_no_labels(model):
    images = {"images": TRAIN["images"]}
    assert set(feature_evaluation(images, images, "rank")(model)) == {"rank"}


def test_figures_are_in_history_and_csv(model, tmp_path):
    evaluate = feature_evaluation(TRAIN, TEST, ["knn", "rank"])
    history = model.fit(
        TRAIN["images"].astype("float32"),
        TRAIN["labels"],
        epochs=2,
        verbose=0,
        callbacks=[
            Evaluation(evaluate),
            keras.callbacks.CSVLogger(tmp_path / "log.csv"),
        ],
    ).history
    assert history["knn_top1"] == [1.0, 1.0]
    expected = evaluate(model)["rank"]  # pooling has nothing to learn
    assert history["rank"] == pytest.approx([expected] * 2)
    with open(tmp_path / "log.csv") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["knn_top1"]) for row in rows] == [1.0, 1.0]
    assert [float(row["rank"]) for row in rows] == history["rank"]


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="Keras' TensorBoard is"
)
def test_figures_are_in_tensorboard(model, tmp_path):
    event_files = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator"
    )
    from tensorflow import make_ndarray

    model.fit(
        TRAIN["images"].astype("float32"),
        TRAIN["labels"],
        verbose=0,
        callbacks=[
            Evaluation(lambda trained: {"knn_top1": 0.25}),
            keras.callbacks.TensorBoard(str(tmp_path)),
        ],
    )
    events = event_files.EventAccumulator(str(tmp_path / "train"))
    (event,) = events.Reload().Tensors("epoch_knn_top1")
    assert make_ndarray(event.tensor_proto) == 0.25


def test_every_few_epochs_and_at_the_end(model):
    seen = []
    history = model.fit(
        TRAIN["images"].astype("float32"),
        TRAIN["labels"],
        epochs=5,
        verbose=0,
        callbacks=[
            Evaluation(
                lambda trained: seen.append(trained) or {"seen": len(seen)},
                every=2,
            )
        ],
    )
    assert seen == [model] * 3
    assert history.history["seen"] == [1, 2, 3]


NO_LABELS = {"images": TRAIN["images"]}


@pytest.mark.parametrize(
    ("train", "test", "evaluations", "message"),
    [
        (TRAIN, TEST, ["knn", "top1"], "some of knn, .*Received: 'top1'"),
        (TRAIN, TEST, [], "Received: none"),
        (NO_LABELS, TEST, ["knn"], "knn needs labels"),
        (TRAIN, NO_LABELS, ["linear"], "linear needs labels"),
        (TRAIN, NO_LABELS, ["segmentation"], "segmentation needs masks"),
    ],
)
def test_bad_arguments(train, test, evaluations, message):
    with pytest.raises(ValueError, match=message):
        feature_evaluation(train, test, evaluations)


def test_never_is_not_every_few_epochs():
    with pytest.raises(ValueError, match="every=0"):
        Evaluation(lambda model: {}, every=0)
