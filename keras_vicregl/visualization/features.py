"""Feature maps as colours."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from keras_vicregl.visualization._figures import displayable, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def feature_map_colors(maps: np.ndarray) -> np.ndarray:
    """The first three principal components of feature maps, as RGB.

    Args:
        maps: `(N, h, w, F)` float array; the components are those of all
            positions of all maps together, so that colours compare.

    Returns:
        `(N, h, w, 3)` float32 array in [0, 1]: the first component is red; each
        is stretched between its 1st and 99th percentile.

    Raises:
        ValueError: if `maps` is not 4-D or not finite, or F is below 3.

    Example:

    >>> colors = feature_map_colors(np.random.rand(2, 4, 4, 8))
    >>> colors.shape, float(colors.min()), float(colors.max())
    ((2, 4, 4, 3), 0.0, 1.0)
    """
    maps = np.asarray(maps, np.float64)
    if maps.ndim != 4 or maps.shape[-1] < 3 or not np.isfinite(maps).all():
        raise ValueError(
            "`maps` must be finite feature maps (N, h, w, F) of at least 3 "
            f"channels; received shape {maps.shape}."
        )
    rows = maps.reshape(-1, maps.shape[-1])
    rows = rows - rows.mean(axis=0)
    _, vectors = np.linalg.eigh(rows.T @ rows)
    vectors = vectors[:, :-4:-1]
    # An eigenvector has no sign: the largest weight is taken to be positive.
    largest = np.abs(vectors).argmax(axis=0)
    vectors = vectors * np.sign(vectors[largest, range(3)])
    components = rows @ vectors
    low, high = np.percentile(components, [1, 99], axis=0)
    colors = (components - low) / np.maximum(high - low, 1e-12)
    return np.clip(colors, 0, 1).reshape(*maps.shape[:3], 3).astype(np.float32)


def plot_feature_maps(
    images: np.ndarray, maps: Mapping[str, np.ndarray]
) -> "Figure":
    """Images above the colours of their feature maps.

    Args:
        images: `(N, H, W, 3)` array.
        maps: name to feature maps `(N, h, w, F)`, a row each; see
            `feature_map_colors`.

    Returns:
        A matplotlib figure.

    Raises:
        ValueError: if a name's maps are not as many as the images.
    """
    for name, values in maps.items():
        if len(values) != len(images):
            raise ValueError(
                f"`maps[{name!r}]` holds {len(values)} maps for {len(images)} "
                "images."
            )
    rows = {"image": displayable(images)}
    rows.update({name: feature_map_colors(m) for name, m in maps.items()})
    figure = new_figure(1.6 * len(images) + 0.6, 1.7 * len(rows))
    grid = figure.subplots(len(rows), len(images), squeeze=False)
    for row, (name, pictures) in zip(grid, rows.items(), strict=True):
        row[0].set_ylabel(name)
        for axes, picture in zip(row, pictures, strict=True):
            axes.imshow(picture)
            axes.set_xticks([])
            axes.set_yticks([])
    return figure
