"""A figure over the number of labels, with the spread over seeds."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from keras_vicregl.visualization._figures import (
    SMALL,
    TEXT,
    check_not_empty,
    legend_below,
    new_figure,
)
from keras_vicregl.visualization.palette import method_color

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MARKERS = "osD^vP*"


def plot_label_curve(
    results: Mapping[str, Mapping[int, Sequence[float]]],
    *,
    ylabel: str,
    xlabel: str = "labelled images",
) -> "Figure":
    """A line a method: what it reaches with how many labels.

    Points are means over seeds, error bars one standard deviation (of a sample)
    to either side, small dots seeds. The axis of labels is logarithmic. Methods
    differ in colour and in marker, and stand side by side where they have the
    same number of labels.

    Args:
        results: method to number of labels to values, one a seed. Methods may
            differ in their numbers of labels.
        ylabel: what the values are, with their unit.
        xlabel: what is counted.

    Returns:
        A matplotlib figure.

    Raises:
        ValueError: if there is nothing to draw, a number of labels is not
            positive, or values are none or not finite.

    Example:

    >>> results = {
    ...     "from scratch": {5: [21.0, 23.0], 50: [31.0, 32.0]},
    ...     "VICRegL": {5: [25.0, 25.0], 50: [31.0, 33.0]},
    ... }
    >>> figure = plot_label_curve(results, ylabel="mIoU, %")
    >>> [float(y) for y in figure.axes[0].lines[0].get_ydata()]
    [22.0, 31.5]
    """
    check_not_empty("results", results)
    values = {method: _values(results, method) for method in results}
    counts = sorted({count for row in values.values() for count in row})
    figure = new_figure(3.6)
    axes = figure.add_subplot()
    lines = []
    for index, (method, row) in enumerate(values.items()):
        color = method_color(index)
        # A little to the side, lest error bars hide each other.
        aside = 1.03 ** (index - (len(values) - 1) / 2)
        at = [count * aside for count in row]
        spreads = [v.std(ddof=1) if len(v) > 1 else 0.0 for v in row.values()]
        line = axes.errorbar(
            at,
            [v.mean() for v in row.values()],
            yerr=spreads,
            color=color,
            marker=_MARKERS[index % len(_MARKERS)],
            markersize=5,
            linewidth=1.5,
            capsize=3,
            label=method,
        )
        lines.append(line)
        for x, seeds in zip(at, row.values(), strict=True):
            axes.plot(
                [x] * len(seeds),
                seeds,
                ".",
                color=color,
                markersize=4,
                alpha=0.6,
            )
    axes.set_xscale("log")
    axes.set_xticks(counts, labels=[str(count) for count in counts])
    axes.minorticks_off()
    axes.tick_params(labelsize=SMALL)
    axes.set_xlabel(xlabel, fontsize=TEXT)
    axes.set_ylabel(ylabel, fontsize=TEXT)
    axes.grid(alpha=0.3)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    legend_below(figure, lines)
    return figure


def _values(
    results: Mapping[str, Mapping[int, Sequence[float]]], method: str
) -> dict[int, np.ndarray]:
    """Of a method: values of all seeds by number of labels, which rise."""
    check_not_empty(f"results[{method!r}]", results[method])
    rows = {}
    for count in sorted(results[method]):
        values = np.asarray(results[method][count], np.float64)
        if not count > 0:
            raise ValueError(
                f"`results[{method!r}]` must be by a number of labels above 0; "
                f"received {count!r}."
            )
        if values.ndim != 1 or not values.size or not np.isfinite(values).all():
            raise ValueError(
                f"`results[{method!r}][{count!r}]` must be finite values, one "
                f"a seed; received {results[method][count]!r}."
            )
        rows[count] = values
    return rows
