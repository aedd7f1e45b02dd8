"""Affine maps between views and their source, and positions of feature maps.

A view knows where it comes from by one affine map, `view_to_source`: it takes
normalised coordinates of the view, (u, v) in [0, 1]^2 with u to the right and v
down, to pixels (x, y) of the source image. Pixel j covers [j, j + 1], so its
centre is at j + 0.5. A map is a (..., 2, 3) tensor: a 2 x 2 linear part and a
translation. Everything here is `keras.ops` in float32 and runs on any backend,
inside or outside of a compiled function.
"""

from typing import Any

import numpy as np
from keras import ops


def positions(view_to_source: Any, height: int, width: int) -> Any:
    """Source pixels at which the cells of a view's feature map are centred.

    These are the positions that the location-based matches of VICRegL compare
    (section 3.2 of the paper). Cell (r, c) of the map sits at
    u = (c + 0.5) / width, v = (r + 0.5) / height of the view.

    Args:
        view_to_source: tensor (..., 2, 3), maps from normalised view
            coordinates to source pixels.
        height: rows of the feature map.
        width: columns of the feature map.

    Returns:
        Tensor (..., height * width, 2), float32: (x, y) in source pixels of
        every cell, in raster order.

    Raises:
        ValueError: if `view_to_source` is not (..., 2, 3), or the size of the
            feature map is not known or not positive.

    Example:

    >>> from keras import ops
    >>> from keras_vicregl.views.geometry import identity_map, positions
    >>> whole_image = identity_map([[60.0, 80.0]])
    >>> ops.convert_to_numpy(positions(whole_image, 1, 2))[0].tolist()
    [[20.0, 30.0], [60.0, 30.0]]
    """
    view_to_source = _as_map("view_to_source", view_to_source)
    height = _check_length("height", height)
    width = _check_length("width", width)
    u = np.tile((np.arange(width) + 0.5) / width, height)
    v = np.repeat((np.arange(height) + 0.5) / height, width)
    grid = ops.convert_to_tensor(np.stack([u, v], axis=-1), "float32")
    # Sums of products, not a matmul: accelerators may run float32 matmuls at
    # a precision of 8 to 10 bits, which is whole pixels here.
    return (
        view_to_source[..., None, :, 0] * grid[:, :1]
        + view_to_source[..., None, :, 1] * grid[:, 1:]
        + view_to_source[..., None, :, 2]
    )


def identity_map(size: Any) -> Any:
    """Map of a view that is the whole source image.

    Args:
        size: tensor (..., 2), height and width of the source in pixels.

    Returns:
        Tensor (..., 2, 3), float32: (u, v) -> (u * width, v * height).

    Raises:
        ValueError: if `size` does not end in an axis of length 2.

    Example:

    >>> from keras import ops
    >>> from keras_vicregl.views.geometry import identity_map
    >>> ops.convert_to_numpy(identity_map([60.0, 80.0])).tolist()
    [[80.0, 0.0, 0.0], [0.0, 60.0, 0.0]]
    """
    size = _as_vectors("size", size, 2)
    height, width = size[..., 0], size[..., 1]
    zero = ops.zeros_like(width)
    return _map_of_rows((width, zero, zero), (zero, height, zero))


def crop_map(box: Any, size: Any) -> Any:
    """Map from the coordinates of a crop to those of the image it is cut from.

    Both are normalised, so resizing the crop or the image changes nothing.

    Args:
        box: tensor (..., 4), top, left, height and width of the crop in pixels
            of the image.
        size: tensor (..., 2), height and width of the image in pixels.

    Returns:
        Tensor (..., 2, 3), float32, from [0, 1]^2 of the crop into [0, 1]^2 of
        the image.

    Raises:
        ValueError: if `box` or `size` has not the shape named above.

    Example:

    >>> from keras import ops
    >>> from keras_vicregl.views.geometry import (
    ...     compose, crop_map, identity_map)
    >>> crop = crop_map([10.0, 20.0, 30.0, 40.0], [60.0, 80.0])
    >>> view_to_source = compose(identity_map([60.0, 80.0]), crop)
    >>> ops.convert_to_numpy(view_to_source).tolist()
    [[40.0, 0.0, 20.0], [0.0, 30.0, 10.0]]
    """
    box = _as_vectors("box", box, 4)
    size = _as_vectors("size", size, 2)
    top, left, height, width = (box[..., axis] for axis in range(4))
    image_height, image_width = size[..., 0], size[..., 1]
    zero = ops.zeros_like(width / image_width)
    return _map_of_rows(
        (width / image_width, zero, left / image_width),
        (zero, height / image_height, top / image_height),
    )


def flip_map(flipped: Any) -> Any:
    """Map from the coordinates of a mirrored image to those before mirroring.

    Args:
        flipped: tensor (...), true where the image is mirrored left to right.

    Returns:
        Tensor (..., 2, 3), float32: (u, v) -> (1 - u, v) where flipped, the
        identity elsewhere.

    Example:

    >>> from keras import ops
    >>> from keras_vicregl.views.geometry import flip_map
    >>> ops.convert_to_numpy(flip_map(True)).tolist()
    [[-1.0, 0.0, 1.0], [0.0, 1.0, 0.0]]
    """
    flipped = ops.cast(ops.convert_to_tensor(flipped), "float32")
    zero = ops.zeros_like(flipped)
    return _map_of_rows(
        (1.0 - 2.0 * flipped, zero, flipped), (zero, zero + 1.0, zero)
    )


def compose(outer: Any, inner: Any) -> Any:
    """Affine map that applies `inner` first and `outer` to its result.

    Args:
        outer: tensor (..., 2, 3).
        inner: tensor (..., 2, 3); leading axes broadcast with those of `outer`.

    Returns:
        Tensor (..., 2, 3), float32.

    Raises:
        ValueError: if either is not (..., 2, 3).

    Example:

    >>> from keras import ops
    >>> from keras_vicregl.views.geometry import (
    ...     compose, flip_map, identity_map)
    >>> mirrored = compose(identity_map([60.0, 80.0]), flip_map(True))
    >>> ops.convert_to_numpy(mirrored).tolist()
    [[-80.0, 0.0, 80.0], [0.0, 60.0, 0.0]]
    """
    outer = _as_map("outer", outer)
    inner = _as_map("inner", inner)
    no_linear_part = ops.zeros_like(outer[..., :2])
    return (
        outer[..., 0:1] * inner[..., 0:1, :]
        + outer[..., 1:2] * inner[..., 1:2, :]
        + ops.concatenate([no_linear_part, outer[..., 2:]], axis=-1)
    )


def _map_of_rows(*rows: tuple) -> Any:
    return ops.stack([ops.stack(row, axis=-1) for row in rows], axis=-2)


def _as_map(name: str, value: Any) -> Any:
    value = ops.convert_to_tensor(value)
    shape = tuple(value.shape)
    if shape[-2:] != (2, 3):
        raise ValueError(
            f"{name} must hold affine maps of shape (..., 2, 3): a linear part "
            f"and a translation. Got a tensor of shape {shape}."
        )
    return ops.cast(value, "float32")


def _as_vectors(name: str, value: Any, length: int) -> Any:
    value = ops.convert_to_tensor(value)
    shape = tuple(value.shape)
    if shape[-1:] != (length,):
        raise ValueError(
            f"{name} must have shape (..., {length}). Got a tensor of shape "
            f"{shape}."
        )
    return ops.cast(value, "float32")


def _check_length(name: str, value: int) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise ValueError(
            f"{name} of the feature map must be an integer known when the "
            f"model is traced. Got {value!r}: build the backbone with a fixed "
            "image size, or pass its feature map's size."
        )
    if value < 1:
        raise ValueError(f"{name} must be at least 1. Got {value}.")
    return int(value)
