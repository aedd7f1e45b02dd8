"""Bars of an ablation, with the spread over seeds."""

import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from keras_vicregl.visualization._figures import (
    SMALL,
    SMALL_WIDTH,
    TEXT,
    TEXT_WIDTH,
    TITLE,
    WIDTH,
    check_not_empty,
    new_figure,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BAR, _BASELINE = "#7fb8d8", "#b8b8b8"

Results = Mapping[str, Mapping[str, Sequence[float]]]


def plot_ablation(
    results: Results,
    *,
    metrics: Sequence[str] | Mapping[str, str] | None = None,
    baseline: str | None = None,
    decimals: int = 1,
) -> "Figure":
    """A bar a method and a panel a metric, with every seed to be seen.

    A bar's length is the mean over seeds, its error bar one standard deviation
    (of a sample) to either side, and a dot is a seed. Mean ± standard deviation
    stand at its end.

    Args:
        results: method to metric to values, one a seed; drawn from top to
            bottom in this order. A method without a metric has no bar there.
        metrics: which of them to draw, from left to right, or names of them to
            titles of panels. `None`: all, as they come.
        baseline: a method whose means are drawn through all bars as a dashed
            line; its own bars are grey.
        decimals: digits after the point.

    Returns:
        A matplotlib figure.

    Raises:
        ValueError: if there is nothing to draw, a metric or the baseline is
            unknown, or a metric's values are none or not finite.

    Example:

    >>> results = {"VICReg": {"mIoU": [18.0, 19.0]}, "both": {"mIoU": [20.0]}}
    >>> figure = plot_ablation(results, baseline="VICReg")
    >>> [text.get_text() for text in figure.axes[0].texts]
    ['18.5 ± 0.7', '20.0']
    """
    check_not_empty("results", results)
    known = list(dict.fromkeys(m for row in results.values() for m in row))
    titles = metrics if isinstance(metrics, Mapping) else None
    chosen = known if metrics is None else list(metrics)
    check_not_empty("metrics", chosen)
    for metric in chosen:
        if metric not in known:
            raise ValueError(
                f"`metrics` must be of {', '.join(known)}; received {metric!r}."
            )
    if baseline is not None and baseline not in results:
        raise ValueError(
            f"`baseline` must be one of {', '.join(results)}; received "
            f"{baseline!r}."
        )
    values = {
        metric: [_seeds(results, method, metric) for method in results]
        for metric in chosen
    }
    columns = min(3, len(chosen))
    rows = -(-len(chosen) // columns)
    figure = new_figure((0.32 * len(results) + 0.6) * rows + 0.1)
    for index, metric in enumerate(chosen):
        axes = figure.add_subplot(rows, columns, index + 1)
        axes.set_title(titles[metric] if titles else metric, fontsize=TITLE)
        colors = [
            _BASELINE if method == baseline else _BAR for method in results
        ]
        texts = _draw_bars(axes, values[metric], colors, decimals)
        # Room for the numbers at the ends of bars.
        width = (WIDTH - max(map(len, results)) * TEXT_WIDTH) / columns - 0.2
        room = (max(map(len, texts), default=0) * SMALL_WIDTH + 0.1) / width
        low, high = axes.get_xlim()
        axes.set_xlim(low, low + (high - low) / (1 - min(max(room, 0), 0.8)))
        axes.set_yticks(
            range(len(results)),
            labels=list(results) if index % columns == 0 else [],
            fontsize=TEXT,
        )
        if baseline is not None and metric in results[baseline]:
            axes.axvline(
                float(np.mean(results[baseline][metric])),
                color="black",
                linestyle="--",
                linewidth=1,
                zorder=2.5,
            )
    return figure


def _seeds(results: Results, method: str, metric: str) -> np.ndarray | None:
    if metric not in results[method]:
        return None
    values = np.asarray(results[method][metric], np.float64)
    if values.ndim != 1 or not values.size or not np.isfinite(values).all():
        raise ValueError(
            f"`results[{method!r}][{metric!r}]` must be finite values, one a "
            f"seed; received {results[method][metric]!r}."
        )
    return values


def _draw_bars(
    axes: "Axes",
    rows: Sequence[np.ndarray | None],
    colors: Sequence[str],
    decimals: int,
) -> list[str]:
    """Draws a bar a row, and returns what is written at the ends."""
    texts = []
    low = high = 0.0
    for row, (values, color) in enumerate(zip(rows, colors, strict=True)):
        if values is None:
            _write(axes, "not measured", 0, row)
            continue
        mean = statistics.mean(values.tolist())  # exact before it is rounded
        spread = float(values.std(ddof=1)) if len(values) > 1 else 0.0
        axes.barh(row, mean, 0.7, color=color)
        text = f"{mean:.{decimals}f}"
        if len(values) > 1:
            axes.errorbar(
                mean, row - 0.1, xerr=spread, color="black", capsize=3
            )
            text += f" ± {spread:.{decimals}f}"
        axes.plot(
            values,
            [row + 0.2] * len(values),
            "o",
            markersize=3,
            markerfacecolor="white",
            markeredgecolor="black",
            markeredgewidth=0.7,
            zorder=3,
        )
        texts.append(text)
        end = max(mean + spread, values.max(), 0.0)
        _write(axes, text, end, row)
        low, high = min(low, mean - spread, values.min()), max(high, end)
    axes.set_xlim(low * 1.05, high if high > low else 1)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.xaxis.get_major_locator().set_params(nbins=4)
    axes.tick_params(axis="x", labelsize=SMALL)
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return texts


def _write(axes: "Axes", text: str, x: float, row: int) -> None:
    """Text right of x, before the line of the baseline."""
    axes.annotate(
        text,
        (x, row),
        xytext=(5, 0),
        textcoords="offset points",
        va="center",
        fontsize=SMALL,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5},
        zorder=4,
    )
