"""Lines between two views, coloured by a distance."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_vicregl.visualization._figures import (
    SMALL,
    TEXT,
    Bands,
    displayable,
    in_colors,
    show_image,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DISTANCE = "distance in the source image (pixels)"


class Scale:
    """Colours of distances, from 0 to the largest."""

    def __init__(self, figure: "Figure", values: Any, name: str) -> None:
        from matplotlib.cm import ScalarMappable
        from matplotlib.colors import Normalize

        self._figure = figure
        self.values = np.asarray(values)
        largest = max(float(self.values.max(initial=0)), 1e-6)
        self._mappable = ScalarMappable(Normalize(0, largest), name)

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """RGBA colours `(K, 4)` of values `(K,)`."""
        return self._mappable.to_rgba(values)

    def add_bar(self, grid: np.ndarray) -> None:
        """A colour bar right of a grid of axes."""
        bar = self._figure.colorbar(
            self._mappable, ax=grid, fraction=0.03, pad=0.02
        )
        bar.set_label(DISTANCE, fontsize=TEXT)
        bar.ax.tick_params(labelsize=SMALL)


class Lines:
    """Draws pairs of views with lines between their positions."""

    def __init__(
        self,
        figure: "Figure",
        views: tuple[np.ndarray, np.ndarray],
        map_shapes: tuple[tuple[int, int], tuple[int, int]],
        bands: Bands = None,
    ) -> None:
        self._figure = figure
        self._views = [
            displayable(in_colors("views", view, bands)) for view in views
        ]
        self._map_shapes = map_shapes

    def draw(
        self,
        axes: Sequence["Axes"],
        index: int,
        queries: np.ndarray,
        neighbours: np.ndarray,
        colors: np.ndarray,
    ) -> None:
        """Views of an image in two axes, and lines from queries to matches."""
        from matplotlib.patches import ConnectionPatch
        from matplotlib.patheffects import withStroke

        ends = []
        for side, views, slots, shape in zip(
            axes,
            self._views,
            (queries, neighbours),
            self._map_shapes,
            strict=True,
        ):
            show_image(side, views[index])
            ends.append(_pixels(slots, shape, views.shape[1:3]))
        for start, end, color in zip(*ends, colors, strict=True):
            # Seen on pictures of any colour.
            dark = color[:3] @ [0.2126, 0.7152, 0.0722] < 0.25
            edge = "white" if dark else "black"
            outline = withStroke(linewidth=2.2, foreground=edge, alpha=0.6)
            self._figure.add_artist(
                ConnectionPatch(
                    start,
                    end,
                    "data",
                    "data",
                    axesA=axes[0],
                    axesB=axes[1],
                    color=color,
                    arrowstyle="-",
                    linewidth=1.1,
                    path_effects=[outline],
                )
            )
            for side, point in zip(axes, (start, end), strict=True):
                side.plot(
                    *point,
                    marker="o",
                    markersize=3,
                    markeredgewidth=0.5,
                    markeredgecolor=edge,
                    color=color,
                )


def _pixels(
    slots: np.ndarray, map_shape: tuple[int, int], image_shape: tuple[int, int]
) -> np.ndarray:
    """Centres of positions, as the pixel coordinates (x, y) of `imshow`."""
    rows, columns = np.divmod(np.asarray(slots), map_shape[1])
    x = (columns + 0.5) / map_shape[1] * image_shape[1] - 0.5
    y = (rows + 0.5) / map_shape[0] * image_shape[0] - 0.5
    return np.stack([x, y], axis=-1)
