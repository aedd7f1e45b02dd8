"""Average precision of object detection, as COCO defines it."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from keras_vicregl.evaluation.detection.objects import (
    Objects,
    detected_objects,
    is_counted,
    true_objects,
)

AREA_RANGES: dict[str, tuple[float, float]] = {
    "small": (0, 32**2),
    "medium": (32**2, 96**2),
    "large": (96**2, 1e10),
}
"""Names of ranges of area in square pixels, both ends included."""

_ALL_AREAS = (0, 1e10)
_THRESHOLDS = np.linspace(0.5, 0.95, 10)
_RECALLS = np.linspace(0, 1, 101)


def coco_average_precision(
    detections: Sequence[Mapping[str, Any]],
    ground_truth: Sequence[Mapping[str, Any]],
    num_classes: int,
    *,
    max_detections: Sequence[int] = (1, 10, 100),
    area_ranges: Mapping[str, tuple[float, float]] = AREA_RANGES,
) -> dict[str, float]:
    """COCO's average precision and recall, computed by pycocotools.

    In each image and class, detections are given boxes from high score to low:
    each the free one with the highest intersection over union (IoU), if that
    reaches a threshold. Precision, made to fall monotonically, is averaged over
    101 recalls from 0 to 1, then over the classes that have a box in the
    ground truth, and over ten thresholds from 0.5 to 0.95.

    Boxes can be left out of the count. A detection that is given one is neither
    right nor wrong, and none is missed where it is not found. A crowd (COCO's
    `iscrowd`) is given any number of detections, and overlaps by the share of
    the detection that is within it; a difficult box is given one.

    Needs pycocotools: `pip install "keras-vicregl[detection]"`.

    Args:
        detections: For each image a dictionary of arrays: `"boxes"` (D, 4),
            left, top, right and bottom in pixels; `"box_classes"` (D,)
            integers, `"scores"` (D,), the higher the surer. Arrays of length 0
            where nothing was found.
        ground_truth: For each image, in the same order, `"boxes"` (M, 4) and
            `"box_classes"` (M,), and optionally `"box_is_crowd"` (M,) and
            `"box_is_difficult"` (M,) booleans, and `"box_areas"` (M,), which
            decide on the ranges of area instead of the boxes' own (COCO takes
            the area of an object's mask). Boxes of class -1 are padding.
        num_classes: Number of classes.
        max_detections: Ascending numbers of detections, those with the highest
            scores, to count for an image and class. Precision is of the last.
        area_ranges: Names, and smallest and largest area in square pixels.
            Boxes that have another area do not count, nor do detections that
            have and were given no box.

    Returns:
        Fractions: `"ap"`, `"ap50"` and `"ap75"`, at the thresholds 0.5 and
        0.75 only; `"ap_small"` and so on for each range; `"ap_class_0"` and so
        on for each class; `"ar_1"` and so on, the mean over classes and
        thresholds of the recall with `max_detections`, and `"ar_small"` and so
        on. NaN where there is no box to be found.

    Raises:
        ValueError: If an argument is outside what it may be, lists or arrays
            differ in length, boxes are not finite or have no area, classes are
            out of range or scores not finite, or there is no box to be found.
        ImportError: If pycocotools is not installed.

    Example:

    >>> truth = {"boxes": [[0, 0, 10, 10]], "box_classes": [1]}
    >>> found = {
    ...     "boxes": [[0, 0, 10, 8], [20, 0, 30, 10]],
    ...     "box_classes": [1, 1],
    ...     "scores": [0.9, 0.1],
    ... }
    >>> result = coco_average_precision([found], [truth], num_classes=2)
    >>> [round(result[key], 6) for key in ("ap", "ap75", "ap_class_0")]
    [0.7, 1.0, nan]
    """
    counts = _checked_counts(max_detections)
    ranges = {"all": _ALL_AREAS, **_checked_ranges(area_ranges)}
    if num_classes < 1:
        raise ValueError(
            "num_classes must be at least 1. Received: "
            f"num_classes={num_classes}"
        )
    if len(detections) != len(ground_truth):
        raise ValueError(
            "detections and ground_truth must have one entry for each image. "
            f"Received: {len(detections)} and {len(ground_truth)}"
        )
    predicted = [
        detected_objects(each, num_classes, f"detections[{i}]")
        for i, each in enumerate(detections)
    ]
    true = [
        true_objects(each, num_classes, f"ground_truth[{i}]")
        for i, each in enumerate(ground_truth)
    ]
    if not any(is_counted(each).any() for each in true):
        raise ValueError(
            "ground_truth has no box to be found: average precision is not "
            "defined."
        )
    precision, recall = _evaluate(predicted, true, num_classes, counts, ranges)
    return _summary(precision, recall, counts, list(ranges))


def import_pycocotools() -> tuple[type, type]:
    """Its data set and its evaluation.

    Raises:
        ImportError: If it is not installed.
    """
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError as error:
        raise ImportError(
            "Average precision needs pycocotools, not installed here: pip "
            "install pycocotools."
        ) from error
    return COCO, COCOeval


def _evaluate(
    predicted: list[Objects],
    true: list[Objects],
    num_classes: int,
    counts: list[int],
    ranges: Mapping[str, tuple[float, float]],
) -> tuple[np.ndarray, np.ndarray]:
    """Precision (T, R, C, A, M) and recall (T, C, A, M), NaN where undefined.

    By threshold, recall, class, range of area and number of detections.
    """
    COCO, COCOeval = import_pycocotools()

    def data_set(objects: list[Objects]) -> Any:
        coco = COCO()
        coco.dataset = {
            "images": [{"id": i} for i in range(len(objects))],
            "categories": [{"id": i} for i in range(num_classes)],
            "annotations": _annotations(objects),
        }
        coco.createIndex()
        return coco

    # It tells of its progress.
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(data_set(true), data_set(predicted), "bbox")
        parameters = evaluation.params
        parameters.iouThrs = _THRESHOLDS
        parameters.recThrs = _RECALLS
        parameters.maxDets = counts
        parameters.areaRng = list(map(list, ranges.values()))
        parameters.areaRngLbl = list(ranges)
        evaluation.evaluate()
        evaluation.accumulate()
    # It writes -1 where there is no box.
    return tuple(
        np.where(evaluation.eval[key] < 0, np.nan, evaluation.eval[key])
        for key in ("precision", "recall")
    )


def _annotations(objects: list[Objects]) -> list[dict[str, Any]]:
    """What COCO's files have, for boxes of the ground truth or detected."""
    annotations: list[dict[str, Any]] = []
    for image, (boxes, classes, rest) in enumerate(objects):
        sizes = boxes[:, 2:] - boxes[:, :2]
        columns = {
            "bbox": np.hstack([boxes[:, :2], sizes]).tolist(),
            "area": rest.get("box_areas", sizes.prod(axis=1)).tolist(),
            "category_id": classes.tolist(),
        }
        if "scores" in rest:
            columns["score"] = rest["scores"].tolist()
        else:
            columns["iscrowd"] = rest["box_is_crowd"].astype(int).tolist()
            # An area in no range: ignored in each of them, as pycocotools has
            # no other way to tell.
            columns["area"] = np.where(
                rest["box_is_difficult"], np.inf, columns["area"]
            ).tolist()
        for values in zip(*columns.values(), strict=True):
            annotation = dict(zip(columns, values, strict=True))
            # An id of 0 would be taken for "given no box".
            annotation |= {"id": len(annotations) + 1, "image_id": image}
            annotations.append(annotation)
    return annotations


def _summary(
    precision: np.ndarray,
    recall: np.ndarray,
    counts: list[int],
    ranges: list[str],
) -> dict[str, float]:
    precision = precision[..., -1]
    everything = precision[..., 0]
    result = {
        "ap": _mean(everything),
        "ap50": _mean(everything[0]),
        "ap75": _mean(everything[5]),
    }
    for i, name in enumerate(ranges[1:], start=1):
        result[f"ap_{name}"] = _mean(precision[..., i])
    for i in range(everything.shape[2]):
        result[f"ap_class_{i}"] = _mean(everything[..., i])
    for i, count in enumerate(counts):
        result[f"ar_{count}"] = _mean(recall[:, :, 0, i])
    for i, name in enumerate(ranges[1:], start=1):
        result[f"ar_{name}"] = _mean(recall[:, :, i, -1])
    return result


def _mean(values: np.ndarray) -> float:
    """Mean of what is not NaN."""
    values = values[~np.isnan(values)]
    return float(values.mean()) if values.size else float("nan")


def _checked_counts(max_detections: Sequence[int]) -> list[int]:
    counts = list(max_detections)
    if not counts or counts[0] < 1 or counts != sorted(set(counts)):
        raise ValueError(
            "max_detections must be ascending positive integers. Received: "
            f"max_detections={max_detections}"
        )
    return counts


def _checked_ranges(
    area_ranges: Mapping[str, tuple[float, float]],
) -> dict[str, tuple[float, float]]:
    for name, (low, high) in area_ranges.items():
        if not 0 <= low < high < np.inf:
            raise ValueError(
                "area_ranges must be pairs of a smallest and a greater largest "
                f"area, not negative and finite. Received: {name}="
                f"{(low, high)}"
            )
    return dict(area_ranges)
