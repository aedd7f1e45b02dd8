import numpy as np
import pytest

from keras_vicregl.data import (
    ADE20K_LABELS,
    CITYSCAPES_TRAIN_IDS,
    load,
    relabel,
)

IMAGES = np.zeros((2, 4, 5, 3), np.uint8)


def test_ade20k_begins_at_1():
    expected = np.full(256, 255)
    expected[1:151] = np.arange(150)
    np.testing.assert_array_equal(
        relabel(np.arange(256), ADE20K_LABELS), expected
    )


def test_cityscapes_has_19_classes():
    # Published ids of the classes that count, in the published order.
    ids = {
        "road": 7,
        "sidewalk": 8,
        "building": 11,
        "wall": 12,
        "fence": 13,
        "pole": 17,
        "traffic light": 19,
        "traffic sign": 20,
        "vegetation": 21,
        "terrain": 22,
        "sky": 23,
        "person": 24,
        "rider": 25,
        "car": 26,
        "truck": 27,
        "bus": 28,
        "train": 31,
        "motorcycle": 32,
        "bicycle": 33,
    }
    result = relabel(np.arange(256), CITYSCAPES_TRAIN_IDS)
    assert [result[i] for i in ids.values()] == list(range(19))
    assert np.sum(result == 255) == 256 - 19


def test_masks_keep_their_shape():
    masks = np.array([[[1], [2]]], np.uint8)
    result = relabel(masks, {1: 9, 2: 1})
    np.testing.assert_array_equal(result, [[[9], [1]]])
    assert result.dtype == np.uint8


@pytest.mark.parametrize(
    ("masks", "labels", "message"),
    [
        (np.array([-1, 3]), {}, "from 0 to 255. Received: values from -1 to 3"),
        (np.array([256]), {}, "values from 256 to 256"),
        (np.array([0.5]), {}, "integers from 0 to 255. Received: float64"),
        (np.array([0]), {0: -1}, "dictionary of integers.*Received: 0: -1"),
        (np.array([0]), {"a": 1}, "Received: 'a': 1"),
    ],
)
def test_labels_that_cannot_be(masks, labels, message):
    with pytest.raises(ValueError, match=message):
        relabel(masks, labels)


def test_arrays_are_relabelled():
    masks = np.arange(40, dtype=np.uint8).reshape(2, 4, 5, 1)
    source = load(
        {"images": IMAGES, "segmentation_masks": masks},
        mask_labels=CITYSCAPES_TRAIN_IDS,
    )
    np.testing.assert_array_equal(
        source._arrays["segmentation_masks"],
        relabel(masks, CITYSCAPES_TRAIN_IDS),
    )
    with pytest.raises(ValueError, match="there are no masks"):
        load(IMAGES, mask_labels=CITYSCAPES_TRAIN_IDS)


def test_numbers_may_be_text_as_in_json():
    masks = np.array([[[0], [7]]], np.uint8)
    np.testing.assert_array_equal(
        relabel(masks, {"7": 1, "0": 255}), [[[255], [1]]]
    )


def test_nothing_but_ignored_labels_is_an_error():
    masks = np.zeros((2, *IMAGES.shape[1:3], 1), np.uint8)
    with pytest.raises(ValueError, match=r"leaves no class.*ignore_label"):
        load(
            {"images": IMAGES[:2], "segmentation_masks": masks},
            mask_labels={"11": 255},
        )


def test_the_label_of_no_class_is_kept():
    masks = np.zeros((2, *IMAGES.shape[1:3], 1), np.uint8)
    arrays = {"images": IMAGES[:2], "segmentation_masks": masks}
    assert load(arrays, ignore_label="11").ignore_label == 11
    assert load(arrays).ignore_label == 255
