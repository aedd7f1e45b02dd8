"""Evaluations take what `load` returns, and give what batches of it give."""

import keras
import numpy as np
import pytest
import small
from backend_tools import eager_steps
from known_features import averaging_backbone
from PIL import Image

from keras_vicregl.data import load
from keras_vicregl.evaluation import (
    effective_rank,
    evaluate_finetuning,
    evaluate_knn,
    evaluate_linear,
    evaluate_segmentation,
    extract_features,
    image_batches,
    train_segmentation,
)

SIZES = ((16, 16), (20, 16), (16, 24), (18, 18))
CUT = {"size": 8, "resize": 8}


@pytest.fixture(autouse=True)
def quick_steps():
    with eager_steps():
        yield


def arrays(count=12, size=16, seed=0):
    """Images of one colour each, which is their class and that of pixels."""
    labels = (np.arange(count) % 3).astype("int32")
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 40, (count, size, size, 3))
    images += 200 * np.eye(3, dtype=int)[labels][:, None, None]
    masks = np.ones((count, size, size, 1), int) * labels[:, None, None, None]
    return {
        "images": images.astype("uint8"),
        "labels": labels,
        "segmentation_masks": masks.astype("uint8"),
    }


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """Files whose images differ in size."""
    pytest.importorskip("tensorflow")
    folder = tmp_path_factory.mktemp("mixed")
    paths, masks, labels = [], [], []
    for number in range(12):
        height, width = SIZES[number % 4]
        data = arrays(3, 24, number)
        row = number % 3
        for kind, found, key in (
            ("image", paths, "images"),
            ("mask", masks, "segmentation_masks"),
        ):
            found.append(folder / f"{kind}{number}.png")
            array = data[key][row][:height, :width].squeeze()
            Image.fromarray(array).save(found[-1])
        labels.append(row)
    return load(paths, labels=labels, masks=masks)


EVALUATIONS = {
    "knn": lambda *data, **how: evaluate_knn(*data, k=3, **how),
    "linear": lambda *data, **how: evaluate_linear(*data, epochs=5, **how),
    "segmentation": lambda *data, **how: evaluate_segmentation(
        *data, epochs=2, **how
    ),
    "rank": lambda backbone, train, test, **how: {
        "rank": effective_rank(backbone, train, **how)
    },
}


# They take their data in the same way: each of these has two of them.
@pytest.mark.parametrize("name", ["segmentation", "rank"])
def test_files_give_what_their_batches_give(name, mixed):
    evaluate, backbone = EVALUATIONS[name], averaging_backbone()
    batches = image_batches(mixed, **CUT)
    expected = evaluate(backbone, batches, batches)
    assert evaluate(backbone, mixed, mixed, **CUT) == pytest.approx(expected)


@pytest.mark.parametrize("name", ["knn", "linear"])
def test_arrays_as_they_are_and_from_load(name):
    evaluate, backbone = EVALUATIONS[name], averaging_backbone()
    data = arrays()
    whole = evaluate(backbone, data, data)
    assert evaluate(backbone, load(data), load(data)) == pytest.approx(whole)
    cut = evaluate(backbone, data, load(data), **CUT)
    batches = image_batches(data, **CUT)
    assert cut == pytest.approx(evaluate(backbone, batches, batches))


def test_features_of_sources(mixed):
    backbone = averaging_backbone()
    expected = extract_features(backbone, image_batches(mixed, **CUT))
    actual = extract_features(backbone, mixed, batch_size=5, **CUT)
    assert actual.keys() == expected.keys()
    for key, value in expected.items():
        np.testing.assert_allclose(actual[key], value, atol=1e-6)
    # What `extract_features` returns has a rank, maps being pooled.
    assert effective_rank(actual) == pytest.approx(
        effective_rank(backbone, mixed, **CUT), abs=1e-5
    )


def test_fine_tuning_and_segmentation_of_sources(mixed):
    backbone = small.backbone()
    figures = evaluate_finetuning(
        backbone, mixed, mixed, epochs=1, batch_size=4, size=16
    )
    assert 0 <= figures["top1"] <= 1
    how = {
        "num_classes": 3,
        "iterations": 2,
        "crop_size": 8,
        "batch_size": 2,
        "output_stride": "as_is",
    }
    data = arrays()
    result, segmenter, losses = train_segmentation(
        averaging_backbone(), load(data), load(data), **CUT, **how
    )
    # Of one colour and one class each, the middle is what the whole is.
    again = train_segmentation(averaging_backbone(), data, data, **CUT, **how)
    np.testing.assert_allclose(losses, again.losses, atol=1e-6)
    assert result == pytest.approx(again.figures)
    cut = list(image_batches(data, **CUT))
    assert segmenter.evaluate(data, **CUT) == pytest.approx(
        segmenter.evaluate(cut)
    )
    train_segmentation(averaging_backbone(), mixed, mixed, **CUT, **how)


def test_mixed_sizes_need_a_size(mixed):
    message = r"has images of 16 x 16 pixels, and as number 1 one of 20 x 16"
    with pytest.raises(ValueError, match=message + ".*Pass size"):
        evaluate_knn(averaging_backbone(), mixed, mixed, k=3)


def test_what_a_source_lacks_is_said():
    data = arrays()
    bare = load(data["images"])
    backbone = averaging_backbone()
    with pytest.raises(
        ValueError, match=r"train must have labels.*`labels` of"
    ):
        evaluate_linear(backbone, bare, data)
    with pytest.raises(ValueError, match="test must have segmentation masks"):
        evaluate_segmentation(backbone, data, bare)


@pytest.mark.parametrize("size", [{"size": 8}, {"size": 4, "resize": 8}])
def test_batches_and_features_cannot_be_resized(size):
    data, backbone = arrays(), averaging_backbone()
    features = extract_features(backbone, data)
    with pytest.raises(
        ValueError, match=r"size=\d is for what `load`.*train: l"
    ):
        evaluate_knn(backbone, [data], [data], k=1, **size)
    with pytest.raises(ValueError, match="train: a dictionary with the keys"):
        evaluate_knn(backbone, features, features, k=1, **size)
    with pytest.raises(ValueError, match=r"size=\d is for what `load`"):
        train_segmentation(
            backbone,
            [data],
            [data],
            num_classes=3,
            output_stride="as_is",
            crop_size=8,
            **size,
        )
    with pytest.raises(ValueError, match="resize=9 needs a size"):
        evaluate_knn(backbone, data, data, k=1, resize=9)
    with pytest.raises(ValueError, match=r"training on crops is for.*ImageBat"):
        evaluate_finetuning(backbone, image_batches(data), data)


def test_a_backbone_has_no_rank_without_images():
    with pytest.raises(ValueError, match="data must be given with a backbone"):
        effective_rank(averaging_backbone())


def labelled(labels):
    return {"features": np.eye(3, dtype="float32"), "labels": labels}


KNOWN = labelled(np.arange(3))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: evaluate_linear(None, KNOWN, KNOWN, learning_rate="auto"),
            "learning_rate must be a number .*'auto'",
        ),
        (
            lambda: evaluate_knn(None, KNOWN, KNOWN, k=1, temperature="0.1"),
            "temperature must be a positive number.*'0.1'",
        ),
        (
            lambda: effective_rank({"images": np.eye(3)}),
            r"features must be .* the keys \['images'\]",
        ),
        (
            lambda: evaluate_knn(
                None, KNOWN, labelled(np.array([[0], [-1], [2]])), k=1
            ),
            r"labels of test must have the shape \(N,\).*\(3, 1\)",
        ),
        (
            lambda: evaluate_knn(None, KNOWN, labelled(None), k=1),
            r"labels of test must have the shape \(N,\)",
        ),
    ],
    ids=["rate", "temperature", "rank", "shape", "none"],
)
def test_messages_name_the_argument(call, message):
    with pytest.raises(ValueError, match=message):
        call()


NO_DATA = {
    "a path": ("photographs/", r"Received: 'photographs/', a name.*by load\("),
    "pair": ((np.zeros((4, 8, 8, 3)), np.zeros(4)), "a tuple of arrays.* load"),
    "array": (np.zeros((4, 8, 8, 3)), r"of shape \(4, 8, 8, 3\). Pass load"),
    "nothing": (None, "Received: NoneType"),
}


@pytest.mark.parametrize("kind", NO_DATA)
def test_what_is_no_data_says_how_to_make_some(kind):
    data, message = NO_DATA[kind]
    with pytest.raises(ValueError, match=f"test must be .*{message}"):
        evaluate_knn(averaging_backbone(), arrays(), data, k=1)
    with pytest.raises(ValueError, match=f"data must be .*{message}"):
        extract_features(averaging_backbone(), data)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"k": 2.5}, r"whole number .* Received: k=2\.5"),
        ({"k": True}, "Received: k=True"),
        ({"batch_size": 2.5}, r"batch_size=2\.5"),
        ({"size": 8.5}, r"size must be positive, .*8\.5"),
        ({"size": (8, 8)}, r"size must be positive, .*\(8, 8\)"),
        ({"num_classes": 0}, "num_classes must be None or .*num_classes=0"),
        ({"preprocess": "imagenet"}, "preprocess must be a function .*'imagen"),
        ({"backbone": "backbone.keras"}, "must be a keras.Model, as .*load_mo"),
        ({"backbone": keras.Model}, "must be a keras.Model.*class"),
    ],
)
def test_what_can_be_no_argument(arguments, message):
    arguments = {"backbone": averaging_backbone(), "k": 1, **arguments}
    with pytest.raises(ValueError, match=message):
        evaluate_knn(train=arrays(), test=arrays(), **arguments)
