"""Matched positions of two views as lines between them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from keras_vicregl.visualization._figures import (
    TEXT,
    TITLE,
    WIDTH,
    Bands,
    check_count,
    new_figure,
)
from keras_vicregl.visualization.matches.finding import Matches
from keras_vicregl.visualization.matches.lines import Lines, Scale

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Bright where matches are near; safe for colour-blind readers.
_NEAR_TO_FAR = "plasma_r"


def plot_matches(
    views: tuple[np.ndarray, np.ndarray],
    queries: np.ndarray,
    neighbours: np.ndarray,
    map_shapes: tuple[tuple[int, int], tuple[int, int]],
    *,
    distances: np.ndarray | None = None,
    titles: Sequence[str] | None = None,
    bands: Bands = None,
) -> "Figure":
    """Pairs of views, each with lines from positions to their matches.

    Args:
        views: two arrays of N images, `(N, H, W, 3)`, or with `bands` of any
            channels.
        queries: `(N, K)` integers, positions of the first view's map in raster
            order, such as `keras_vicregl.losses.match` returns.
        neighbours: `(N, K)` integers, their matches in the second view's map.
        map_shapes: `(height, width)` of either view's feature map.
        distances: `(N, K)` how far apart matches are in the source image, in
            pixels. Colours then show them; otherwise only the raster order.
        titles: N titles, above each pair.
        bands: channels that are red, green and blue, see `band_colors`, where
            images are not `(N, H, W, 3)`; of one channel all are grey.

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
    count = len(views[0])
    lengths = {count, len(views[1]), len(queries), len(neighbours)}
    if lengths != {count} or len(titles or views[0]) != count:
        raise ValueError(
            "`views`, `queries`, `neighbours` and `titles` must be as many: "
            f"received {count} and {len(views[1])} views, {len(queries)} "
            f"queries, {len(neighbours)} neighbours"
            + (f", {len(titles)} titles." if titles else ".")
        )
    shape = np.shape(queries)
    if np.shape(neighbours) != shape or (
        distances is not None and np.shape(distances) != shape
    ):
        raise ValueError(
            "`queries`, `neighbours` and `distances` must have one shape "
            f"(N, K); received {shape}, {np.shape(neighbours)} and "
            f"{distances is not None and np.shape(distances)}."
        )
    figure = new_figure(2.6 * count, 5.4)
    grid = figure.subplots(count, 2, squeeze=False)
    if distances is None:
        colors = np.tile(np.linspace(0, 1, shape[1]), (count, 1))
        scale = Scale(figure, colors, "viridis")
    else:
        scale = Scale(figure, distances, _NEAR_TO_FAR)
        scale.add_bar(grid)
    lines = Lines(figure, views, map_shapes, bands)
    for index, pair in enumerate(grid):
        colors = scale.values[index]
        lines.draw(
            pair, index, queries[index], neighbours[index], scale(colors)
        )
        if titles:
            pair[0].set_title(titles[index], loc="left", fontsize=TITLE)
    return figure


def plot_match_criteria(
    matches: Matches,
    *,
    titles: Sequence[str] | None = None,
    bands: Bands = None,
) -> "Figure":
    """The same views twice: matched by location, and by feature.

    A line's colour is the distance of its ends in the source image; above each
    pair of views stands the median of these distances.

    Args:
        matches: what `find_matches` returns; two to four images are well to be
            seen.
        titles: a title an image, on its left.
        bands: channels that are red, green and blue, see `band_colors`, where
            images are not `(N, H, W, 3)`; of one channel all are grey.

    Returns:
        A matplotlib figure, a row an image: the two views with the
        location-based matches, and again with the feature-based ones.

    Raises:
        ValueError: if there are not as many titles as images.
    """
    count = len(matches.views[0])
    if titles is not None:
        check_count("titles", titles, count)
    side = (WIDTH - 1.1) / 4
    height = max(side * view.shape[1] / view.shape[2] for view in matches.views)
    figure = new_figure((height + 0.25) * count + 0.35)
    # An empty column keeps the two criteria apart.
    grid = figure.subplots(
        count, 5, squeeze=False, width_ratios=(1, 1, 0.08, 1, 1)
    )
    for axes in grid[:, 2]:
        axes.set_axis_off()
    every = np.stack([pairs.distances for pairs in matches.pairs.values()])
    scale = Scale(figure, every, _NEAR_TO_FAR)
    scale.add_bar(grid)
    lines = Lines(figure, matches.views, matches.map_shapes, bands)
    for row in range(count):
        for columns, (criterion, pairs) in zip(
            (slice(0, 2), slice(3, 5)), matches.pairs.items(), strict=True
        ):
            axes = grid[row, columns]
            distances = pairs.distances[row]
            lines.draw(
                axes,
                row,
                pairs.queries[row],
                pairs.neighbours[row],
                scale(distances),
            )
            axes[0].set_title(
                f"by {criterion}: median {np.median(distances):.1f} px",
                loc="left",
                fontsize=TEXT,
            )
        if titles:
            grid[row, 0].set_ylabel(titles[row], fontsize=TEXT)
    return figure
