"""Whether batches begin where they are asked to, found out by looking."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras
import numpy as np

from keras_vicregl._warnings import warn
from keras_vicregl.training.saving.folder import Position


def check_start(
    make_batches: Callable[..., Any],
    batches: Any,
    position: Position,
    steps: int,
) -> bool:
    """Warns of batches that do not begin where training goes on.

    Their first batch is compared with that of another step of the epoch, in
    what two calls with the same `start` make alike: in labels, say, where views
    are drawn without a seed. What is the same for all examples, such as a size,
    tells nothing. Where two such calls are not alike a warning says that, too.

    It costs three more calls of `make_batches`, and as many batches; none for
    batches of this package, which have an `identity`.

    Args:
        make_batches: see `pretrain`.
        batches: what it has made for the position.
        position: where training goes on, after the beginning.
        steps: of a whole epoch.

    Returns:
        Whether it has looked. `make_batches` must then be called again: batches
        have been taken, and it may have set what all its batches share.
    """
    if _is_known(batches):
        return False
    here = position.epoch, position.step
    other = (here[0], 0 if here[1] else 1)
    if isinstance(batches, Iterator) and make_batches(start=here) is batches:
        _warn_of_ignored(here, "returns one and the same iterator")
        return True
    first = _first(batches)
    # An epoch of one step has no other.
    elsewhere = _first(make_batches(start=other)) if steps > 1 else []
    again = _first(make_batches(start=here))
    alike = _alike(first, again)
    told = [n for n, part in enumerate(first) if alike[n] and _varies(part)]
    same = _alike(first, elsewhere)
    if told and all(same[n] for n in told):
        _warn_of_ignored(
            here, f"begins with the same batch as `make_batches(start={other})`"
        )
    elif not all(alike):
        warn(
            f"`make_batches(start={here})` begins with another batch each time "
            "it is called: training goes on, but not as if it had never been "
            "interrupted. Draw from a seed, the epoch and the number of the "
            "example.",
            RuntimeWarning,
        )
    return True


def _warn_of_ignored(here: tuple[int, int], found: str) -> None:
    warn(
        f"`make_batches(start={here})` {found}: it seems to ignore `start`. "
        "Batches that were trained already are trained again, and not those "
        "that are left. Let them begin after so many epochs and batches.",
        RuntimeWarning,
    )


def _is_known(batches: Any) -> bool:
    """Whether they are of this package, or nothing that can be looked at."""
    if isinstance(getattr(batches, "identity", None), Mapping):
        return True
    if isinstance(batches, keras.utils.PyDataset):
        return False
    # Of a strategy, whose batches are of several devices.
    is_distributed = hasattr(batches, "element_spec") and not hasattr(
        batches, "map"
    )
    is_data = isinstance(batches, (tuple, list, Mapping, np.ndarray))
    return is_distributed or is_data or not hasattr(batches, "__iter__")


def _first(batches: Any) -> list[np.ndarray]:
    """Parts of the first batch; none where there is none."""
    if isinstance(batches, keras.utils.PyDataset):
        batch = batches[0]
    else:
        batch = next(iter(batches), ())
    return [_as_array(leaf) for leaf in keras.tree.flatten(batch)]


def _as_array(leaf: Any) -> np.ndarray:
    """A part of a batch; nothing of what NumPy cannot hold."""
    if hasattr(leaf, "detach"):  # PyTorch's, of any device
        leaf = leaf.detach().cpu()
        # NumPy has no bfloat16.
        leaf = leaf.float() if leaf.is_floating_point() else leaf
    try:
        return np.asarray(leaf)
    except (TypeError, ValueError, NotImplementedError):
        return np.zeros(0)


def _alike(one: list[np.ndarray], other: list[np.ndarray]) -> list[bool]:
    if len(one) != len(other):
        return [False] * len(one)
    return [_is_same(*parts) for parts in zip(one, other, strict=True)]


def _is_same(one: np.ndarray, other: np.ndarray) -> bool:
    if one.dtype == object:  # such as names
        return np.array_equal(one, other)
    return one.shape == other.shape and one.tobytes() == other.tobytes()


def _varies(part: np.ndarray) -> bool:
    """Whether examples differ in it, or pixels where there is one example."""
    part = np.atleast_1d(part)
    rows = part if len(part) > 1 else part.reshape(-1)
    return bool((rows[1:] != rows[:1]).any())
