"""What the plotting functions share."""

import io
import os
import pathlib
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_vicregl.storage.files import replacing
from keras_vicregl.visualization.bands import band_colors

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Inches; 800 pixels at the resolution of `new_figure`, as wide as a page on
# GitHub. Points on it: titles, text, and text in crowded places.
WIDTH = 6.7
TITLE, TEXT, SMALL = 10, 9, 7.5
# Inches; what a character of these sizes is wide, about.
TEXT_WIDTH, SMALL_WIDTH = 0.077, 0.064


def new_figure(height: float = 1.0, width: float = WIDTH) -> "Figure":
    """A figure of its own, in inches: no window, no global state."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "Pictures need matplotlib: pip install matplotlib"
        ) from error
    return Figure(figsize=(width, height), layout="constrained", dpi=120)


def save(figure: "Figure", path: str | os.PathLike) -> None:
    """Writes a figure to a file that is there completely or not at all.

    Args:
        figure: a matplotlib figure.
        path: its ending says the format, such as `.png` or `.svg`. Its folder
            is made where there is none.

    Raises:
        ValueError: if matplotlib does not know the format.
    """
    path = pathlib.Path(path)
    known = figure.canvas.get_supported_filetypes()
    kind = path.suffix[1:].lower()
    if kind not in known:
        raise ValueError(
            f"`path` must end in one of {', '.join(sorted(known))}; received "
            f"{str(path)!r}."
        )
    picture = io.BytesIO()
    figure.savefig(picture, format=kind)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        file.write(picture.getvalue())


Bands = Sequence[int] | int | None


def displayable(images: np.ndarray) -> np.ndarray:
    """uint8 pixels of images `(..., 3)`, whatever range they are in.

    Floats are taken to be in [0, 1] where none is larger, in [0, 255] else;
    normalised images, with values outside of both, are stretched, all together,
    from their smallest to their largest value.
    """
    images = np.asarray(images)
    if images.dtype == np.uint8 or not images.size:
        return images.astype(np.uint8)
    low, high = images.min(), images.max()
    if low < 0 or high > 255:
        images = (images - low) / max(high - low, 1e-12) * 255
    elif high <= 1 and images.dtype.kind == "f":
        images = images * 255
    return np.clip(np.rint(images), 0, 255).astype(np.uint8)


def show_image(axes: "Axes", image: np.ndarray, **kwargs: Any) -> None:
    """An image without ticks, which keeps its outline."""
    axes.imshow(image, **kwargs)
    axes.set_xticks([])
    axes.set_yticks([])


def wrapped(text: str, length: float) -> str:
    """Text in lines that are at most about so many inches long."""
    return textwrap.fill(text, max(int(length / TEXT_WIDTH), 6))


def legend_below(figure: "Figure", handles: Sequence[Any]) -> int:
    """A legend below all axes, in as many columns as there is room for.

    Returns:
        Its number of lines, each 0.2 inches high.
    """
    lengths = [len(handle.get_label()) for handle in handles]
    for columns in range(len(handles), 0, -1):
        # Entries fill a column after the other.
        longest = sum(max(c) for c in np.array_split(lengths, columns))
        if longest * TEXT_WIDTH + 0.6 * columns <= WIDTH:
            break
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=columns,
        fontsize=TEXT,
        frameon=False,
    )
    return -(-len(handles) // columns)


def check_images(
    name: str, images: np.ndarray, bands: Bands = None
) -> np.ndarray:
    """Images `(N, H, W, 3)`, at least one, as an array, or an error."""
    images = np.asarray(images)
    if images.ndim != 4 or not len(images):
        raise ValueError(
            f"`{name}` must be one or more images (N, H, W, 3); received shape "
            f"{images.shape}."
        )
    return in_colors(name, images, bands)


def in_colors(name: str, images: Any, bands: Bands = None) -> np.ndarray:
    """Images `(N, H, W, 3)` of such, or of the bands of `(N, H, W, C)`."""
    images = np.asarray(images)
    if bands is not None:
        return band_colors(images, bands)
    channels = images.shape[-1]
    if channels == 1:
        return np.repeat(images, 3, axis=-1)
    if channels != 3:
        raise ValueError(
            f"`{name}` must be one or more images (N, H, W, 3), or `bands` "
            f"must say which three of their {channels} channels are to be "
            f"shown, as (0, 1, 2); received shape {images.shape}."
        )
    return images


def check_count(name: str, values: Sequence[Any], count: int) -> None:
    """Raises a ValueError unless there are as many values as images."""
    if len(values) != count:
        raise ValueError(
            f"`{name}` must hold one an image: received {len(values)} for "
            f"{count} images."
        )


def check_not_empty(name: str, values: Mapping | Sequence) -> None:
    """Raises a ValueError where there is nothing to draw."""
    if not len(values):
        raise ValueError(f"`{name}` is empty: there is nothing to draw.")
