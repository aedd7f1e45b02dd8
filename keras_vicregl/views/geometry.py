"""Affine maps between views and their source, and positions of feature maps.

A view knows where it comes from by one affine map, `view_to_source`: it takes
normalised coordinates of the view, (u, v) in [0, 1]^2 with u to the right and v
down, to pixels (x, y) of the source image. Pixel j covers [j, j + 1], so its
centre is at j + 0.5. A map is a (..., 2, 3) tensor: a 2 x 2 linear part and a
translation. Everything here is `keras.ops` in float32 and runs on any backend,
inside or outside of a compiled function. `numpy_geometry` has the same
functions for arrays, for the workers of a loader.
"""

from typing import Any

from keras import ops

import keras_vicregl.views._affine as _affine

_TENSORS = _affine.Library(
    asarray=lambda value: ops.convert_to_tensor(value),
    float32=lambda array: ops.cast(array, "float32"),
    stack=ops.stack,
    concatenate=ops.concatenate,
    zeros_like=ops.zeros_like,
)


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
    return _affine.positions(_TENSORS, view_to_source, height, width)


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
    return _affine.identity_map(_TENSORS, size)


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
    return _affine.crop_map(_TENSORS, box, size)


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
    return _affine.flip_map(_TENSORS, flipped)


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
    return _affine.compose(_TENSORS, outer, inner)
