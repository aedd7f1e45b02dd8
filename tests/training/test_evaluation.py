"""Figures of merit as a model trains."""

import csv
import types

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


EVALUATIONS_OF_LABELS = {
    "knn": {"k": 3},
    "linear": {"epochs": 5, "learning_rate": 0.1},
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


def test_classes_are_matched_by_name(model):
    names = ("ant", "bee", "cat")
    train = load(TRAIN, class_names=names)
    # Numbered from 0, and one without a label, which counts for nothing.
    rows = TEST["labels"] > 0
    labels = TEST["labels"][rows] - 1
    labels[0] = -1
    data = {"images": TEST["images"][rows], "labels": labels}
    test = load(data, class_names=names[1:])
    with pytest.warns(UserWarning, match="no 'ant'"):
        evaluate = feature_evaluation(train, test, EVALUATIONS_OF_LABELS)
    figures = evaluate(model)
    assert figures["knn_top1"] == figures["linear_top1"] == 1
    one_left_out = load(
        {"images": TRAIN["images"], "labels": np.r_[-1, TRAIN["labels"][1:]]},
        class_names=names,
    )
    with pytest.warns(UserWarning, match="no 'ant'"):
        evaluate = feature_evaluation(one_left_out, test, {"knn": {"k": 23}})
    assert evaluate(model)["knn_top1"] <= 1
    with pytest.warns(UserWarning, match="no 'ant'"):
        evaluate = feature_evaluation(one_left_out, test, {"knn": {"k": 24}})
    with pytest.raises(ValueError, match="training examples, 23"):
        evaluate(model)


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
        ((NO_LABELS["images"],), TEST, ["rank"], "train must be .*: tuple"),
        (TRAIN, "photographs/", ["knn"], "test must be what `load` .*: str"),
    ],
)
def test_bad_arguments(train, test, evaluations, message):
    with pytest.raises(ValueError, match=message):
        feature_evaluation(train, test, evaluations)


def test_never_is_not_every_few_epochs():
    with pytest.raises(ValueError, match="every=0"):
        Evaluation(lambda model: {}, every=0)


class Batches(keras.callbacks.Callback):
    """How many batches have been trained on."""

    count = 0

    def on_train_batch_end(self, batch, logs=None):
        self.count += 1


def assert_nothing_is_trained(model, evaluate, message, error=ValueError):
    """In `fit`, and in `pretrain`, which leaves no row of an epoch."""
    batches = Batches()
    with pytest.raises(error, match=message):
        model.fit(
            TRAIN["images"].astype("float32"),
            TRAIN["labels"],
            verbose=0,
            callbacks=[Evaluation(evaluate), batches],
        )
    assert batches.count == 0


def test_neighbours_and_images_are_counted_before_training(model):
    few = {key: value[:16] for key, value in TRAIN.items()}
    message = "number of training examples, 16. Received: k=20"
    with pytest.raises(ValueError, match=message):
        feature_evaluation(few, TEST, ["knn"])
    # Of all, and of those that are used.
    feature_evaluation(TRAIN, TEST, ["knn"])
    with pytest.raises(ValueError, match=message):
        feature_evaluation(TRAIN, TEST, ["knn"], limit=16)


@pytest.mark.parametrize(
    ("evaluations", "message"),
    [
        ({"knn": {"neighbours": 3}}, "'neighbours' here. It takes k, num_cl"),
        ({"linear": {"epoch": 3}}, "linear has no argument 'epoch'"),
        ({"segmentation": {"classes": 3}}, "segmentation has no arg.*'classes"),
        ({"rank": {"k": 3}}, "rank has no argument 'k' here. It takes none"),
        ({"linear": {"preprocess": None}}, "'preprocess' here.*of feature_ev"),
        ({"knn": {"k": 3, "size": 8}}, "knn has no argument 'size'"),
        ({"knn": None}, r"evaluations\['knn'\] must be a dictionary"),
    ],
)
def test_arguments_are_known_before_training(evaluations, message):
    with pytest.raises(ValueError, match=message):
        feature_evaluation(TRAIN, TEST, evaluations)


@pytest.mark.parametrize(
    ("evaluations", "message"),
    [
        ({"knn": {"k": 3, "temperature": 0}}, "temperature=0"),
        ({"knn": {"k": 3, "num_classes": 2}}, "num_classes - 1 = 1.* 0 to 2"),
        ({"linear": {"epochs": 0}}, "epochs=0"),
        ({"linear": {"batch_size": 0}}, "batch_size=0"),
        (
            {"linear": {"learning_rate": [1, 2], "validation_fraction": 0.01}},
            "of 24. Received: validation_fraction=0.01",
        ),
        ({"segmentation": {"num_classes": 2}}, "masks of train.* 0 to 2"),
        ({"segmentation": {"learning_rate": -1}}, "learning_rate=-1"),
    ],
)
def test_what_cannot_be_evaluated_is_known_before_training(
    model, evaluations, message
):
    evaluate = feature_evaluation(TRAIN, TEST, evaluations)
    assert_nothing_is_trained(model, evaluate, message)


def test_the_backbone_sees_a_batch_before_training(model):
    def evaluate(size):
        images = {key: TRAIN[key] for key in ("images", "labels")}
        images["images"] = np.zeros((24, size, size, 3), "uint8")
        return feature_evaluation(images, images, "rank")

    evaluate(8).check(model)
    assert_nothing_is_trained(model, evaluate(10), r"\b8\b.*\b10\b")
    with pytest.raises(ValueError, match=r"shape \(N, h, w, F\)"):
        evaluate(8).check(types.SimpleNamespace(backbone=model))
    with pytest.raises(ValueError, match="needs a model with a `backbone`"):
        evaluate(8).check(model.backbone)


@pytest.fixture
def files(tmp_path):
    """Paths of images, and a source of them."""
    pytest.importorskip("tensorflow")
    from PIL import Image

    paths = [tmp_path / f"{number}.png" for number in range(12)]
    for path, image in zip(paths, TEST["images"], strict=True):
        Image.fromarray(image).save(path)
    return paths, load(paths, labels=TEST["labels"].tolist())


def test_images_are_read_before_training(model, files):
    from PIL import Image

    paths, source = files
    knn = {"knn": {"k": 3}}
    evaluate = feature_evaluation(TRAIN, source, knn)
    evaluate.check(model)
    assert evaluate(model)["knn_top1"] == 1
    Image.fromarray(np.zeros((8, 12, 3), "uint8")).save(paths[7])
    message = "images of 8 x 8 pixels, and as number 7 one of 8 x 12"
    assert_nothing_is_trained(model, evaluate, message)
    # To be cut to one size, they may differ.
    feature_evaluation(TRAIN, source, knn, size=8, resize=8).check(model)
    paths[7].write_bytes(paths[6].read_bytes()[:60])
    for data in ((TRAIN, source), (source, TRAIN)):
        evaluate = feature_evaluation(*data, knn)
        assert_nothing_is_trained(model, evaluate, "7.png", Exception)


@pytest.mark.parametrize(
    ("figures", "message"),
    [
        (None, r"such as \{'knn_top1': 0.4\}. Received: NoneType"),
        (np.zeros(3), r"Received: ndarray of shape \(3,\)"),
        (0.4, "Received: float"),
        ({"top1": np.zeros(3)}, "Received: 'top1': array"),
        ({"top1": None}, "Received: 'top1': None"),
        ({"top1": "0.4"}, "Received: 'top1': '0.4'"),
        ({1: 0.4}, "Received: 1: 0.4"),
        ({"loss": 0.4}, "loss: the training logs figures of these names"),
        ({"step": 0.4}, "step: the training logs figures of these names"),
    ],
)
def test_what_is_no_figures(model, figures, message):
    with pytest.raises(ValueError, match=message):
        model.fit(
            TRAIN["images"].astype("float32"),
            TRAIN["labels"],
            verbose=0,
            callbacks=[Evaluation(lambda trained: figures)],
        )


def test_numbers_of_any_library_are_figures(model):
    figures = {
        "a": keras.ops.convert_to_tensor(0.25),
        "b": np.float32(0.5),
        "c": np.array(1),
        "d": True,
    }
    history = model.fit(
        TRAIN["images"].astype("float32"),
        TRAIN["labels"],
        verbose=0,
        callbacks=[Evaluation(lambda trained: figures)],
    ).history
    assert [history[key] for key in "abcd"] == [[0.25], [0.5], [1.0], [1.0]]


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ({"knn": 0.5}, r"must be a function.*Received: \{'knn': 0.5\}"),
        (lambda: {}, "with the model alone"),
        (lambda model, data: {}, "missing a required argument: 'data'"),
    ],
)
def test_what_is_no_evaluation(function, message):
    with pytest.raises(ValueError, match=message):
        Evaluation(function)
