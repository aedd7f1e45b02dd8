"""The functions of `geometry` for NumPy arrays, and nothing else.

For what prepares data: the `Dataset` of a PyTorch `DataLoader`, a PyDataset, a
process of its own. Arrays or lists go in, float32 arrays come out; no tensor of
the backend is made and no device is touched, so that forked workers may call
them while the model is on a GPU. The numbers are those of `geometry`.

Example, the map of a view that is cut out of an image of 60 x 80 pixels and
then mirrored, the box given as top, left, height and width:

>>> from keras_vicregl.views.numpy_geometry import (
...     compose, crop_map, flip_map, identity_map)
>>> size, box = (60, 80), (10, 20, 30, 40)
>>> crop_and_flip = compose(crop_map(box, size), flip_map(True))
>>> compose(identity_map(size), crop_and_flip).tolist()
[[-40.0, 0.0, 60.0], [0.0, 30.0, 10.0]]
"""

from typing import Any

import numpy as np

import keras_vicregl.views._affine as _affine

_ARRAYS = _affine.Library(
    asarray=np.asarray,
    float32=lambda array: array.astype("float32"),
    stack=np.stack,
    concatenate=np.concatenate,
    zeros_like=np.zeros_like,
)


def positions(view_to_source: Any, height: int, width: int) -> np.ndarray:
    """Source pixels at which the cells of a feature map are centred.

    Args:
        view_to_source: (..., 2, 3), maps from normalised view coordinates to
            source pixels.
        height: rows of the feature map.
        width: columns of the feature map.

    Returns:
        (..., height * width, 2) float32: (x, y) in source pixels of every
        cell, in raster order; see `geometry.positions`.

    Raises:
        ValueError: if `view_to_source` is not (..., 2, 3), or the size of the
            feature map is not a positive integer.

    Example:

    >>> positions(identity_map([60.0, 80.0]), 1, 2).tolist()
    [[20.0, 30.0], [60.0, 30.0]]
    """
    return _affine.positions(_ARRAYS, view_to_source, height, width)


def identity_map(size: Any) -> np.ndarray:
    """Map of a view that is the whole source image.

    Args:
        size: (..., 2), height and width of the source in pixels.

    Returns:
        (..., 2, 3) float32: (u, v) -> (u * width, v * height).

    Raises:
        ValueError: if `size` does not end in an axis of length 2.

    Example:

    >>> identity_map((60, 80)).tolist()
    [[80.0, 0.0, 0.0], [0.0, 60.0, 0.0]]
    """
    return _affine.identity_map(_ARRAYS, size)


def crop_map(box: Any, size: Any) -> np.ndarray:
    """Map from the coordinates of a crop to those of the image it is cut from.

    Args:
        box: (..., 4), top, left, height and width of the crop in pixels of the
            image.
        size: (..., 2), height and width of the image in pixels.

    Returns:
        (..., 2, 3) float32, from [0, 1]^2 of the crop into [0, 1]^2 of the
        image.

    Raises:
        ValueError: if `box` or `size` has not the shape named above.

    Example:

    >>> crop_map((15, 20, 30, 40), (60, 80)).tolist()
    [[0.5, 0.0, 0.25], [0.0, 0.5, 0.25]]
    """
    return _affine.crop_map(_ARRAYS, box, size)


def flip_map(flipped: Any) -> np.ndarray:
    """Map from the coordinates of a mirrored image to those before mirroring.

    Args:
        flipped: (...), true where the image is mirrored left to right.

    Returns:
        (..., 2, 3) float32: (u, v) -> (1 - u, v) where flipped, the identity
        elsewhere.

    Example:

    >>> flip_map([False, True])[:, 0].tolist()
    [[1.0, 0.0, 0.0], [-1.0, 0.0, 1.0]]
    """
    return _affine.flip_map(_ARRAYS, flipped)


def compose(outer: Any, inner: Any) -> np.ndarray:
    """Affine map that applies `inner` first and `outer` to its result.

    Args:
        outer: (..., 2, 3).
        inner: (..., 2, 3); leading axes broadcast with those of `outer`.

    Returns:
        (..., 2, 3) float32.

    Raises:
        ValueError: if either is not (..., 2, 3).

    Example:

    >>> compose(identity_map((60, 80)), flip_map(True)).tolist()
    [[-80.0, 0.0, 80.0], [0.0, 60.0, 0.0]]
    """
    return _affine.compose(_ARRAYS, outer, inner)
