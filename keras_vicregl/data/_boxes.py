"""Bounding boxes of objects, as examples have them."""

from __future__ import annotations

import numpy as np

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
