"""Colours of classes and methods, the same in every picture."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.patches import Patch

# Dark grey, the seven colours of Okabe and Ito, and after them always the one
# that is farthest, in CIELAB, from black, white and those before it, for normal
# vision, protanopia or deuteranopia (Machado et al., 2009), whichever is worst.
_COLORS = bytes.fromhex(
    "3b3b3b e69f00 56b4e9 009e73 f0e442 0072b2 d55e00 cc79a7 "
    "0000ff ccee99 3322aa 882200 6677ff 443366 55ddaa bbaa55 "
    "ccddff 223388 0055ff bb4444 7799ff 775577 eeee77 ff5577"
)
_METHODS = (5, 1, 3, 6, 2, 7, 0)  # without yellow, which fades on white
NUM_METHOD_COLORS = len(_METHODS)


def class_colors(num_classes: int) -> np.ndarray:
    """The fixed colours of classes 0, 1, 2, ...

    The first eight can be told apart by colour-blind readers, the first 24 by
    others. After them colours are those of Pascal VOC's rule, which no one can
    tell apart: pictures name the classes that they show.

    Args:
        num_classes: how many, at most 256.

    Returns:
        `(num_classes, 3)` uint8 RGB; fewer classes have the first of them.

    Raises:
        ValueError: if `num_classes` is not in [1, 256].

    Example:

    >>> class_colors(2).tolist()
    [[59, 59, 59], [230, 159, 0]]
    """
    if not 1 <= num_classes <= 256:
        raise ValueError(
            f"`num_classes` must be between 1 and 256; received {num_classes}."
        )
    chosen = np.frombuffer(_COLORS, np.uint8).reshape(-1, 3).tolist()
    chosen += [_voc_color(index) for index in range(len(chosen), num_classes)]
    return np.array(chosen[:num_classes], np.uint8)


def method_color(index: int) -> tuple[float, ...]:
    """RGB in [0, 1] of the method at this place; repeats after seven."""
    colors = class_colors(max(_METHODS) + 1) / 255
    return tuple(colors[_METHODS[index % NUM_METHOD_COLORS]])


def class_patches(
    classes: Iterable[int], class_names: Sequence[str]
) -> list["Patch"]:
    """Entries of a legend, in the order of the classes."""
    from matplotlib.patches import Patch

    colors = class_colors(len(class_names)) / 255
    return [
        Patch(color=tuple(colors[index]), label=str(class_names[index]))
        for index in sorted(classes)
    ]


def check_class_names(
    class_names: Sequence[str] | None, largest: int
) -> Sequence[str]:
    """Names of the classes, their numbers where there are no names.

    Raises a ValueError where class `largest` has no name.
    """
    if class_names is None:
        return [str(index) for index in range(largest + 1)]
    if largest >= len(class_names):
        raise ValueError(
            f"`class_names` has {len(class_names)} names, but there is a class "
            f"{largest}; names are of classes 0, 1, 2, ..."
        )
    return class_names


def _voc_color(index: int) -> list[int]:
    """Bits 0, 3, 6 of the index are red's highest, and so on."""
    return [
        sum((index >> (3 * bit + channel) & 1) << (7 - bit) for bit in range(3))
        for channel in range(3)
    ]
