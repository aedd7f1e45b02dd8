"""From the labels in files of masks to classes from 0 onwards."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

IGNORED = 255
"""The label of pixels that neither train nor count."""

ADE20K_LABELS = {label: label - 1 for label in range(1, 151)}
"""ADE20k (scene parsing): 150 classes from 1 on; 0 is "other", ignored."""

_CITYSCAPES_IDS = (
    *(7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32),
    33,
)
CITYSCAPES_TRAIN_IDS = {label: i for i, label in enumerate(_CITYSCAPES_IDS)}
"""Cityscapes' `labelIds` of the 19 classes that count: road (7) to bicycle."""


def relabel(masks: np.ndarray, labels: Mapping[int, int]) -> np.ndarray:
    """Masks with other labels.

    Args:
        masks: Integers in 0 to 255, any shape.
        labels: What labels become, integers in 0 to 255. A label that is not in
            it becomes 255, which is ignored.

    Returns:
        uint8 of the same shape.

    Raises:
        ValueError: If an integer is out of range, or masks are not integers.

    Example:

    >>> relabel(np.array([0, 1, 150, 255]), ADE20K_LABELS)
    array([255,   0, 149, 255], dtype=uint8)
    >>> relabel(np.array([7, 33, 10]), CITYSCAPES_TRAIN_IDS)
    array([  0,  18, 255], dtype=uint8)
    """
    masks = np.asarray(masks)
    if not np.issubdtype(masks.dtype, np.integer) or (
        masks.size and (masks.min() < 0 or masks.max() > 255)
    ):
        raise ValueError(
            "masks must be integers from 0 to 255. Received: "
            + (
                f"values from {masks.min()} to {masks.max()}"
                if np.issubdtype(masks.dtype, np.integer)
                else f"{masks.dtype}"
            )
        )
    return label_table(labels)[masks]


def label_table(labels: Mapping[Any, int]) -> np.ndarray:
    """What each of the labels 0 to 255 becomes, (256,) uint8.

    Numbers may come as text, for JSON has no others as keys.
    """
    if not isinstance(labels, Mapping):
        raise ValueError(
            "mask_labels must be a dictionary of integers from 0 to 255. "
            f"Received: {labels!r}"
        )
    table = np.full(256, IGNORED, np.uint8)
    for old, new in labels.items():
        before, after = _label(old), _label(new)
        if before is None or after is None:
            raise ValueError(
                "mask_labels must be a dictionary of integers from 0 to 255. "
                f"Received: {old!r}: {new!r}"
            )
        table[before] = after
    if (table == IGNORED).all():
        raise ValueError(
            f"mask_labels={dict(labels)!r} leaves no class: labels that are "
            f"not in it become {IGNORED}, which is ignored. To leave out one "
            "label and keep the others pass ignore_label instead."
        )
    return table


def check_ignore_label(label: int | str | None) -> int:
    """The label of pixels of no class; None is 255.

    Raises:
        ValueError: If it is not one.
    """
    number = IGNORED if label is None else _label(label)
    if number is None:
        raise ValueError(
            "ignore_label must be an integer from 0 to 255. Received: "
            f"ignore_label={label!r}"
        )
    return number


def _label(value: int | str) -> int | None:
    """A label as a number, or None if it is not one."""
    if isinstance(value, str) and value.isdecimal():
        value = int(value)
    return int(value) if value in range(256) else None
