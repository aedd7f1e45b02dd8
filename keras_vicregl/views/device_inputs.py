"""Batches of images for a model that makes their views, with NumPy alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_vicregl.views.keys import (
    IMAGES,
    LABELS,
    PARAMETERS,
    SOURCE_SIZE,
    VIEW_TO_SOURCE,
)
from keras_vicregl.views.values import DTYPES, unmasked

if TYPE_CHECKING:
    from keras_vicregl.views.multi_view import MultiView


def device_inputs(
    recipe: MultiView,
    images: Any,
    seeds: Any,
    labels: Any = None,
    canvas: Any = None,
    view_to_source: Any = None,
    source_size: Any = None,
) -> dict[str, Any]:
    """What `MultiView.to_fit` arranges for `fit`; see `MultiView.inputs`.

    Whether values are finite, whoever calls it looks at.
    """
    if recipe.on != "device":
        raise ValueError(
            "inputs are for views that a model makes, MultiView(on='device'). "
            f"Got on={recipe.on!r}: such a layer makes the views itself, call "
            "it with a dictionary of 'images' and 'seeds'."
        )
    images, sizes = _images(recipe, images, canvas)
    count = len(images)
    seeds = _seeds(seeds, count)
    if (view_to_source is None) != (source_size is None):
        raise ValueError(
            f"{VIEW_TO_SOURCE} and {SOURCE_SIZE} go together: the maps from "
            "the images to their sources, and the height and width of these. "
            "Give both or neither."
        )
    if view_to_source is None:
        source_size = sizes
    else:
        view_to_source = _floats(
            VIEW_TO_SOURCE, view_to_source, (count, 2, 3), "a map an image"
        )
        source_size = _floats(
            SOURCE_SIZE, source_size, (count, 2), "height and width an image"
        )
    batch = {
        IMAGES: images,
        PARAMETERS: _drawn(recipe, seeds, sizes, view_to_source),
        SOURCE_SIZE: np.float32(source_size),
    }
    if labels is not None:
        batch[LABELS] = _labels(labels, count)
    return batch


def _images(
    recipe: MultiView, images: Any, canvas: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Images (B, H, W, C), and height and width (B, 2) of each."""
    one_size = hasattr(images, "shape") and len(images.shape) == 4
    if not one_size and not isinstance(images, (list, tuple)):
        shape = getattr(images, "shape", None)
        raise ValueError(
            f"images must be one array (B, H, W, {recipe.channels}), or a list "
            f"of arrays (H, W, {recipe.channels}). Got "
            + (
                type(images).__name__
                if shape is None
                else f"an array of shape {tuple(shape)}"
            )
            + "."
        )
    if one_size:
        images = unmasked(images, IMAGES)
    else:
        images = [unmasked(each, IMAGES) for each in images]
    if not len(images):
        raise ValueError("images must hold at least one. Got none.")
    known = ("uint8",) if recipe.value_range is None else DTYPES
    for index, image in enumerate(images[:1] if one_size else images):
        if image.dtype.name not in known or image.shape[2:] != (
            recipe.channels,
        ):
            raise ValueError(
                f"images must be {' or '.join(known)} of shape (H, W, "
                f"{recipe.channels}), as they were read: they are normalised "
                f"in the model. Got image {index}: {image.dtype} of shape "
                f"{image.shape}."
                + " Of values that are not 0 to 255 give the MultiView a "
                "value_range." * (image.dtype.name in DTYPES[1:])
            )
    if not one_size and len({image.dtype for image in images}) > 1:
        found = sorted({image.dtype.name for image in images})
        raise ValueError(
            f"images must be of one dtype. Got {' and '.join(found)}."
        )
    shapes = [image.shape[:2] for image in images]
    sizes = np.array(shapes)
    if canvas is None:
        if one_size:
            return images, sizes
        if len(set(shapes)) == 1:
            return np.stack(images), sizes
        raise ValueError(
            "Images of different sizes need a canvas=(height, width), onto "
            "which each is put as it is: programs for accelerators have "
            f"static shapes. Got images of {_by(sizes.min(axis=0))} to "
            f"{_by(sizes.max(axis=0))} pixels. The canvas must be the same for "
            "all batches."
        )
    height, width = _canvas(canvas)
    for index, shape in enumerate(shapes):
        if shape[0] > height or shape[1] > width:
            raise ValueError(
                f"canvas={canvas!r} is too small for image {index}, of "
                f"{_by(shape)} pixels: resize the image, or take a "
                "larger canvas."
            )
    shape = (len(images), height, width, recipe.channels)
    padded = np.zeros(shape, images[0].dtype)
    for row, image in zip(padded, images, strict=True):
        row[: image.shape[0], : image.shape[1]] = image
    return padded, sizes


def _by(size: Any) -> str:
    return " x ".join(map(str, size))


def _canvas(canvas: Any) -> tuple[int, int]:
    known = isinstance(canvas, Sequence) and len(canvas) == 2
    if not known or not all(
        isinstance(side, (int, np.integer))
        and not isinstance(side, bool)
        and side > 0
        for side in canvas
    ):
        raise ValueError(
            "canvas must be a pair of positive integers, height and width. "
            f"Got {canvas!r}."
        )
    return int(canvas[0]), int(canvas[1])


def _seeds(seeds: Any, count: int) -> np.ndarray:
    seeds = np.asarray(seeds)
    if seeds.shape != (count, 2) or seeds.dtype.kind not in "iu":
        raise ValueError(
            "seeds must be two integers an image, such as the seed of the "
            f"epoch and the index of the image: ({count}, 2). Got "
            f"{seeds.dtype} of shape {seeds.shape}."
        )
    return seeds


def _labels(labels: Any, count: int) -> np.ndarray:
    labels = np.asarray(labels)
    if labels.shape != (count,) or labels.dtype.kind not in "iu":
        raise ValueError(
            f"labels must be an integer an image, ({count},), -1 where there "
            f"is none. Got {labels.dtype} of shape {labels.shape}."
        )
    return labels.astype("int32")


def _floats(
    name: str, values: Any, shape: tuple[int, ...], meaning: str
) -> np.ndarray:
    values = np.asarray(values)
    if values.shape != shape:
        raise ValueError(
            f"{name} must be {meaning}, {shape}. Got shape {values.shape}."
        )
    return values.astype("float32")


def _drawn(
    recipe: MultiView,
    seeds: np.ndarray,
    sizes: np.ndarray,
    view_to_source: np.ndarray | None,
) -> tuple[dict[str, np.ndarray], ...]:
    """Parameters of all groups; an image's depend on its own size alone."""
    distinct, which = np.unique(sizes, axis=0, return_inverse=True)
    which = which.reshape(-1)
    parts, order = [], []
    for index, (height, width) in enumerate(distinct):
        rows = np.flatnonzero(which == index)
        maps = None if view_to_source is None else view_to_source[rows]
        parts.append(
            recipe.parameters(seeds[rows], (int(height), int(width)), maps)
        )
        order.append(rows)
    if len(parts) == 1:
        return parts[0]
    back = np.argsort(np.concatenate(order))
    return tuple(
        {
            name: np.concatenate([drawn[name] for drawn in groups])[back]
            for name in groups[0]
        }
        for groups in zip(*parts, strict=True)
    )
