"""Bounding boxes of objects, as examples have them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import tensorflow as tf

BOXES = "boxes"
BOX_CLASSES = "box_classes"
BOX_IS_CROWD = "box_is_crowd"
BOX_IS_DIFFICULT = "box_is_difficult"
BOX_AREAS = "box_areas"

BOX_KEYS = (BOXES, BOX_CLASSES, BOX_IS_CROWD, BOX_IS_DIFFICULT, BOX_AREAS)


def tight_boxes(instances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The smallest boxes around the pixels of each object.

    Args:
        instances: (H, W) integers: the number of the object at a pixel, 0 for
            none.

    Returns:
        (M, 4) float32, left, top, right and bottom, right and bottom exclusive,
        and (M,) integers, the numbers that these objects have, ascending.

    Example:

    >>> tight_boxes(np.array([[0, 3, 3], [0, 0, 3]]))
    (array([[1., 0., 3., 2.]], dtype=float32), array([3]))
    """
    rows, columns = np.nonzero(instances)
    numbers, objects = np.unique(instances[rows, columns], return_inverse=True)
    boxes = np.empty((len(numbers), 4), np.float32)
    boxes[:, :2] = np.inf
    boxes[:, 2:] = -np.inf
    np.minimum.at(boxes[:, 0], objects, columns)
    np.minimum.at(boxes[:, 1], objects, rows)
    np.maximum.at(boxes[:, 2], objects, columns + 1)
    np.maximum.at(boxes[:, 3], objects, rows + 1)
    return boxes, numbers


def check_box_arrays(
    arrays: Mapping[str, np.ndarray], count: int
) -> dict[str, np.ndarray]:
    """The arrays of boxes in a dictionary, as they must be.

    Args:
        arrays: Perhaps with `"boxes"` (N, M, 4), `"box_classes"` (N, M) and
            further ones of `BOX_KEYS`, (N, M).
        count: N.

    Returns:
        The same, boxes as float32 and classes as int32.

    Raises:
        ValueError: If they are not.
    """
    found = {key: np.asarray(arrays[key]) for key in BOX_KEYS if key in arrays}
    if not found:
        return {}
    if BOXES not in found or BOX_CLASSES not in found:
        raise ValueError(
            f"{BOXES!r} and {BOX_CLASSES!r} must come together. Received: "
            f"{', '.join(map(repr, found))}"
        )
    shape = (count, *found[BOXES].shape[1:2])
    for key, value in found.items():
        expected = (*shape, 4) if key == BOXES else shape
        if value.shape != expected or len(shape) != 2:
            raise ValueError(
                f"{BOXES} must have the shape ({count}, M, 4), the rest "
                f"({count}, M). Received: {key} of shape {value.shape}"
            )
    if not np.issubdtype(found[BOX_CLASSES].dtype, np.integer):
        raise ValueError(
            f"{BOX_CLASSES} must be integers. Received: "
            f"{found[BOX_CLASSES].dtype}"
        )
    return {
        **found,
        BOXES: found[BOXES].astype(np.float32),
        BOX_CLASSES: found[BOX_CLASSES].astype(np.int32),
    }


def packed(objects: Mapping[str, tf.Tensor], label: str | None) -> tf.Tensor:
    """Objects of TFDS as one scalar string.

    Data sets of such scalars can be put into batches, however many objects
    there are in an image.

    Args:
        objects: `"bbox"` (M, 4), top, left, bottom and right as fractions of
            height and width; and perhaps `"is_crowd"`, `"is_difficult"` and
            `"area"` (M,).
        label: Key of the classes; None: all are 0.
    """
    from keras_vicregl._tensorflow import tf

    top, left, bottom, right = tf.unstack(objects["bbox"], axis=-1)
    absent = tf.zeros_like(top)
    given = {
        BOX_CLASSES: absent if label is None else objects[label],
        BOX_IS_CROWD: objects.get("is_crowd", absent),
        BOX_IS_DIFFICULT: objects.get("is_difficult", absent),
        BOX_AREAS: objects.get("area", absent * np.nan),
    }
    columns = [left, top, right, bottom, *given.values()]
    # All are whole numbers below 2^24, or fractions that are float32 already.
    table = tf.stack([tf.cast(each, tf.float32) for each in columns], axis=-1)
    return tf.io.serialize_tensor(table)


def unpacked(data: tf.Tensor, size: tf.Tensor) -> dict[str, tf.Tensor]:
    """Objects in pixels, from what `packed` made.

    Args:
        data: Scalar string.
        size: Height and width of the image.

    Returns:
        All of `BOX_KEYS`, of those boxes that have an area. Without areas of
        their own they have those of the boxes.
    """
    from keras_vicregl._tensorflow import tf

    table = tf.io.parse_tensor(data, tf.float32)
    table = tf.reshape(table, (-1, 8))
    height, width = tf.unstack(tf.cast(size, tf.float32))
    boxes = table[:, :4] * tf.stack([width, height, width, height])
    sides = boxes[:, 2:] - boxes[:, :2]
    has_area = tf.reduce_all(sides > 0, axis=1)
    areas = tf.where(
        tf.math.is_nan(table[:, 7]), tf.reduce_prod(sides, axis=1), table[:, 7]
    )
    objects = {
        BOXES: boxes,
        BOX_CLASSES: tf.cast(table[:, 4], tf.int32),
        BOX_IS_CROWD: table[:, 5] > 0,
        BOX_IS_DIFFICULT: table[:, 6] > 0,
        BOX_AREAS: areas,
    }
    return {k: tf.boolean_mask(v, has_area) for k, v in objects.items()}


def without_boxes(example: Mapping[str, Any]) -> dict[str, Any]:
    """An example, or arrays, without what is known of objects."""
    return {k: v for k, v in example.items() if k not in BOX_KEYS}
