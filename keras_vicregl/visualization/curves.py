"""Curves of one training run, or of several to compare."""

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from keras_vicregl.storage.history import EPOCHS, read_history
from keras_vicregl.visualization._figures import (
    SMALL,
    TITLE,
    check_not_empty,
    legend_below,
    new_figure,
)
from keras_vicregl.visualization.palette import NUM_METHOD_COLORS, method_color

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

History = Mapping[str, Sequence[float]]

# Which logs share a panel, when there is one run.
_PANELS = {
    "global terms": ("inv", "var", "cov"),
    "local terms": ("local_inv", "local_var", "local_cov"),
    "spread of features": ("repr_std", "emb_std"),
    "correlation of channels": ("repr_corr", "emb_corr"),
}
_GROUPED = [name for names in _PANELS.values() for name in names]


def plot_curves(
    history: History | Mapping[str, History | Sequence[History]],
) -> "Figure":
    """Loss, terms and collapse monitors over the epochs.

    Args:
        history: logs by epoch, such as `model.fit(...).history`: terms and
            monitors of one kind share a panel, what else it holds gets one of
            its own. Or several runs to compare, by name: each a history, or a
            list of histories that differ in the seed. Then every log has a
            panel and every name a colour; of several seeds, the line is their
            mean and the band one standard deviation (of a sample) to either
            side, at each epoch over the seeds that have a finite value there.

    Returns:
        A matplotlib figure.

    Raises:
        ValueError: if there is nothing to draw, or runs and curves are mixed.

    Example:

    >>> figure = plot_curves({"loss": [3.0, 2.0], "inv": [1.0, 0.5]})
    >>> [axes.get_title() for axes in figure.axes]
    ['loss', 'global terms']
    >>> both = {"VICReg": {"loss": [3.0, 2.0]}, "VICRegL": {"loss": [4.0, 2.0]}}
    >>> [line.get_label() for line in plot_curves(both).axes[0].lines]
    ['VICReg', 'VICRegL']
    """
    check_not_empty("history", history)
    seeds = {name: _as_seeds(run) for name, run in history.items()}
    are_runs = any(isinstance(run, Mapping) for run in history.values())
    if not are_runs and not any(seeds.values()):
        return _plot_run(cast("History", history))
    for name, runs in seeds.items():
        if not any(runs):
            raise ValueError(
                f"`history[{name!r}]` must hold the history of a run, or a "
                "list of them, as the others do; received "
                f"{type(history[name]).__name__} without any."
            )
    return _plot_runs(seeds)


def read_histories(
    runs: Mapping[str, str | os.PathLike | Sequence[str | os.PathLike]],
) -> dict[str, list[dict[str, list[float]]]]:
    """Logs of `keras_vicregl.training`, as `plot_curves` takes them.

    Args:
        runs: name to a training's folder or its `epochs.jsonl`, or to a list of
            these, of one setting and several seeds.

    Returns:
        Name to a list of histories; what was not finite is NaN.

    Raises:
        FileNotFoundError: if there is no such log.
        ValueError: if a log or `runs` is empty.

    Example:

    ```python
    runs = {"VICReg": ["runs/vicreg_0", "runs/vicreg_1"], "VICRegL": "runs/l"}
    save(plot_curves(read_histories(runs)), "curves.png")
    ```
    """
    check_not_empty("runs", runs)
    return {
        name: [
            _read(path)
            for path in (
                [paths] if isinstance(paths, str | os.PathLike) else paths
            )
        ]
        for name, paths in runs.items()
    }


def _read(path: str | os.PathLike) -> dict[str, list[float]]:
    path = pathlib.Path(path)
    file = path / EPOCHS if path.is_dir() else path
    if not file.is_file():
        raise FileNotFoundError(f"There is no log of a training at {file}.")
    history = read_history(file)
    if not history:
        raise ValueError(f"The log of a training at {file} has no epoch yet.")
    return history


def _as_seeds(run: History | Sequence) -> list[History]:
    """The histories of a run, none if it is a curve."""
    if isinstance(run, Mapping):
        return [run] if run else []
    return [seed for seed in run if isinstance(seed, Mapping) and seed]


def _plot_run(history: History) -> "Figure":
    wanted: dict[str, tuple[str, ...]] = {
        name: (name,) for name in history if name not in _GROUPED
    }
    wanted.update(_PANELS)
    panels = {
        title: [name for name in names if name in history]
        for title, names in wanted.items()
    }
    panels = {title: names for title, names in panels.items() if names}
    figure, all_axes = _panels(list(panels))
    for axes, names in zip(all_axes, panels.values(), strict=True):
        for index, name in enumerate(names):
            epochs = range(1, len(history[name]) + 1)
            axes.plot(
                epochs,
                history[name],
                color=method_color(index),
                marker=".",
                label=name,
            )
        if len(names) > 1:
            axes.legend(fontsize=SMALL)
    return figure


def _plot_runs(runs: Mapping[str, Sequence[History]]) -> "Figure":
    found = dict.fromkeys(
        name for seeds in runs.values() for seed in seeds for name in seed
    )
    names = [name for name in found if name not in _GROUPED]
    names += [name for name in _GROUPED if name in found]
    figure, all_axes = _panels(names)
    handles: dict[str, Any] = {}
    for axes, name in zip(all_axes, names, strict=True):
        for index, (run, seeds) in enumerate(runs.items()):
            curves = [seed[name] for seed in seeds if name in seed]
            if curves:
                line = _draw_mean(axes, curves, index, run)
                handles.setdefault(run, line)
    lines = legend_below(figure, [handles[run] for run in runs])
    figure.set_figheight(figure.get_figheight() + 0.2 * lines)
    return figure


def _draw_mean(
    axes: "Axes", curves: Sequence[Sequence[float]], index: int, label: str
) -> object:
    """Draws mean and spread of curves that may differ in length."""
    values = np.full((len(curves), max(map(len, curves))), np.nan)
    for row, curve in zip(values, curves, strict=True):
        row[: len(curve)] = curve
    there = np.isfinite(values)
    count = there.sum(axis=0)
    total = np.where(there, values, 0).sum(axis=0)
    mean = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    square = np.where(there, (values - mean) ** 2, 0).sum(axis=0)
    spread = np.sqrt(square / np.maximum(count - 1, 1))
    epochs = np.arange(1, len(mean) + 1)
    color = method_color(index)
    style = "-" if index < NUM_METHOD_COLORS else "--"
    (line,) = axes.plot(
        epochs, mean, style, color=color, linewidth=1.5, label=label
    )
    if len(curves) > 1:
        axes.fill_between(
            epochs, mean - spread, mean + spread, color=color, alpha=0.2, lw=0
        )
    return line


def _panels(titles: Sequence[str]) -> tuple["Figure", list["Axes"]]:
    columns = min(3, len(titles))
    rows = -(-len(titles) // columns)
    figure = new_figure(1.9 * rows)
    panels = []
    for index, title in enumerate(titles):
        axes = figure.add_subplot(rows, columns, index + 1)
        axes.set_title(title, fontsize=TITLE)
        axes.tick_params(labelsize=SMALL)
        # Epochs are whole, and few ticks leave room for long numbers.
        axes.xaxis.get_major_locator().set_params(integer=True, nbins=5)
        axes.yaxis.get_major_locator().set_params(nbins=5)
        axes.grid(alpha=0.3)
        if index >= len(titles) - columns:
            axes.set_xlabel("epoch", fontsize=SMALL)
        panels.append(axes)
    return figure, panels
