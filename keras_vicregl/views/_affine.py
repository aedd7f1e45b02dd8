"""Affine maps in the arrays of any library, see `geometry`.

Sums of products of float32 in the same order everywhere: a worker that computes
with NumPy gets the numbers that the model's backend gets.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np


class Library(NamedTuple):
    """What arrays are made by.

    Attributes:
        asarray: from what a user gives.
        float32: an array in that dtype.
        stack: as `numpy.stack`.
        concatenate: as `numpy.concatenate`.
        zeros_like: as `numpy.zeros_like`.
    """

    asarray: Callable[[Any], Any]
    float32: Callable[[Any], Any]
    stack: Callable[..., Any]
    concatenate: Callable[..., Any]
    zeros_like: Callable[[Any], Any]


def positions(xp: Library, view_to_source: Any, height: Any, width: Any) -> Any:
    """Source pixels (..., height * width, 2) of the cells of a map."""
    view_to_source = _as_map(xp, "view_to_source", view_to_source)
    height = _check_length("height", height)
    width = _check_length("width", width)
    u = np.tile((np.arange(width) + 0.5) / width, height)
    v = np.repeat((np.arange(height) + 0.5) / height, width)
    grid = xp.asarray(np.stack([u, v], axis=-1).astype("float32"))
    # Sums of products, not a matmul: accelerators may run float32 matmuls at
    # a precision of 8 to 10 bits, which is whole pixels here.
    return (
        view_to_source[..., None, :, 0] * grid[:, :1]
        + view_to_source[..., None, :, 1] * grid[:, 1:]
        + view_to_source[..., None, :, 2]
    )


def identity_map(xp: Library, size: Any) -> Any:
    """Maps (..., 2, 3) of whole images of sizes (..., 2)."""
    size = _as_vectors(xp, "size", size, 2)
    height, width = size[..., 0], size[..., 1]
    zero = xp.zeros_like(width)
    return _map_of_rows(xp, (width, zero, zero), (zero, height, zero))


def crop_map(xp: Library, box: Any, size: Any) -> Any:
    """Maps (..., 2, 3) of boxes (..., 4) of images of sizes (..., 2)."""
    box = _as_vectors(xp, "box", box, 4)
    size = _as_vectors(xp, "size", size, 2)
    top, left, height, width = (box[..., axis] for axis in range(4))
    image_height, image_width = size[..., 0], size[..., 1]
    zero = xp.zeros_like(width / image_width)
    return _map_of_rows(
        xp,
        (width / image_width, zero, left / image_width),
        (zero, height / image_height, top / image_height),
    )


def flip_map(xp: Library, flipped: Any) -> Any:
    """Maps (..., 2, 3) that mirror where `flipped` (...) is true."""
    flipped = xp.float32(xp.asarray(flipped))
    zero = xp.zeros_like(flipped)
    return _map_of_rows(
        xp, (1.0 - 2.0 * flipped, zero, flipped), (zero, zero + 1.0, zero)
    )


def compose(xp: Library, outer: Any, inner: Any) -> Any:
    """Maps (..., 2, 3) that apply `inner` first."""
    outer = _as_map(xp, "outer", outer)
    inner = _as_map(xp, "inner", inner)
    no_linear_part = xp.zeros_like(outer[..., :2])
    return (
        outer[..., 0:1] * inner[..., 0:1, :]
        + outer[..., 1:2] * inner[..., 1:2, :]
        + xp.concatenate([no_linear_part, outer[..., 2:]], axis=-1)
    )


def _map_of_rows(xp: Library, *rows: tuple) -> Any:
    return xp.stack([xp.stack(row, axis=-1) for row in rows], axis=-2)


def _as_map(xp: Library, name: str, value: Any) -> Any:
    value = xp.asarray(value)
    shape = tuple(value.shape)
    if shape[-2:] != (2, 3):
        raise ValueError(
            f"{name} must hold affine maps of shape (..., 2, 3): a linear part "
            f"and a translation. Got a tensor of shape {shape}."
        )
    return xp.float32(value)


def _as_vectors(xp: Library, name: str, value: Any, length: int) -> Any:
    value = xp.asarray(value)
    shape = tuple(value.shape)
    if shape[-1:] != (length,):
        raise ValueError(
            f"{name} must have shape (..., {length}). Got a tensor of shape "
            f"{shape}."
        )
    return xp.float32(value)


def _check_length(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise ValueError(
            f"{name} of the feature map must be an integer known when the "
            f"model is traced. Got {value!r}: build the backbone with a fixed "
            "image size, or pass its feature map's size."
        )
    if value < 1:
        raise ValueError(f"{name} must be at least 1. Got {value}.")
    return int(value)
