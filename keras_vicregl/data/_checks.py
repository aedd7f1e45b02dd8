"""Checks of the arguments that functions of this folder have in common."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_vicregl._warnings import warn
from keras_vicregl.data.decoding.forms import Form
from keras_vicregl.views.keys import IMAGES, LABELS, MASKS, NO_LABEL
from keras_vicregl.views.values import (
    DTYPES,
    MOST_BEYOND,
    beyond,
    check_finite,
    looks_channels_first,
    told_beyond,
    unknown_range,
    unmasked,
    warn_of_axes,
)

# From arrays of other dtypes to images, by their kind.
_WAYS = {
    **dict.fromkeys("iuf", "images.astype('float32')"),
    "b": "images.astype('uint8') * 255",
    "O": "np.stack(images), where all have one size",
}
# Images whose values are looked at, evenly spread.
_LOOKED_AT = 16


def check_integer(name: str, value: Any, smallest: int) -> int:
    """Return `value` if it is a whole number of at least `smallest`."""
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or number < smallest:
        raise ValueError(
            f"{name} must be an integer of at least {smallest}. "
            f"Received: {name}={value!r}"
        )
    return number


def check_pair(name: str, value: Any, meaning: str) -> tuple[int, int]:
    """Return `value` if it is a pair of whole numbers of at least 0."""
    try:
        first, second = (operator.index(number) for number in value)
    except (TypeError, ValueError):
        first = second = -1
    if min(first, second) < 0:
        raise ValueError(
            f"{name} must be a pair of integers of at least 0, {meaning}. "
            f"Received: {name}={value!r}"
        )
    return first, second


def check_start(start: Any, steps: int) -> tuple[int, int]:
    """Return `start` if it is a position in epochs of so many steps."""
    epoch, step = check_pair("start", start, "epoch and step")
    if 0 <= steps < step:
        raise ValueError(
            f"start must be a position within an epoch, of {steps} steps. "
            f"Received: start={start!r}. Are batch_size, data and "
            "drop_remainder those of the run that is to go on?"
        )
    # The end of an epoch is the beginning of the next one.
    return (epoch + 1, 0) if step == steps else (epoch, step)


def check_fixed(fixed: Any, step: int) -> bool:
    """Return whether each iteration is the same, which is then a whole one."""
    if fixed and step:
        raise ValueError(
            "fixed=True repeats a whole epoch: start must have the step 0. "
            f"Received: a start at step {step}"
        )
    return bool(fixed)


def check_shard(
    shard: Any, batch_size: int, drop_remainder: bool
) -> tuple[int, int]:
    """Return `shard` if batches can be divided between so many processes."""
    index, count = check_pair("shard", shard, "number and count of processes")
    if index >= count:
        raise ValueError(
            "shard must be (index, count) with 0 <= index < count. "
            f"Received: shard={shard!r}"
        )
    if batch_size % count:
        raise ValueError(
            f"batch_size={batch_size}, the examples of all processes together, "
            f"does not divide by the {count} of shard={shard!r}."
        )
    if count > 1 and not drop_remainder:
        raise ValueError(
            "drop_remainder=False would give the last batch's processes "
            "different numbers of examples. Leave it True, or shard=(0, 1)."
        )
    return index, count


def check_example(
    example: Any, form: Form, keys: Sequence[str] = (IMAGES,)
) -> None:
    """Raises a ValueError unless an example of a source has its form.

    Args:
        example: What `example` returned.
        form: Channels and dtype of the source.
        keys: What there must be.
    """
    missing = [key for key in keys if key not in example]
    if missing:
        raise ValueError(
            f"`example` must return {', '.join(map(repr, keys))}, of which "
            f"{', '.join(map(repr, missing))} are missing"
        )
    for key in keys:
        unmasked(example[key], f"{key!r} of `example`")
    if MASKS in example:
        check_masks(example[MASKS], f"{MASKS!r} of `example`")
    label = np.asarray(example.get(LABELS, NO_LABEL))
    if label.dtype.kind not in "iu":
        raise ValueError(
            f"{LABELS!r} of `example` must be an integer, not "
            f"{example[LABELS]!r}"
        )
    image = np.asarray(example[IMAGES])
    received = f"not {image.dtype} of shape {image.shape}"
    if image.ndim != 3 or image.dtype.name not in DTYPES:
        raise ValueError(
            "`example` must return images (H, W, C) of uint8, uint16 or "
            f"float32, {received}"
        )
    if Form(image.shape[2], image.dtype.name) != form:
        raise ValueError(
            f"`example` must return images (H, W, {form.channels}) "
            f"{form.dtype}, the channels and dtype of the source, {received}"
        )
    check_finite(image)


def check_masks(masks: Any, what: str = MASKS) -> None:
    """Raises a ValueError unless masks have labels that uint8 can hold.

    Args:
        masks: An array of labels.
        what: What to call it.
    """
    masks = np.asarray(masks)
    if masks.dtype in (np.uint8, bool) or not masks.size:
        return
    received = f"{masks.dtype}"
    if masks.dtype.kind in "iu":
        low, high = int(masks.min()), int(masks.max())
        if low >= 0 and high <= 255:
            return
        received = f"{received} of {low} to {high}"
    raise ValueError(
        f"{what} must be labels of 0 to 255, integers, of which ignore_label "
        f"(255) means no class. Received: {received}"
    )


def check_images(shape: tuple[int, ...], dtype: Any) -> None:
    """Raises a ValueError unless arrays may be images (N, H, W, C)."""
    received = (
        "images must be uint8 of shape (N, H, W, 3), or of uint16, float32 and "
        f"other channels C. Received: {dtype} of shape {shape}"
    )
    if len(shape) == 3:
        way = "Of images of one channel pass images[..., None]"
        if shape[-1] in (1, 3, 4):
            way = f"Of one image pass image[None]; {way[0].lower()}{way[1:]}"
        raise ValueError(f"{received}. {way}.")
    if len(shape) != 4 or 0 in shape:
        raise ValueError(received)
    if looks_channels_first(shape):
        raise ValueError(
            f"{received}, whose channels seem to come first. Pass "
            "np.moveaxis(images, 1, -1)."
        )
    warn_of_axes(shape, "np.moveaxis(images, 1, -1)")
    if np.dtype(dtype).name not in DTYPES:
        way = _WAYS.get(np.dtype(dtype).kind, "numbers")
        raise ValueError(f"{received}. Pass {way}.")


def check_recipe(
    views: Any, name: str, form: Form, shape: tuple[int, ...] | None = None
) -> None:
    """Raises a ValueError unless a recipe is for images of a form.

    Args:
        views: The recipe, a `MultiView`.
        name: What to call the data.
        form: Channels and dtype of all images.
        shape: Of all of them, where it is known.
    """
    if form.channels != views.channels:
        of_shape = "" if shape is None else f" of shape {shape}"
        raise ValueError(
            f"{name} has images of {form.channels} channels, {form.dtype}"
            f"{of_shape}, and multi_view makes views of {views.channels}: "
            f"MultiView(channels={form.channels}), or MultiView.for_channels."
        )
    on_device = views.on == "device"
    if views.value_range is None and (
        form.dtype == "uint16" or (on_device and form.dtype != "uint8")
    ):
        raise ValueError(unknown_range(form.dtype))


class ImageCheck:
    """What a recipe takes of images, checked and said once.

    Args:
        views: the recipe, a `MultiView`.
        images: (N, H, W, C), all of them; of some the values are looked at.
        name: what to call the data.

    Raises:
        ValueError: if the recipe is for other channels, or does not tell the
            range of such values; or if values are not finite.
    """

    def __init__(self, views: Any, images: Any, name: str) -> None:
        shape, dtype = tuple(images.shape), np.dtype(images.dtype).name
        check_recipe(views, name, Form(shape[-1], dtype), shape)
        self._name = name
        self._is_float = np.dtype(dtype).kind == "f"
        some = np.linspace(0, len(images) - 1, min(len(images), _LOOKED_AT))
        some = np.asarray(images[np.unique(some.astype(int))])
        self(some)
        if views.value_range is None:
            return
        share, low, high = beyond(some, views.value_range)
        if share > MOST_BEYOND:
            warn(told_beyond(share, low, high, views.value_range))

    def __call__(self, images: np.ndarray, rows: Any = None) -> None:
        """Raises a ValueError where values of a batch are not finite."""
        # A sum is not finite if a value is not, and quicker.
        if not self._is_float or np.isfinite(images.sum(dtype="float64")):
            return
        bad = ~np.isfinite(images).all(axis=(1, 2, 3))
        where = np.flatnonzero(bad) if rows is None else rows[bad]
        raise ValueError(
            f"images must be finite. {self._name} has NaN or infinite values"
            + ("" if rows is None else f" in example {int(where[0])}")
            + ": replace them, as np.nan_to_num does, or leave these out."
        )


def check_labels(
    labels: Any, count: int, class_names: Sequence[str] | None
) -> tuple[np.ndarray, int]:
    """Labels as (count,) int32, -1 for none, and the number of classes."""
    labels = np.asarray(labels)
    if labels.shape != (count,) or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f"labels must be {count} integers, one an image. Received: "
            f"{labels.dtype} of shape {labels.shape}{_advice(labels, count)}"
        )
    low, high = int(labels.min()), int(labels.max())
    classes = high + 1 if class_names is None else len(class_names)
    if high > np.iinfo(np.int32).max:
        raise ValueError(
            "labels must be numbers of classes, from 0 on. Received: labels up "
            f"to {high}. np.unique(labels, return_inverse=True) numbers them."
        )
    if low < NO_LABEL or high >= classes or not classes:
        limit = (
            "at least 0"
            if class_names is None
            else f"in 0..{classes - 1}, the indices of class_names"
        )
        raise ValueError(
            f"labels must be {limit}, or {NO_LABEL} where there is none. "
            f"Received: labels from {low} to {high} (no labels at all: pass "
            "labels=False)"
        )
    return labels.astype(np.int32), classes


def _advice(labels: np.ndarray, count: int) -> str:
    """How to make integers of labels."""
    if labels.shape == (count, 1):
        return ". Pass labels[:, 0]."
    if labels.ndim == 2 and len(labels) == count:
        return ". Of one-hot labels pass labels.argmax(axis=1)."
    if labels.shape == (count,) and labels.dtype.kind in "USO":
        return (
            ". names, labels = np.unique(labels, return_inverse=True) numbers "
            "them; pass the names as class_names."
        )
    return ""
