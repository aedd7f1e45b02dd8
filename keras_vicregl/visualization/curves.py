"""Curves of a training run."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from keras_vicregl.visualization._figures import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Which logs share a panel.
_PANELS = {
    "global terms": ("inv", "var", "cov"),
    "local terms": ("local_inv", "local_var", "local_cov"),
    "spread of features": ("repr_std", "emb_std"),
    "correlation of channels": ("repr_corr", "emb_corr"),
}


def plot_curves(history: Mapping[str, Sequence[float]]) -> "Figure":
    """Loss, terms and collapse monitors over the epochs.

    Args:
        history: logs by epoch, such as `model.fit(...).history`; what else it
            holds gets a panel of its own.

    Returns:
        A matplotlib figure.

    Raises:
        ValueError: if `history` is empty.

    Example:

    >>> figure = plot_curves({"loss": [3.0, 2.0], "inv": [1.0, 0.5]})
    >>> [axes.get_title() for axes in figure.axes]
    ['loss', 'global terms']
    """
    if not history:
        raise ValueError("`history` must hold at least one curve; it is empty.")
    grouped = {name for names in _PANELS.values() for name in names}
    panels = {name: (name,) for name in history if name not in grouped}
    panels.update(_PANELS)
    panels = {
        title: [name for name in names if name in history]
        for title, names in panels.items()
    }
    panels = {title: names for title, names in panels.items() if names}
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure = new_figure(4 * columns, 3 * rows)
    for index, (title, names) in enumerate(panels.items()):
        axes = figure.add_subplot(rows, columns, index + 1)
        for name in names:
            epochs = range(1, len(history[name]) + 1)
            axes.plot(epochs, history[name], marker=".", label=name)
        axes.set_title(title)
        axes.set_xlabel("epoch")
        axes.grid(alpha=0.3)
        if len(names) > 1:
            axes.legend()
    return figure
