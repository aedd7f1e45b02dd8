"""Batches of images with boxes, checked, for training and test."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from keras_vicregl.data.sources.arrays import ArraySource, as_source
from keras_vicregl.data.sources.image_source import ImageSource
from keras_vicregl.evaluation.checks import count_classes
from keras_vicregl.evaluation.detection.objects import (
    FLAGS,
    Objects,
    is_counted,
    true_objects,
)
from keras_vicregl.evaluation.features.batches import Data, batches, check_key
from keras_vicregl.evaluation.features.given import check_source
from keras_vicregl.evaluation.features.image_batches import common_size

# Pixels that boxes may reach beyond their image: they have been rounded.
_TOLERANCE = 0.1
# Bytes of decoded images that are shuffled among.
_SHUFFLED = 2**30
_NEEDED = ("boxes", "box_classes")
_KEYS = ("images", *_NEEDED, *FLAGS, "box_areas")


class Survey(NamedTuple):
    """What is known of training data that has been gone through once."""

    steps: int
    num_classes: int


class Batch(NamedTuple):
    """Images (B, H, W, C), and for each its objects, as given and checked."""

    images: np.ndarray
    annotations: list[dict[str, np.ndarray]]
    objects: list[Objects]


def as_batches(
    data: Data | ImageSource,
    size: int | tuple[int, int] | None,
    batch_size: int,
    name: str,
    *,
    shuffle: bool = False,
    seed: int = 0,
) -> Data:
    """Arrays or batches of a source; all else as it is, unless it has a size.

    Args:
        data: See `train_detection`.
        size: Height and width that images are fitted into, or one number for
            both. None: they stay as they are.
        batch_size: Of batches that are made here.
        name: What to call the data in an error.
        shuffle: Whether these are in another order in each iteration: among as
            many decoded images as fit into a gigabyte.
        seed: Of that.

    Raises:
        ValueError: If a source has no boxes, its images may differ in size and
            none is given, or it is given for batches.
    """
    if size is not None:
        check_source(data, name, f"size={size}")
        data = as_source(data)
        size = (size, size) if isinstance(size, int) else (size[0], size[1])
    if not isinstance(data, ImageSource):
        return data
    if not data.has_boxes:
        raise ValueError(
            f"{name} must have boxes. Received: {data!r}; see `boxes` of "
            "`load`."
        )
    if size is None and isinstance(data, ArraySource):
        return data._arrays
    size = size or common_size(data)
    if size is None:
        raise ValueError(
            f"size must be given: the images of {data!r} may differ in size."
        )
    from keras_vicregl.data import detection_batches

    most = _SHUFFLED // (3 * size[0] * size[1])
    return detection_batches(
        data,
        size,
        batch_size,
        shuffle=min(len(data), max(most, 1)) if shuffle else 0,
        seed=seed,
    )


def survey(data: Data, batch_size: int, num_classes: int | None) -> Survey:
    """Goes through training data once, before anything is trained.

    Raises:
        ValueError: If they are not as they must be, there is none, or no box
            in them.
    """
    sizes, boxes, largest = [], 0, 1
    for batch in annotated(data, batch_size, num_classes, "train"):
        sizes.append(len(batch.images))
        for each in batch.objects:
            boxes += int(is_counted(each).sum())
            largest = max(largest, count_classes(each.classes))
    images, steps = sum(sizes), len(sizes)
    if not images:
        raise ValueError("train is empty: it has no images.")
    if not boxes:
        raise ValueError("train has no box to learn from.")
    if isinstance(data, Mapping):
        steps = images // min(batch_size, images)
    return Survey(steps, num_classes or largest)


def shuffled(
    data: Data, batch_size: int, num_classes: int, rng: np.random.Generator
) -> Iterator[Batch]:
    """Batches of an epoch, those of arrays in another order and all full.

    Raises:
        ValueError: If there is none, since an iterable gave its last ones in
            the epoch before.
    """
    some = False
    for batch in _shuffled(data, batch_size, rng):
        some = True
        yield _checked(batch, num_classes, "train", 0)
    if not some:
        raise ValueError(
            "train had no batches when it was gone through again. Pass a "
            "dictionary of arrays, a list or a tf.data.Dataset, not a "
            "generator."
        )


def annotated(
    data: Data, batch_size: int, num_classes: int | None, name: str
) -> Iterator[Batch]:
    """All batches in order.

    Args:
        data: See `train_detection`.
        batch_size: Of what comes as arrays.
        num_classes: None accepts any class.
        name: What to call the data in an error.

    Raises:
        ValueError: If they are not as they must be.
    """
    first = 0
    for batch in batches(_chosen(data), batch_size):
        yield _checked(batch, num_classes, name, first)
        first += len(batch["images"])


def _shuffled(
    data: Data, batch_size: int, rng: np.random.Generator
) -> Iterator[dict[str, np.ndarray]]:
    if not isinstance(data, Mapping):
        yield from batches(data, batch_size)
        return
    chosen: Any = _chosen(data)
    data = {key: np.asarray(value) for key, value in chosen.items()}
    count = len(data["images"])
    size = min(batch_size, count)
    order = rng.permutation(count)
    for start in range(0, count - size + 1, size):
        rows = order[start : start + size]
        yield {key: value[rows] for key, value in data.items()}


def _chosen(data: Data) -> Data:
    """Arrays that are of use; an iterable as it is."""
    if not isinstance(data, Mapping):
        return data
    return {key: data[key] for key in _KEYS if key in data}


def _checked(
    batch: Mapping[str, np.ndarray],
    num_classes: int | None,
    name: str,
    first: int,
) -> Batch:
    """A batch, if it is as it must be; its first image has that number."""
    for key in _NEEDED:
        check_key(batch, key, name)
    images = batch["images"]
    keys = [key for key in _KEYS[1:] if key in batch]
    classes = np.asarray(batch["box_classes"])
    limit = num_classes or max(int(classes.max(initial=0)) + 1, 1)
    annotations = [
        {key: batch[key][i] for key in keys} for i in range(len(images))
    ]
    objects = []
    for i, each in enumerate(annotations):
        called = f"{name}[{first + i}]"
        objects.append(true_objects(each, limit, called))
        _check_within(objects[-1].boxes, images.shape[1:3], called)
    return Batch(images, annotations, objects)


def _check_within(boxes: np.ndarray, size: tuple[int, int], name: str) -> None:
    height, width = size
    limits = np.array([width, height, width, height]) + _TOLERANCE
    within = ((boxes >= -_TOLERANCE) & (boxes <= limits)).all(axis=1)
    if not within.all():
        raise ValueError(
            f"boxes of {name} must lie within its image, {width} pixels wide "
            f"and {height} high, and be given as left, top, right, bottom in "
            f"pixels. Received: {boxes[~within][0].tolist()}"
        )
