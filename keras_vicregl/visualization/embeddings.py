"""Embeddings as points of a plane, coloured by class."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_vicregl.visualization._figures import (
    SMALL,
    TEXT,
    TITLE,
    WIDTH,
    check_not_empty,
    new_figure,
)
from keras_vicregl.visualization._projection import principal_axes
from keras_vicregl.visualization.palette import check_class_names, class_colors

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MARKERS = "osD^vPX"


def project_embeddings(
    embeddings: np.ndarray, method: str = "pca", **kwargs: Any
) -> np.ndarray:
    """Embeddings in two dimensions.

    Args:
        embeddings: `(N, F)` finite array, N at least 3 and F at least 2.
        method: `"pca"`, the first two principal components, or `"tsne"`, which
            needs scikit-learn.
        **kwargs: arguments of scikit-learn's `TSNE`, such as `perplexity`;
            `random_state` is 0 where it is not given.

    Returns:
        `(N, 2)` float64 array.

    Raises:
        ImportError: if scikit-learn is not installed, for `"tsne"`.
        ValueError: if the method is unknown or `embeddings` are not such.

    Example:

    >>> points = project_embeddings(np.array([[0.0, 1], [4, 1], [2, 4]]))
    >>> points.round(2).tolist()
    [[-2.0, -1.0], [2.0, -1.0], [0.0, 2.0]]
    """
    return _project(embeddings, method, kwargs)[0]


def plot_embeddings(
    embeddings: np.ndarray | Mapping[str, np.ndarray],
    labels: np.ndarray,
    *,
    class_names: Sequence[str] | None = None,
    method: str = "pca",
    **kwargs: Any,
) -> "Figure":
    """Pooled embeddings in a plane, coloured by class.

    Args:
        embeddings: `(N, F)` array, or name to such arrays of the same N images,
            a panel each.
        labels: `(N,)` integers, the classes.
        class_names: names of classes 0, 1, 2, ...; `None`: their numbers.
        method: see `project_embeddings`, as for the other arguments.
        **kwargs: see `project_embeddings`.

    Returns:
        A matplotlib figure; the axes of principal components say how much of
        the variance they explain, those of t-SNE have no scale.

    Raises:
        ImportError: as `project_embeddings`.
        ValueError: as `project_embeddings`, or if lengths differ, or a label
            has no name.
    """
    if not isinstance(embeddings, Mapping):
        embeddings = {"": embeddings}
    check_not_empty("embeddings", embeddings)
    labels = np.asarray(labels)
    if (
        labels.ndim != 1
        or labels.dtype.kind not in "iu"
        or labels.min(initial=0) < 0
    ):
        raise ValueError(
            "`labels` must be classes (N,), integers from 0 on; received "
            f"{labels.dtype} of shape {labels.shape}."
        )
    names = check_class_names(class_names, int(labels.max(initial=0)))
    for name, values in embeddings.items():
        if len(values) != len(labels):
            raise ValueError(
                f"`embeddings{f'[{name!r}]' if name else ''}` are "
                f"{len(values)}, but there are {len(labels)} labels."
            )
    columns = min(len(embeddings), 3)
    rows = -(-len(embeddings) // columns)
    side = min((WIDTH - 0.9) / columns, 4.2)
    figure = new_figure((side + 0.3) * rows)
    for index, (name, values) in enumerate(embeddings.items()):
        points, shares = _project(values, method, kwargs)
        axes = figure.add_subplot(rows, columns, index + 1)
        axes.set_title(name, fontsize=TITLE)
        _draw_points(axes, points, labels, names)
        _name_axes(axes, shares)
    handles, texts = axes.get_legend_handles_labels()
    figure.legend(
        handles,
        texts,
        loc="outside right center",
        ncols=-(-len(texts) // 20),
        fontsize=TEXT,
        markerscale=2,
    )
    return figure


def _project(
    embeddings: np.ndarray, method: str, kwargs: Mapping[str, Any]
) -> tuple[np.ndarray, np.ndarray | None]:
    """Points, and of principal components their shares of the variance."""
    if method not in ("pca", "tsne") or (method == "pca" and kwargs):
        raise ValueError(
            "`method` must be 'pca', without further arguments, or 'tsne'; "
            f"received {method!r} and {sorted(kwargs)}."
        )
    values = np.asarray(embeddings, np.float64)
    if (
        values.ndim != 2
        or min(values.shape) < 2
        or len(values) < 3
        or not np.isfinite(values).all()
    ):
        raise ValueError(
            "`embeddings` must be 3 or more finite vectors (N, F) of 2 or more "
            f"channels; received shape {values.shape}."
        )
    if method == "pca":
        values = values - values.mean(axis=0)
        axes, shares = principal_axes(values, 2)
        return values @ axes, shares
    try:
        from sklearn.manifold import TSNE
    except ImportError as error:
        raise ImportError(
            "`method='tsne'` needs scikit-learn: pip install scikit-learn"
        ) from error
    settings = {
        "random_state": 0,
        "perplexity": min(30.0, (len(values) - 1) / 3),
        **kwargs,
    }
    return TSNE(**settings).fit_transform(values).astype(np.float64), None


def _draw_points(
    axes: "Axes", points: np.ndarray, labels: np.ndarray, names: Sequence[str]
) -> None:
    colors = class_colors(len(names)) / 255
    size = float(np.clip(4000 / len(points), 4, 25))
    for index in np.unique(labels):
        axes.scatter(
            *points[labels == index].T,
            s=size,
            color=[tuple(colors[index])],
            # Another cue than colour.
            marker=_MARKERS[index % len(_MARKERS)],
            linewidths=0.3,
            edgecolors="black",
            alpha=0.8,
            label=str(names[index]),
        )


def _name_axes(axes: "Axes", shares: np.ndarray | None) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    if shares is not None:
        for index, name in enumerate((axes.set_xlabel, axes.set_ylabel)):
            name(
                f"component {index + 1} ({100 * shares[index]:.0f} %)",
                fontsize=SMALL,
            )
