"""Feature maps as colours."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from keras_vicregl.visualization._figures import (
    TEXT,
    WIDTH,
    Bands,
    check_count,
    check_images,
    check_not_empty,
    displayable,
    legend_below,
    new_figure,
    show_image,
    wrapped,
)
from keras_vicregl.visualization._projection import principal_axes

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
    components = rows @ principal_axes(rows, 3)[0]
    low, high = np.percentile(components, [1, 99], axis=0)
    colors = (components - low) / np.maximum(high - low, 1e-12)
    return np.clip(colors, 0, 1).reshape(*maps.shape[:3], 3).astype(np.float32)


def plot_feature_maps(
    images: np.ndarray,
    maps: Mapping[str, np.ndarray],
    *,
    upsample: bool = False,
    bands: Bands = None,
) -> "Figure":
    """Images above the colours of their feature maps.

    Colours compare along a row; each row has components of its own.

    Args:
        images: `(N, H, W, 3)` array, or with `bands` `(N, H, W, C)`; four to
            eight are well to be seen.
        maps: name to feature maps `(N, h, w, F)`, a row each; see
            `feature_map_colors`.
        upsample: whether the colours are interpolated bilinearly, instead of
            one square a position.
        bands: channels that are red, green and blue, see `band_colors`, where
            images are not `(N, H, W, 3)`; of one channel all are grey.

    Returns:
        A matplotlib figure.

    Raises:
        ValueError: if `maps` is empty, or a name's maps are not as many as the
            images.
    """
    images = check_images("images", images, bands)
    check_not_empty("maps", maps)
    for name, values in maps.items():
        check_count(f"maps[{name!r}]", values, len(images))
    rows = [("image", displayable(images))]
    rows += [(name, feature_map_colors(m)) for name, m in maps.items()]
    side = (WIDTH - 0.4) / max(len(images), 3)
    height = side * images.shape[1] / images.shape[2]
    figure = new_figure((height + 0.05) * len(rows) + 0.35)
    grid = figure.subplots(len(rows), len(images), squeeze=False)
    smooth = "bilinear" if upsample else "nearest"
    for row, (name, pictures) in zip(grid, rows, strict=True):
        row[0].set_ylabel(wrapped(name, height), fontsize=TEXT)
        for axes, picture in zip(row, pictures, strict=True):
            # A map covers the image, whatever its shape.
            show_image(
                axes,
                picture,
                interpolation=None if row is grid[0] else smooth,
                extent=(0, images.shape[2], images.shape[1], 0),
            )
    _explain_colors(figure)
    return figure


def _explain_colors(figure: "Figure") -> None:
    from matplotlib.patches import Patch

    legend_below(
        figure,
        [
            Patch(color=color, label=f"principal component {index + 1}")
            for index, color in enumerate(("red", "lime", "blue"))
        ],
    )
