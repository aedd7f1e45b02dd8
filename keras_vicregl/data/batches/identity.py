"""What tells one training's batches from another's of the same length."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_vicregl.data.streams.order import epoch_seeds, shuffled

if TYPE_CHECKING:
    from keras_vicregl.data.sources.image_source import ImageSource
    from keras_vicregl.data.streams.epochs import Plan

# Rows of arrays that are looked at, evenly spread.
_ROWS = 8


def identity_of(source: ImageSource, plan: Plan, seed: int) -> dict[str, Any]:
    """Facts about batches, as JSON: two that differ are others.

    Args:
        source: of the examples.
        plan: how they are put into batches.
        seed: of their order and views.

    Returns:
        `"source"` and `"examples"`, their name and number; `"contents"`, a
        checksum of some of the arrays, or of the names of files and of the
        folders that they are in; `"seed"`, `"batch_size"` and `"shuffle"`.
    """
    return {
        "source": source.name,
        "examples": len(source),
        "contents": _contents(source),
        "seed": int(seed),
        "batch_size": int(plan.batch_size),
        "shuffle": plan.shuffle,
    }


def examples_of(
    count: int, plan: Plan, seed: int
) -> Callable[[int, int], np.ndarray] | None:
    """A function that tells which examples a batch is of.

    Args:
        count: of all examples.
        plan: how they are put into batches.
        seed: of their order.

    Returns:
        A function of epoch and step to the examples' numbers in the source,
        over all processes. `None` where only reading them would tell.
    """
    if not isinstance(plan.shuffle, bool) or count < 1:
        return None

    def examples(epoch: int, step: int) -> np.ndarray:
        order = np.arange(count)
        if plan.shuffle:
            order = shuffled(count, epoch_seeds(seed, epoch)[0])
        return order[step * plan.batch_size :][: plan.batch_size]

    return functools.lru_cache(1)(examples)


def left_out(
    examples: int, batch_size: int, shuffled: bool | int = True
) -> str | None:
    """What does not fill a batch, in a sentence for people.

    Args:
        examples: of an epoch.
        batch_size: of batches that are all full.
        shuffled: whether they come in another order in each epoch.

    Returns:
        None where nothing is left out.

    Example:

    >>> left_out(81, 64)
    '17 of 81 images are left out of each epoch, others in each, for ... 64'
    """
    rest = examples % batch_size
    if not rest:
        return None
    which = "others in each" if shuffled else "the same in each"
    are = "is" if rest == 1 else "are"
    return (
        f"{rest} of {examples:,} images {are} left out of each epoch, {which}, "
        f"for batches are of {batch_size}"
    )


def _contents(source: Any) -> str | None:
    arrays = getattr(source, "_arrays", None)
    paths = getattr(source, "_paths", None)
    checksum = 0
    if arrays:
        for name in sorted(arrays):
            array = arrays[name]
            checksum = zlib.crc32(f"{name} {array.shape}".encode(), checksum)
            for index in np.linspace(0, len(array) - 1, _ROWS).astype(int):
                row = np.ascontiguousarray(array[index])
                checksum = zlib.crc32(row.tobytes(), checksum)
    elif paths:
        for path in paths:
            # Where the folder is does not matter.
            name = "/".join(str(path).split("/")[-2:])
            checksum = zlib.crc32(name.encode(errors="replace"), checksum)
    else:
        return None
    return f"{checksum:08x}"
