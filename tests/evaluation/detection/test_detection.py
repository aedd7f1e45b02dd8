"""Detection of coloured squares, which a small network learns in seconds."""

import types

import keras
import numpy as np
import pytest
from backend_tools import eager_steps

from keras_vicregl.data import detection_batches, load
from keras_vicregl.evaluation import (
    Detector,
    coco_average_precision,
    train_detection,
)
from keras_vicregl.evaluation.detection import data as detection_data
from keras_vicregl.evaluation.detection import training
from keras_vicregl.evaluation.detection.retinanet import (
    backbone_strides,
    retinanet,
)
from keras_vicregl.models.backbones import ConvNeXt, SmallResNet

pytest.importorskip("pycocotools")

SETTINGS = {"strides": (4, 8), "channels": 8, "depth": 1, "batch_size": 16}

# Arguments and data are looked at before anything is built.
STRIDES_ONLY = types.SimpleNamespace(
    pyramid_outputs={"P2": None, "P3": None},
    pyramid_strides={"P2": 4, "P3": 8},
    predict_on_batch=None,
)


def squares(count, seed, crowd=False):
    """Grey images of 32 pixels with up to two red or blue squares.

    None is in every eighth of them. With `crowd` there is a third place for a
    box, that of a green region which is to be ignored.
    """
    rng = np.random.default_rng(seed)
    images = np.full((count, 32, 32, 3), 100, np.uint8)
    boxes = np.zeros((count, 3, 4), np.float32)
    classes = np.full((count, 3), -1)
    for i in range(count):
        for j in range(0 if i % 8 == 0 else 1 + i % 2):
            side = rng.integers(10, 16)
            # One in each half, so that they do not overlap.
            left, top = rng.integers(0, 17 - side), rng.integers(0, 33 - side)
            left += 16 * j
            classes[i, j] = rng.integers(2)
            boxes[i, j] = left, top, left + side, top + side
            images[i, top : top + side, left : left + side] = 0
            images[
                i, top : top + side, left : left + side, 2 * classes[i, j]
            ] = 255
    arrays = {"images": images, "boxes": boxes, "box_classes": classes}
    if crowd:
        images[:, :6, :, 1] = 255
        boxes[:, 2], classes[:, 2] = [0, 0, 32, 6], 1
        arrays["box_is_crowd"] = np.tile([False, False, True], (count, 1))
    return arrays


def small_backbone():
    keras.utils.set_random_seed(0)
    return SmallResNet((32, 32, 3), widths=(8, 8, 16, 16), block="bottleneck")


@pytest.fixture
def eager():
    with eager_steps():
        yield


def weights_of(model):
    return [np.array(value) for value in model.get_weights()]


def test_it_finds_what_there_is():
    backbone = small_backbone()
    before = weights_of(backbone)
    train, test = squares(96, 0), squares(32, 1)
    result, detector, losses = train_detection(
        backbone,
        train,
        test,
        epochs=8,
        learning_rate=1e-2,
        max_detections=20,
        **SETTINGS,
    )
    # 0.0 before training; what it is at the end depends on the backend.
    assert result["ap50"] > 0.5
    assert losses.shape == (8,) and losses[-1] < min(losses[0], 0.5)
    assert result["ap"] == pytest.approx(
        np.mean([result["ap_class_0"], result["ap_class_1"]])
    )
    assert result["ar_1"] <= result["ar_10"] <= result["ar_20"]
    for old, new in zip(before, weights_of(backbone), strict=True):
        np.testing.assert_array_equal(old, new)
    # What it says of images is what has been judged.
    found = detector.predict(test["images"])
    truth = [
        {key: test[key][i] for key in ("boxes", "box_classes")}
        for i in range(32)
    ]
    again = coco_average_precision(found, truth, 2, max_detections=(1, 10, 20))
    assert again == pytest.approx(result, nan_ok=True)
    assert_found_at_any_size(detector, test["images"][:2], found[:2])


def assert_found_at_any_size(detector, images, found):
    """An image whose sides 8 does not divide is filled up where it ends.

    With grey, as the image has around its squares: where the convolutions saw
    zeros beyond the border they see grey now, so that scores change a little.
    """
    larger = np.pad(
        images, [(0, 0), (0, 5), (0, 3), (0, 0)], constant_values=100
    )
    first, *others = detector.predict([larger[0], images[1], larger[1]])
    for changed, same in ((first, found[0]), (others[1], found[1])):
        sure = same["scores"] > 0.5
        count = sure.sum()
        np.testing.assert_array_equal(
            changed["box_classes"][:count], same["box_classes"][sure]
        )
        np.testing.assert_allclose(
            changed["boxes"][:count], same["boxes"][sure], atol=2
        )
        assert (changed["boxes"] <= [35, 37, 35, 37]).all()
    for key in found[1]:
        np.testing.assert_allclose(others[0][key], found[1][key], atol=1e-4)


@pytest.mark.usefixtures("eager")
def test_frozen_on_batches_with_crowds():
    """In batches, as a `tf.data.Dataset` would have them."""
    arrays = squares(20, 2, crowd=True)
    train = [
        {key: value[rows] for key, value in arrays.items()}
        for rows in (slice(0, 10), slice(10, 20))
    ]
    settings = {
        "num_classes": 4,
        "frozen": True,
        "epochs": 1,
        "learning_rate": 1e-9,
        "smallest_score": 0.0,
        **SETTINGS,
    }
    result, _, losses = train_detection(
        small_backbone(), train, iter(train), **settings
    )
    # The mean of its batches, which learn nothing from one another.
    alone = [
        train_detection(small_backbone(), [batch], iter([batch]), **settings)
        for batch in train
    ]
    expected = np.mean([each.losses[0] for each in alone])
    assert abs(alone[0].losses[0] - alone[1].losses[0]) > 1e-3 * expected
    np.testing.assert_allclose(losses[0], expected, rtol=1e-5)
    # Nothing has been learnt: but for luck, nothing is found.
    assert result["ap"] < 0.1
    assert np.isnan(result["ap_class_3"])


def test_a_frozen_copy_has_nothing_to_train():
    backbone = small_backbone()
    frozen, free = (
        training._copied(backbone, True),
        training._copied(backbone, False),
    )
    assert not frozen.trainable_variables and free.trainable_variables
    assert backbone.trainable
    for copy in (frozen, free):
        for one, other in zip(
            weights_of(copy), weights_of(backbone), strict=True
        ):
            np.testing.assert_array_equal(one, other)
        assert copy is not backbone
        assert copy.input_shape == (None, None, None, 3)


@pytest.mark.parametrize("kind", ["resnet", "convnext"])
def test_network(kind):
    """Where levels come from, and what they say before training."""
    if kind == "resnet":
        backbone = small_backbone()  # strides 4, 8, 8, 8
        taken, strides = [4, 8], (4, 8, 16)
        deepest = backbone.pyramid_outputs["P5"]
    else:
        backbone = ConvNeXt((1, 1, 1, 1), (8, 8, 8, 8), input_shape=(64, 64, 3))
        taken, strides = [8, 16, 32], (8, 16, 32)
        deepest = backbone.pyramid_outputs["P5"]
    assert backbone_strides(backbone, strides) == taken
    network = retinanet(
        backbone, 3, strides=strides, channels=4, depth=1, seed=0
    )
    size = backbone.input_shape[1]
    anchors = 9 * sum((size // stride) ** 2 for stride in strides)
    images = np.zeros((2, size, size, 3), "float32")
    outputs = keras.ops.convert_to_numpy(network(images, training=False))
    assert outputs.shape == (2, anchors, 4 + 3)
    scores = 1 / (1 + np.exp(-outputs[..., 4:]))
    # The last kernels are of 0.01: all is near the prior.
    np.testing.assert_allclose(scores, 0.01, atol=2e-3)
    assert any(
        tensor is deepest
        for layer in network.layers
        if isinstance(layer, keras.layers.Conv2D)
        and layer.kernel_size == (1, 1)
        for node in layer._inbound_nodes
        for tensor in node.input_tensors
    )


def test_initial_weights_depend_on_the_seed_only():
    def weights(seed):
        network = retinanet(
            backbone, 2, strides=(4, 8), channels=4, depth=1, seed=seed
        )
        return np.concatenate([w.ravel() for w in weights_of(network)])

    backbone = small_backbone()
    first, second, other = weights(3), weights(3), weights(4)
    np.testing.assert_array_equal(first, second)
    assert np.any(first != other)


def with_changes(**changes):
    arrays = squares(4, 0)
    for key, value in changes.items():
        if value is None:
            del arrays[key]
        else:
            arrays[key] = value
    return arrays


def with_box(box, label=0):
    boxes = np.zeros((4, 1, 4))
    boxes[2, 0] = box
    classes = np.full((4, 1), -1)
    classes[2] = label
    return with_changes(boxes=boxes, box_classes=classes)


@pytest.mark.parametrize(
    ("train", "message"),
    [
        (with_changes(boxes=None), "train must have 'boxes'"),
        (with_changes(box_classes=None), "train must have 'box_classes'"),
        (with_changes(images=None), "dictionary with 'images'"),
        (with_changes(boxes=np.zeros((3, 3, 4))), "differ in length: 4 and 3"),
        (with_changes(boxes=np.zeros((4, 2, 4))), r"train\[0\].*shape \(2,\)"),
        (with_box([5, 5, 5, 9]), r"boxes of train\[2\].*\[5.0, 5.0, 5.0, 9.0"),
        (with_box([5, 9, 8, 4]), "bottom than top"),
        (with_box([0, 0, np.inf, 9]), "must be finite"),
        (
            with_box([20, 20, 33, 30]),
            r"train\[2\] must lie within its image, 32",
        ),
        (with_box([-1, 20, 30, 30]), "must lie within its image"),
        (with_box([0, 0, 9, 9], label=4), "box_classes of train.*from 4 to 4"),
        (with_box([0, 0, 9, 9], label=-3), "box_classes of train.*-3"),
        (with_box([0, 0, 0, 0], label=-1), "train has no box to learn from"),
        ([], "train is empty"),
        (np.zeros((4, 32, 32, 3)), "data must be a dictionary of arrays"),
    ],
)
def test_bad_data(train, message):
    with pytest.raises(ValueError, match=message):
        train_detection(STRIDES_ONLY, train, squares(4, 1), num_classes=4)


def test_bad_test_data():
    with pytest.raises(ValueError, match=r"test\[2\] must lie within"):
        list(detection_data.annotated(with_box([9, 9, 40, 20]), 4, 2, "test"))
    with pytest.raises(ValueError, match="values from 1 to 1"):
        list(detection_data.annotated(with_box([0, 0, 9, 9], 1), 4, 1, "test"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "epochs must be an integer of at least 1"),
        ({"learning_rate": 0.0}, "learning_rate must be positive"),
        ({"weight_decay": -1.0}, "weight_decay must not be negative"),
        ({"channels": 0}, "channels must be at least 1"),
        ({"depth": -1}, "depth must be at least 0"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"max_detections": 0}, "max_detections must be at least 1"),
        (
            {"smallest_score": 1.0},
            "smallest_score must be at least 0 and below",
        ),
        ({"strides": (8, 4)}, r"strides must double.*strides=\(8, 4\)"),
        ({"strides": (4, 16)}, "strides must double"),
        ({"strides": (2, 4)}, "begin with one that the backbone has, 4, 8"),
        ({"strides": ()}, "strides must double"),
    ],
)
def test_bad_arguments(options, message):
    data = squares(4, 0)
    with pytest.raises(ValueError, match=message):
        train_detection(STRIDES_ONLY, data, data, **options)


def test_a_backbone_without_a_pyramid():
    data = squares(4, 0)
    plain = keras.Sequential([keras.Input((32, 32, 3)), keras.layers.ReLU()])
    with pytest.raises(ValueError, match="must have pyramid_outputs"):
        train_detection(plain, data, data)


def test_images_are_filled_up_with_their_mean():
    detector = Detector(None, (4, 8), 8, preprocess=None)
    images = np.arange(2 * 6 * 15 * 3, dtype=np.uint16).reshape(2, 6, 15, 3)
    inputs, anchors = detector.inputs(images)
    assert inputs.shape == (2, 8, 16, 3)
    np.testing.assert_array_equal(inputs[:, :6, :15], images)
    for each, image in zip(inputs, images, strict=True):
        mean = np.floor(image.mean(axis=(0, 1)))
        assert (each[6:] == mean).all() and (each[:, 15:] == mean).all()
    assert len(anchors) == 9 * (2 * 4 + 1 * 2)


def test_a_generator_cannot_be_gone_through_twice():
    data = (batch for batch in [squares(4, 0)])
    with pytest.raises(ValueError, match="not a generator"):
        train_detection(small_backbone(), data, squares(4, 1), **SETTINGS)


def test_divergence_is_told():
    network = types.SimpleNamespace(
        predict_on_batch=lambda images: np.full((len(images), 576, 6), np.nan)
    )
    detector = Detector(network, (4,), 4, None)
    with pytest.raises(ValueError, match="The detector diverged"):
        detector.predict(squares(8, 0)["images"])


def test_a_smaller_batch_is_filled_up_and_cut_again():
    """So that the network sees one shape, and gives as many images back."""
    seen = []

    def predict_on_batch(images):
        seen.append(images.shape)
        return np.tile(np.float32([0, 0, 0, 0, 9]), (len(images), 576, 1))

    network = types.SimpleNamespace(predict_on_batch=predict_on_batch)
    detector = Detector(network, (4,), 4, None, batch_size=5)
    images = squares(8, 0)["images"]
    assert len(detector.predict(images)) == 8
    assert seen == [(5, 32, 32, 3)] * 2


def test_batches_of_several_sizes_are_judged():
    """What `evaluate` says is what `predict` finds, whatever the sizes."""

    def predict_on_batch(images):
        # Some anchors as they are, for the first class.
        anchors = 9 * images.shape[1] * images.shape[2] // 16
        outputs = np.full((len(images), anchors, 6), -9.0, np.float32)
        outputs[:, ::7, :4] = 0
        outputs[:, ::7, 4] = 3
        return outputs

    network = types.SimpleNamespace(
        predict_on_batch=predict_on_batch, output_shape=(None, None, 6)
    )
    detector = Detector(network, (4,), 4, None, batch_size=3)
    small, large = squares(6, 0), squares(4, 1)
    large["images"] = np.pad(large["images"], [(0, 0), (0, 6), (0, 10), (0, 0)])
    result = detector.evaluate([small, large])
    found = detector.predict([*small["images"], *large["images"]])
    truth = [
        {key: data[key][i] for key in ("boxes", "box_classes")}
        for data in (small, large)
        for i in range(len(data["images"]))
    ]
    expected = coco_average_precision(found, truth, num_classes=2)
    assert result == pytest.approx(expected, nan_ok=True)
    assert result["ar_100"] > 0


def test_only_images_are_taken():
    detector = Detector(None, (4,), 4, None)
    with pytest.raises(ValueError, match=r"shape \(H, W, C\).*\(32, 32\)"):
        detector.predict(np.zeros((2, 32, 32)))


@pytest.mark.usefixtures("eager")
def test_sources_give_what_arrays_do():
    """And with a size, what `detection_batches` makes of them."""
    arrays = squares(12, 0)
    arrays["box_classes"] = arrays["box_classes"].astype(np.int32)
    settings = {**SETTINGS, "epochs": 1, "learning_rate": 1e-3}
    expected, detector, losses = train_detection(
        small_backbone(), arrays, arrays, **settings
    )
    source = load(arrays)
    again = train_detection(small_backbone(), source, source, **settings)
    np.testing.assert_allclose(again.losses, losses, rtol=1e-5)
    assert again.figures == pytest.approx(expected, nan_ok=True, abs=1e-4)
    pytest.importorskip("tensorflow")
    batches = detection_batches(source, (40, 48), 16)
    assert detector.evaluate(source, size=(40, 48)) == pytest.approx(
        detector.evaluate(batches), nan_ok=True
    )
    fitted = detection_data.as_batches(source, 40, 16, "train")
    whole = detection_batches(source, (40, 40), 16)
    for found, batch in zip(fitted, whole, strict=True):
        for key in ("images", "boxes", "box_classes"):
            np.testing.assert_array_equal(found[key], batch[key])


def test_names_of_classes_count_them(monkeypatch):
    scenes = load("digit_scenes", "train", count=4, boxes=True)
    counted = []

    def count(backbone, num_classes, **options):
        counted.append(num_classes)
        raise InterruptedError

    monkeypatch.setattr(training, "retinanet", count)
    with pytest.raises(InterruptedError):
        train_detection(small_backbone(), scenes, scenes, **SETTINGS, epochs=1)
    assert counted == [10]


def test_sources_that_cannot_be_detected_in():
    arrays = squares(4, 0)
    with pytest.raises(ValueError, match=r"train must have boxes.*`boxes` of"):
        train_detection(
            STRIDES_ONLY, load(arrays["images"]), arrays, **SETTINGS
        )
    with pytest.raises(ValueError, match="size=40 is for what `load` returns"):
        train_detection(STRIDES_ONLY, [arrays], arrays, size=40, **SETTINGS)
