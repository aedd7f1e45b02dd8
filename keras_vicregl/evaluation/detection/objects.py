"""Objects in an image, with their boxes: checks of what is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from keras_vicregl.evaluation.checks import check_range

FLAGS = ("box_is_crowd", "box_is_difficult")


class Objects(NamedTuple):
    """Boxes (M, 4) float64, classes (M,), and what else is known (M,)."""

    boxes: np.ndarray
    classes: np.ndarray
    rest: dict[str, np.ndarray]


def true_objects(
    image: Mapping[str, Any], num_classes: int, name: str
) -> Objects:
    """Objects of the ground truth, without padding and with both flags.

    Args:
        image: See `coco_average_precision`.
        num_classes: Number of classes.
        name: What to call the image in an error.

    Raises:
        ValueError: If they are not as they must be.
    """
    given = [key for key in (*FLAGS, "box_areas") if key in image]
    objects = _objects(image, num_classes, given, name, padded=True)
    absent = np.zeros(len(objects.boxes), bool)
    flags = {key: objects.rest.get(key, absent).astype(bool) for key in FLAGS}
    return objects._replace(rest={**objects.rest, **flags})


def detected_objects(
    image: Mapping[str, Any], num_classes: int, name: str
) -> Objects:
    """Objects with their scores; else as `true_objects`."""
    return _objects(image, num_classes, ["scores"], name)


def is_counted(true: Objects) -> np.ndarray:
    """(M,) booleans: which are neither crowds nor difficult."""
    return ~(true.rest[FLAGS[0]] | true.rest[FLAGS[1]])


def _objects(
    image: Mapping[str, Any],
    num_classes: int,
    keys: Sequence[str],
    name: str,
    padded: bool = False,
) -> Objects:
    """Arrays of an image, as they must be."""
    missing = {"boxes", "box_classes", *keys} - set(image)
    if missing:
        raise ValueError(
            f"{name} must have {', '.join(map(repr, sorted(missing)))}. "
            f"Received the keys {sorted(image)}"
        )
    boxes = np.asarray(image["boxes"], np.float64)
    if not boxes.size:
        boxes = boxes.reshape(0, 4)
    columns = {"box_classes": np.asarray(image["box_classes"])}
    columns |= {key: np.asarray(image[key]) for key in keys}
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(
            f"{name} must have boxes of shape (M, 4). Received: shape "
            f"{boxes.shape}"
        )
    for key, column in columns.items():
        if column.shape != boxes.shape[:1]:
            raise ValueError(
                f"{name} must have {key} of shape {boxes.shape[:1]}, one for "
                f"each of its boxes. Received: shape {column.shape}"
            )
    classes = columns.pop("box_classes")
    if classes.size and not np.issubdtype(classes.dtype, np.integer):
        raise ValueError(
            f"box_classes of {name} must be integers. Received: {classes.dtype}"
        )
    kept = classes != -1 if padded else np.ones(len(boxes), bool)
    boxes, classes = boxes[kept], classes[kept].astype(int)
    columns = {key: column[kept] for key, column in columns.items()}
    check_range(classes, num_classes, f"box_classes of {name}")
    _check_boxes(boxes, name)
    for key, column in columns.items():
        if not np.isfinite(column).all():
            raise ValueError(
                f"{key} of {name} must be finite. Received: {column}"
            )
    return Objects(boxes, classes, columns)


def _check_boxes(boxes: np.ndarray, name: str) -> None:
    """Raises a ValueError unless boxes (M, 4) are finite and have an area."""
    good = np.isfinite(boxes).all(axis=1)
    good &= (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    if not good.all():
        raise ValueError(
            f"boxes of {name} must be finite (left, top, right, bottom), right "
            "greater than left and bottom than top. Received: "
            f"{boxes[~good][0].tolist()}"
        )
