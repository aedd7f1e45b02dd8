import sys

import numpy as np
import pytest
from coco_reference import average_precision

from keras_vicregl.evaluation import coco_average_precision

pytest.importorskip("pycocotools")

THRESHOLDS = np.linspace(0.5, 0.95, 10)
RANGES = {"all": (0, 1e10), "tiny": (0, 150), "large": (150, 1000)}
COUNTS = (1, 3, 20)


def random_boxes(rng, count):
    corners = rng.integers(0, 60, (count, 2))
    return np.hstack([corners, corners + rng.integers(4, 24, (count, 2))])


def random_images(seed, count=12, classes=5):
    """Detections near the boxes and elsewhere, with many equal scores.

    There is no box of the last class, the third image has no box, and in the
    fourth nothing is detected.
    """
    rng = np.random.default_rng(seed)
    detections, truth = [], []
    for i in range(count):
        number = 0 if i == 2 else rng.integers(1, 7)
        boxes = random_boxes(rng, number).astype(float)
        true = {
            "boxes": boxes,
            "box_classes": rng.integers(0, classes - 1, number),
            "box_is_crowd": rng.random(number) < 0.2,
            "box_is_difficult": rng.random(number) < 0.2,
        }
        if i % 2:
            true["box_areas"] = rng.uniform(50, 300, number)
        near = np.repeat(boxes, 3, axis=0)
        near[:, 2:] += rng.integers(-3, 4, near[:, 2:].shape)
        found = np.concatenate([near, random_boxes(rng, 8)])
        found_classes = np.concatenate(
            [np.repeat(true["box_classes"], 3), rng.integers(0, classes, 8)]
        )
        kept = rng.random(len(found)) < (0.0 if i == 3 else 0.8)
        found = {"boxes": found[kept], "box_classes": found_classes[kept]}
        found["scores"] = rng.integers(1, 8, kept.sum()) / 8
        detections.append(found)
        truth.append(true)
    return detections, truth


@pytest.mark.parametrize("seed", range(3))
def test_random_detections_against_another_implementation(seed):
    detections, truth = random_images(seed)
    values = {
        name: np.array(
            [
                [
                    average_precision(detections, truth, label, t, area, count)
                    for t in THRESHOLDS
                ]
                for label in range(5)
            ]
        )
        for name, area, count in [
            *((name, area, COUNTS[-1]) for name, area in RANGES.items()),
            *((count, RANGES["all"], count) for count in COUNTS),
        ]
    }
    assert np.isnan(values["all"][4]).all()
    expected = {
        "ap": np.nanmean(values["all"][..., 0]),
        "ap50": np.nanmean(values["all"][:, 0, 0]),
        "ap75": np.nanmean(values["all"][:, 5, 0]),
        "ap_tiny": np.nanmean(values["tiny"][..., 0]),
        "ap_large": np.nanmean(values["large"][..., 0]),
        "ar_tiny": np.nanmean(values["tiny"][..., 1]),
        "ar_large": np.nanmean(values["large"][..., 1]),
    }
    for label in range(4):
        expected[f"ap_class_{label}"] = values["all"][label, :, 0].mean()
    for count in COUNTS:
        expected[f"ar_{count}"] = np.nanmean(values[count][..., 1])
    ranges = {name: RANGES[name] for name in ("tiny", "large")}
    result = coco_average_precision(
        detections, truth, 5, max_detections=COUNTS, area_ranges=ranges
    )
    assert np.isnan(result.pop("ap_class_4"))
    assert result.keys() == expected.keys()
    assert 0.05 < result["ap"] < 0.95
    # Both are in float64. pycocotools adds 2e-16 to what it divides by.
    for key, value in expected.items():
        assert result[key] == pytest.approx(value, abs=1e-12), key


BOX = [10.0, 10.0, 30.0, 50.0]
TRUTH = {"boxes": [BOX], "box_classes": [0]}


def found(*boxes, scores=None, classes=None):
    """Detections, the first with the highest score."""
    count = len(boxes)
    return {
        "boxes": np.reshape(boxes, (count, 4)),
        "box_classes": np.array(classes or [0] * count, int),
        "scores": np.array(scores or np.linspace(1, 0.5, count)),
    }


def test_known_values():
    """By hand: of two boxes one is found, behind one false alarm."""
    truth = {"boxes": [BOX, [60, 60, 90, 90]], "box_classes": [0, 0]}
    detections = found([0, 0, 5, 5], BOX)
    result = coco_average_precision([detections], [truth], 1)
    # Precision is 1/2 at the recalls 0 to 0.5, 51 of 101, and 0 at others.
    assert result["ap"] == pytest.approx(51 / 202)
    assert result["ar_1"] == 0 and result["ar_10"] == result["ar_100"] == 0.5
    # 20 x 40 pixels are small, 30 x 30 as well.
    assert np.isnan(result["ap_medium"]) and np.isnan(result["ap_large"])


def test_thresholds_include_the_overlap_itself():
    half = [10, 10, 30, 30]  # IoU exactly 0.5
    result = coco_average_precision([found(half)], [TRUTH], 1)
    assert result["ap50"] == pytest.approx(1) and result["ap75"] == 0
    assert result["ap"] == pytest.approx(0.1)


def test_nothing_detected_is_zero():
    result = coco_average_precision([found()], [TRUTH], 2)
    assert result["ap"] == 0 and np.isnan(result["ap_class_1"])


def test_images_without_detections_count():
    detections, truth = [found(BOX), found()], [TRUTH, TRUTH]
    result = coco_average_precision(detections, truth, 1)
    assert result["ap50"] == pytest.approx(51 / 101)


def test_false_alarms_in_images_without_objects_count():
    empty = {"boxes": [], "box_classes": []}
    detections = [found(BOX, scores=[0.9]), found(BOX, scores=[0.8])]
    result = coco_average_precision(detections, [empty, TRUTH], 1)
    assert result["ap50"] == pytest.approx(0.5)


def test_a_second_detection_of_a_box_is_false():
    detections = found(BOX, BOX, [60, 60, 90, 90])
    truth = {"boxes": [BOX, [60, 60, 90, 90]], "box_classes": [0, 0]}
    result = coco_average_precision([detections], [truth], 1)
    assert result["ap50"] == pytest.approx((51 + 50 * 2 / 3) / 101)


@pytest.mark.parametrize(
    ("flag", "misses"), [("box_is_crowd", 0), ("box_is_difficult", 1)]
)
def test_what_is_left_out_of_the_count(flag, misses):
    """A crowd takes all detections within it, a difficult box one of them."""
    truth = {
        "boxes": [[50, 50, 90, 90], BOX],
        "box_classes": [0, 0],
        flag: [True, False],
    }
    other = [50, 50, 90, 88]
    detections = found(other, other, BOX)
    result = coco_average_precision([detections], [truth], 1)
    assert result["ap"] == pytest.approx(1 / (1 + misses))
    part = [50, 50, 60, 60]  # within the crowd, but not much of it
    result = coco_average_precision([found(part, BOX)], [truth], 1)
    assert result["ap"] == pytest.approx(1.0 if not misses else 0.5)


def test_padding_is_no_object():
    padded = {
        "boxes": [BOX, [0.0, 0.0, 0.0, 0.0]],
        "box_classes": np.array([0, -1]),
    }
    result = coco_average_precision([found(BOX)], [padded], 1)
    assert result["ap"] == pytest.approx(1) and result["ar_1"] == 1


def test_it_says_nothing(capsys):
    coco_average_precision([found(BOX)], [TRUTH], 1)
    assert capsys.readouterr() == ("", "")


def broken(**changes):
    return {**found(BOX), **changes}


@pytest.mark.parametrize(
    ("detections", "truth", "options", "message"),
    [
        (found(BOX), TRUTH, {"num_classes": 0}, "num_classes must be at least"),
        (found(BOX), TRUTH, {"max_detections": (10, 1)}, "must be ascending"),
        (found(BOX), TRUTH, {"max_detections": ()}, "must be ascending"),
        (found(BOX), TRUTH, {"area_ranges": {"a": (5, 2)}}, r"a=\(5, 2\)"),
        (broken(boxes=[[0, 0, 1]]), TRUTH, {}, r"detections\[0\].*\(M, 4\)"),
        (broken(scores=[0.1, 0.2]), TRUTH, {}, r"scores of shape \(1,\)"),
        (broken(scores=[np.nan]), TRUTH, {}, r"scores of detections\[0\] must"),
        (broken(scores=[np.inf]), TRUTH, {}, "must be finite"),
        (broken(box_classes=[0.0]), TRUTH, {}, "must be integers.*float64"),
        (broken(box_classes=[3]), TRUTH, {}, "values from 3 to 3"),
        (broken(box_classes=[-1]), TRUTH, {}, "values from -1 to -1"),
        (broken(boxes=[[5, 5, 5, 9]]), TRUTH, {}, "right greater than left"),
        (broken(boxes=[[5, 9, 8, 5]]), TRUTH, {}, "bottom than top"),
        (broken(boxes=[[0, 0, np.nan, 1]]), TRUTH, {}, "must be finite"),
        ({"boxes": [BOX]}, TRUTH, {}, "must have 'box_classes', 'scores'"),
        (found(BOX), {"boxes": [BOX]}, {}, r"ground_truth\[0\] must have"),
        (found(BOX), {**TRUTH, "box_classes": [-2]}, {}, "values from -2"),
        (found(BOX), {**TRUTH, "box_areas": [np.inf]}, {}, "box_areas of"),
        (found(BOX), {**TRUTH, "box_is_crowd": [True]}, {}, "no box to be fo"),
        (found(BOX), {**TRUTH, "box_classes": [-1]}, {}, "no box to be found"),
    ],
)
def test_bad_input(detections, truth, options, message):
    options = {"num_classes": 2, **options}
    with pytest.raises(ValueError, match=message):
        coco_average_precision([detections], [truth], **options)


def test_as_many_images_on_both_sides():
    with pytest.raises(ValueError, match="Received: 2 and 1"):
        coco_average_precision([found(BOX)] * 2, [TRUTH], 1)


def test_missing_pycocotools_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pycocotools.coco", None)
    with pytest.raises(ImportError, match="pip install pycocotools"):
        coco_average_precision([found(BOX)], [TRUTH], 1)
