"""Matched positions of two views as lines between them."""

from typing import TYPE_CHECKING

import numpy as np

from keras_vicregl.visualization._figures import displayable, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_matches(
    views: tuple[np.ndarray, np.ndarray],
    queries: np.ndarray,
    neighbours: np.ndarray,
    map_shapes: tuple[tuple[int, int], tuple[int, int]],
    *,
    titles: tuple[str, ...] | None = None,
) -> "Figure":
    """Pairs of views, each with lines from positions to their matches.

    Args:
        views: two arrays of N images, `(N, H, W, 3)`.
        queries: `(N, K)` integers, positions of the first view's map in raster
            order, such as `keras_vicregl.losses.match` returns.
        neighbours: `(N, K)` integers, their matches in the second view's map.
        map_shapes: `(height, width)` of either view's feature map.
        titles: N titles, above each pair.

    Returns:
        A matplotlib figure with N pairs, one below the other.

    Raises:
        ValueError: if the numbers of views, matches or titles differ.

    Example:

    >>> views = np.zeros((1, 8, 8, 3)), np.zeros((1, 8, 8, 3))
    >>> pairs = np.array([[0, 3]]), np.array([[1, 2]])
    >>> figure = plot_matches(views, *pairs, ((2, 2), (2, 2)))
    >>> len(figure.axes), len(figure.artists)
    (2, 2)
    """
    first, second = (displayable(view) for view in views)
    count = len(first)
    lengths = {count, len(second), len(queries), len(neighbours)}
    if lengths != {count} or len(titles or first) != count:
        raise ValueError(
            "`views`, `queries`, `neighbours` and `titles` must be as many: "
            f"received {count} and {len(second)} views, {len(queries)} "
            f"queries, {len(neighbours)} neighbours"
            + (f", {len(titles)} titles." if titles else ".")
        )
    from matplotlib import colormaps
    from matplotlib.patches import ConnectionPatch

    figure = new_figure(5.4, 2.6 * count)
    grid = figure.subplots(count, 2, squeeze=False)
    for index, axes in enumerate(grid):
        for side, image in zip(
            axes, (first[index], second[index]), strict=True
        ):
            side.imshow(image)
            side.set_axis_off()
        if titles:
            axes[0].set_title(titles[index], loc="left")
        starts = _pixels(queries[index], map_shapes[0], first.shape[1:3])
        ends = _pixels(neighbours[index], map_shapes[1], second.shape[1:3])
        colors = colormaps["hsv"](np.linspace(0, 0.9, len(starts)))
        for start, end, color in zip(starts, ends, colors, strict=True):
            figure.add_artist(
                ConnectionPatch(
                    start,
                    end,
                    "data",
                    "data",
                    axesA=axes[0],
                    axesB=axes[1],
                    color=color,
                    arrowstyle="-",
                    linewidth=1.0,
                )
            )
            axes[0].plot(*start, marker="o", markersize=3, color=color)
            axes[1].plot(*end, marker="o", markersize=3, color=color)
    return figure


def _pixels(
    slots: np.ndarray, map_shape: tuple[int, int], image_shape: tuple[int, int]
) -> np.ndarray:
    """Centres of positions, as the pixel coordinates (x, y) of `imshow`."""
    rows, columns = np.divmod(np.asarray(slots), map_shape[1])
    x = (columns + 0.5) / map_shape[1] * image_shape[1] - 0.5
    y = (rows + 0.5) / map_shape[0] * image_shape[0] - 0.5
    return np.stack([x, y], axis=-1)
