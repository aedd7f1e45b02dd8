"""A recipe for images that nobody has chosen one for."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from keras_vicregl.data import ImageSource

# Sides in pixels up to which images are those of CIFAR-10 and of STL-10, and
# the number of images that a large network wants.
SMALL, MIDDLE, MANY = 48, 160, 10_000
_LOOKED_AT = 64


@dataclasses.dataclass(frozen=True)
class Choice:
    """What was chosen, and why.

    Attributes:
        recipe: a key of `RECIPES`.
        why: for people.
        model: arguments of the model that differ from the recipe's.
        precision: where it differs from the recipe's.
    """

    recipe: str
    why: str
    model: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    precision: str | None = None


def shorter_side(source: ImageSource, count: int = _LOOKED_AT) -> int | None:
    """The median of the images' shorter sides in pixels.

    Args:
        source: of the images.
        count: how many are looked at, evenly spread.

    Returns:
        None where no size of them is known without TensorFlow's readers.
    """
    indices = np.unique(np.linspace(0, len(source) - 1, count).astype(int))
    sizes = [source._size_of(int(index)) for index in indices]
    sides = [min(size) for size in sizes if size is not None]
    return int(np.median(sides)) if sides else None


def choose(count: int, side: int, accelerator: bool) -> Choice:
    """A recipe by the number of images, their size and what computes.

    Args:
        count: of images.
        side: of `shorter_side`.
        accelerator: whether there is one.

    Example:

    >>> choose(200, 375, accelerator=False).recipe
    'camvid'
    >>> choose(1_000_000, 375, accelerator=True).recipe
    'resnet50_one_gpu'
    """
    size = f"images of about {side} pixels (median of the shorter side)"
    # Few CPUs compute in bfloat16.
    on_cpu: dict[str, Any] = {} if accelerator else {"precision": "float32"}
    if side <= SMALL and accelerator:
        return Choice("cifar10_resnet18", f"for {size}")
    if side <= SMALL:
        return Choice("cifar10", f"for {size} on a CPU", **on_cpu)
    if side <= MIDDLE:
        if not accelerator:
            # ResNet-34 would take days.
            on_cpu["model"] = {"backbone": "small_resnet"}
            size += "; on a CPU with a small network"
        return Choice("stl10", f"for {size}", **on_cpu)
    if count < MANY:
        return Choice(
            "camvid",
            f"for {size}, {count:,} of them ({MANY:,} would get a larger "
            "network)",
        )
    if not accelerator:
        return Choice(
            "camvid",
            f"for {size} on a CPU; with a GPU it were resnet50_one_gpu",
        )
    return Choice("resnet50_one_gpu", f"for {size}, {count:,} of them")
