"""Boxes over images: the labels and what a detector predicts."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_vicregl.visualization._figures import (
    SMALL,
    WIDTH,
    Bands,
    check_count,
    check_images,
    displayable,
    legend_below,
    new_figure,
    show_image,
)
from keras_vicregl.visualization.palette import check_class_names, class_colors

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Of all images: arrays, or a dictionary an image.
Boxes = Mapping[str, Any] | Sequence[Mapping[str, Any]]


def plot_boxes(
    images: np.ndarray,
    labels: Boxes,
    predictions: Boxes | None = None,
    *,
    class_names: Sequence[str] | None = None,
    min_score: float = 0.5,
    bands: Bands = None,
) -> "Figure":
    """Images with their ground truth, dashed in white, and predicted boxes.

    Predicted boxes have the colour of their class; its name and the score stand
    at their upper edge, the names of true boxes at their lower one.

    Args:
        images: `(N, H, W, 3)` array, or with `bands` `(N, H, W, C)`.
        labels: a batch as `train_detection` takes it: `"boxes"` `(N, M, 4)`,
            left, top, right and bottom in pixels, the edges of the image at 0
            and its size, and `"box_classes"` `(N, M)`, -1 where there is no
            more box. Or N dictionaries with those of one image.
        predictions: the same with `"scores"`, as `Detector.predict` returns
            them.
        class_names: names of classes 0, 1, 2, ...; `None`: their numbers.
        min_score: predictions with a lower score are not drawn.
        bands: channels that are red, green and blue, see `band_colors`, where
            images are not `(N, H, W, 3)`; of one channel all are grey.

    Returns:
        A matplotlib figure, three images a row.

    Raises:
        ValueError: if keys are missing, lengths differ, boxes are not finite or
            end before they begin, or a class has no name.

    Example:

    >>> image = np.zeros((1, 32, 32, 3), "uint8")
    >>> labels = {"boxes": [[[4, 4, 20, 28]]], "box_classes": [[1]]}
    >>> figure = plot_boxes(image, labels, class_names=["cat", "dog"])
    >>> figure.axes[0].texts[0].get_text(), figure.axes[0].patches[0].get_bbox()
    ('dog', Bbox([[3.5, 3.5], [19.5, 27.5]]))
    """
    images = check_images("images", images, bands)
    given = {"labels": labels}
    if predictions is not None:
        given["predictions"] = predictions
    rows = {
        name: list(_rows(name, boxes, len(images)))
        for name, boxes in given.items()
    }
    largest = max(
        (classes.max(initial=0) for r in rows.values() for _, classes, _ in r)
    )
    names = check_class_names(class_names, int(largest))
    columns = min(3, len(images))
    lines = -(-len(images) // columns)
    side = WIDTH / max(columns, 2)
    height = side * images.shape[1] / images.shape[2]
    figure = new_figure((height + 0.05) * lines + 0.3)
    for index, image in enumerate(displayable(images)):
        axes = figure.add_subplot(lines, columns, index + 1)
        show_image(axes, image)
        boxes, classes, _ = rows["labels"][index]
        for box, label in zip(boxes, classes, strict=True):
            _draw_label(axes, box, names[label])
        if predictions is None:
            continue
        # The surest last, over the others.
        found = zip(*rows["predictions"][index], strict=True)
        for box, label, score in sorted(found, key=lambda row: row[2]):
            if score >= min_score:
                color = class_colors(label + 1)[label] / 255
                _draw_prediction(
                    axes, box, f"{names[label]} {score:.2f}", color
                )
    _explain(figure, predictions is not None, min_score)
    return figure


def _rows(
    name: str, boxes: Boxes, count: int
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """An image's boxes, classes and scores, without those that pad."""
    keys = ["boxes", "box_classes"]
    if name == "predictions":
        keys.append("scores")
    if isinstance(boxes, Mapping):
        _check_keys(name, boxes, keys)
        for key in keys:
            check_count(f"{name}[{key!r}]", boxes[key], count)
        boxes = [{key: boxes[key][i] for key in keys} for i in range(count)]
    check_count(name, boxes, count)
    for index, given in enumerate(boxes):
        _check_keys(f"{name}[{index}]", given, keys)
        corners, classes, *rest = (np.asarray(given[key]) for key in keys)
        corners = corners.astype(np.float64).reshape(-1, 4)
        scores = rest[0] if rest else np.ones(len(classes))
        if not len(corners) == len(classes) == len(scores):
            raise ValueError(
                f"`{name}` of image {index} must be as many: received "
                f"{len(corners)} boxes, {len(classes)} classes"
                + (f", {len(scores)} scores." if len(keys) > 2 else ".")
            )
        there = classes >= 0
        corners = corners[there]
        if (
            not np.isfinite(corners).all()
            or (corners[:, 2:] < corners[:, :2]).any()
        ):
            raise ValueError(
                f"`{name}['boxes']` must be finite, left, top, right, bottom; "
                f"received for image {index} {corners.tolist()}."
            )
        yield corners, classes[there].astype(int), scores[there]


def _check_keys(name: str, given: Mapping[str, Any], keys: list[str]) -> None:
    for key in keys:
        if key not in given:
            raise ValueError(
                f"`{name}` must have {key!r}; received the keys "
                f"{sorted(given)}."
            )


def _draw_label(axes: "Axes", box: np.ndarray, name: str) -> None:
    from matplotlib.patheffects import withStroke

    _draw_box(axes, box, "white", "--", outline="black")
    x, side = _text_side(axes, box)
    axes.text(
        x,
        box[3] - 0.5,
        name,
        ha=side,
        va="bottom",
        color="white",
        fontsize=SMALL,
        path_effects=[withStroke(linewidth=2.5, foreground="black")],
        clip_on=True,
    )


def _draw_prediction(
    axes: "Axes", box: np.ndarray, text: str, color: np.ndarray
) -> None:
    _draw_box(axes, box, tuple(color), "-", outline="white")
    x, side = _text_side(axes, box)
    # Black or white on it, whichever is farther from its luminance.
    bright = color @ [0.2126, 0.7152, 0.0722] > 0.45
    axes.text(
        x,
        max(box[1], 0) - 0.5,
        text,
        ha=side,
        va="top",
        color="black" if bright else "white",
        fontsize=SMALL,
        clip_on=True,
        bbox={"facecolor": tuple(color), "edgecolor": "none", "pad": 1},
    )


def _text_side(axes: "Axes", box: np.ndarray) -> tuple[float, str]:
    """Where text begins or ends that grows towards the middle of the image."""
    right = axes.get_xlim()[1]
    if box[0] + box[2] < right + 0.5:
        return max(box[0], 0) - 0.5, "left"
    return min(box[2] - 0.5, right), "right"


def _draw_box(
    axes: "Axes", box: np.ndarray, color: Any, style: str, outline: str
) -> None:
    from matplotlib.patches import Rectangle
    from matplotlib.patheffects import withStroke

    # The middle of the first pixel is at 0 in imshow, its edge at -0.5.
    axes.add_patch(
        Rectangle(
            tuple(box[:2] - 0.5),
            *(box[2:] - box[:2]),
            fill=False,
            edgecolor=color,
            linestyle=style,
            linewidth=1.5,
            path_effects=[withStroke(linewidth=2.7, foreground=outline)],
        )
    )


def _explain(figure: "Figure", predicted: bool, min_score: float) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color="grey", linestyle="--", label="ground truth")
    ]
    if predicted:
        text = (
            f"predicted with a score from {min_score:g} on, coloured by class"
        )
        handles.append(Line2D([], [], color=class_colors(2)[1] / 255))
        handles[-1].set_label(text)
    legend_below(figure, handles)
