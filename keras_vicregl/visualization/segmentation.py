"""Segmentation: images, labels and what methods predict, side by side."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from keras_vicregl.visualization._figures import (
    TITLE,
    WIDTH,
    Bands,
    check_images,
    displayable,
    legend_below,
    new_figure,
    show_image,
    wrapped,
)
from keras_vicregl.visualization.palette import (
    check_class_names,
    class_colors,
    class_patches,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

_STRIPES = np.array([[255] * 3, [150] * 3], np.uint8)


def segmentation_colors(
    masks: np.ndarray, num_classes: int, *, ignore_label: int | None = 255
) -> np.ndarray:
    """Masks as pictures in the colours of `class_colors`.

    Args:
        masks: `(..., H, W)` integers in [0, num_classes) or `ignore_label`.
        num_classes: how many classes there are.
        ignore_label: pixels with this label get diagonal stripes in white and
            grey. `None`: there are none.

    Returns:
        `(..., H, W, 3)` uint8 array.

    Raises:
        ValueError: if a label is out of range.

    Example:

    >>> segmentation_colors(np.array([[0, 1]]), 2).tolist()
    [[[59, 59, 59], [230, 159, 0]]]
    """
    masks = np.asarray(masks)
    if ignore_label is None:
        ignored = np.zeros(masks.shape, bool)
    else:
        ignored = masks == ignore_label
    classes = np.where(ignored, 0, masks)
    low, high = classes.min(initial=0), classes.max(initial=0)
    if low < 0 or high >= num_classes:
        raise ValueError(
            f"`masks` must be between 0 and num_classes - 1 = "
            f"{num_classes - 1}, or ignore_label={ignore_label}; received "
            f"values from {low} to {high}."
        )
    rows, columns = np.indices(masks.shape[-2:])
    period = max(masks.shape[-1] // 16, 2)
    stripes = _STRIPES[(rows + columns) // (period // 2) % 2]
    return np.where(
        ignored[..., None], stripes, class_colors(num_classes)[classes]
    )


def plot_segmentations(
    images: np.ndarray,
    masks: np.ndarray,
    predictions: Mapping[str, np.ndarray],
    *,
    class_names: Sequence[str] | None = None,
    ignore_label: int | None = 255,
    bands: Bands = None,
) -> "Figure":
    """A row an image: the image, its labels, and each method's prediction.

    Args:
        images: `(N, H, W, 3)` array, or with `bands` `(N, H, W, C)`.
        masks: `(N, h, w)` or `(N, h, w, 1)` integers, the labels.
        predictions: name of a method to what it predicts, as `masks`, of any
            size; a column each.
        class_names: names of classes 0, 1, 2, ...; `None`: their numbers.
        ignore_label: pixels with this label are striped, see
            `segmentation_colors`.
        bands: channels that are red, green and blue, see `band_colors`, where
            images are not `(N, H, W, 3)`; of one channel all are grey.

    Returns:
        A matplotlib figure whose legend names the classes that are to be seen.

    Raises:
        ValueError: if lengths or shapes do not fit, or a class has no name.
    """
    images = check_images("images", images, bands)
    columns = [("ground truth", _checked("masks", masks, len(images)))]
    for name, values in predictions.items():
        argument = f"predictions[{name!r}]"
        columns.append((name, _checked(argument, values, len(images))))
    seen = {label for _, values in columns for label in np.unique(values)}
    has_ignored = ignore_label in seen
    seen.discard(ignore_label)
    names = check_class_names(class_names, max(seen, default=0))
    pictures = [("image", displayable(images))]
    for name, values in columns:
        colors = segmentation_colors(
            values, len(names), ignore_label=ignore_label
        )
        pictures.append((name, colors))

    handles = class_patches(seen, names)
    if has_ignored:
        handles.append(_ignored_patch())
    side = (WIDTH - 0.1) / max(len(pictures), 3)
    height = side * images.shape[1] / images.shape[2]
    figure = new_figure()
    # Names of methods may be longer than a picture is wide.
    titles = [wrapped(name, 0.9 * side) for name, _ in pictures]
    lines = 1 + max(title.count("\n") for title in titles)
    outside = 0.2 * legend_below(figure, handles) + 0.1 + 0.17 * lines + 0.08
    figure.set_figheight((height + 0.04) * len(images) + outside)
    grid = figure.subplots(len(images), len(pictures), squeeze=False)
    for column, title, (_, values) in zip(
        grid.T, titles, pictures, strict=True
    ):
        column[0].set_title(title, fontsize=TITLE)
        for axes, picture in zip(column, values, strict=True):
            show_image(
                axes,
                picture,
                interpolation=None if column is grid.T[0] else "nearest",
                extent=(0, images.shape[2], images.shape[1], 0),
            )
    return figure


def _checked(name: str, masks: np.ndarray, count: int) -> np.ndarray:
    """Masks as `(N, h, w)`."""
    masks = np.asarray(masks)
    if masks.ndim == 4 and masks.shape[-1] == 1:
        masks = masks[..., 0]
    if masks.ndim != 3 or len(masks) != count or masks.dtype.kind not in "iu":
        raise ValueError(
            f"`{name}` must be integers (N, h, w) or (N, h, w, 1), N = {count} "
            f"as the images; received {masks.dtype} of shape {masks.shape}."
        )
    return masks


def _ignored_patch() -> "Patch":
    from matplotlib.patches import Patch

    return Patch(
        facecolor="white", edgecolor="grey", hatch="////", label="ignored"
    )
