"""How far apart in the source image matched positions are."""

from typing import TYPE_CHECKING

import numpy as np

from keras_vicregl.visualization._figures import SMALL, TEXT, new_figure
from keras_vicregl.visualization.matches.finding import Matches
from keras_vicregl.visualization.matches.lines import DISTANCE
from keras_vicregl.visualization.palette import method_color

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_match_distances(matches: Matches, *, bins: int = 30) -> "Figure":
    """How far apart, in the source image, are the positions that are matched?

    Histograms of the distances of location-based matches, of feature-based
    matches and of pairs drawn at random; the latter are all pairs of positions
    of the two views, each counted alike. Feature-based matches that lie like
    random pairs connect anything; like location-based ones, the same places.

    Args:
        matches: what `find_matches` returns, of many images.
        bins: how many bars, from 0 to the largest distance of all.

    Returns:
        A matplotlib figure; a curve's heights add up to 100 %, and the legend
        has its median.

    Raises:
        ValueError: if `bins` is not positive.
    """
    if bins < 1:
        raise ValueError(f"`bins` must be positive; received {bins}.")
    samples = {
        f"matched by {criterion}": pairs.distances.ravel()
        for criterion, pairs in matches.pairs.items()
    }
    samples["random pairs"] = matches.all_distances().ravel()
    # Off by rounding from the same number in another place.
    largest = max(values.max() for values in samples.values()) * (1 + 1e-6)
    edges = np.linspace(0, max(largest, 1e-6), bins + 1)
    figure = new_figure(3.2)
    axes = figure.add_subplot()
    for index, (name, values) in enumerate(samples.items()):
        share = 100 * np.histogram(values, edges)[0] / values.size
        median = np.median(values)
        axes.stairs(
            share,
            edges,
            color=method_color(index),
            fill=name == "random pairs",
            alpha=0.4 if name == "random pairs" else 1,
            linewidth=2,
            linestyle=("-", "--", "-")[index],
            label=f"{name} (median {median:.1f} px)",
        )
    axes.set_xlim(0, edges[-1])
    axes.set_xlabel(DISTANCE, fontsize=TEXT)
    axes.set_ylabel("share of the pairs (%)", fontsize=TEXT)
    axes.tick_params(labelsize=SMALL)
    axes.legend(fontsize=TEXT)
    axes.grid(alpha=0.3)
    return figure
