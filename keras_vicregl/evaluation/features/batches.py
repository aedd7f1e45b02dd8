"""Batches of a data set, whatever form it comes in."""

import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from keras_vicregl.views.values import unmasked

Data = Mapping[str, Any] | Iterable[Any]


def batches(data: Data, batch_size: int) -> Iterator[dict[str, np.ndarray]]:
    """Dictionaries of arrays with `"images"`, none empty.

    Args:
        data: A dictionary of arrays or an iterable over such dictionaries.
        batch_size: Of the batches a dictionary of arrays is cut into.

    Yields:
        Dictionaries whose arrays have one length.

    Raises:
        ValueError: If `data` is neither, or has no images or arrays of
            different lengths.
    """
    check_kind(data, "data")
    if isinstance(data, Mapping):
        arrays = _as_arrays(data)
        for start in range(0, len(arrays["images"]), batch_size):
            yield {
                key: value[start : start + batch_size]
                for key, value in arrays.items()
            }
        return
    for batch in data:
        arrays = _as_arrays(batch)
        if len(arrays["images"]):
            yield arrays


def check_kind(data: Any, name: str) -> None:
    """Raises a ValueError unless data called `name` may be of some form."""
    found, advice = type(data).__name__, "Pass load(images, labels=labels)."
    if isinstance(data, str | os.PathLike):
        found = f"{str(data)!r}, a name or a path"
        advice = f"Open it by load({str(data)!r})."
    elif isinstance(data, tuple | list):
        # Of batches it may be, which are dictionaries or pairs.
        if len(data) < 2 or not all(hasattr(item, "shape") for item in data):
            return
        found = f"a {found} of arrays"
    elif hasattr(data, "shape"):
        found = f"{found} of shape {tuple(data.shape)}"
    elif isinstance(data, Iterable):
        return
    raise ValueError(
        f"{name} must be a dictionary of arrays with 'images', what `load` "
        "returns, or an iterable over batches of such arrays. Received: "
        f"{found}. {advice}"
    )


def select(data: Data, target: str, name: str) -> Data:
    """Images and targets only, and as dictionaries where they were pairs."""
    if isinstance(data, Mapping):
        check_key(data, target, name)
        return {key: data[key] for key in ("images", target) if key in data}
    if isinstance(data, np.ndarray) or not isinstance(data, Iterable):
        return data
    return (
        {"images": batch[0], target: batch[1]}
        if isinstance(batch, tuple | list) and len(batch) == 2
        else select(batch, target, f"Every batch of {name}")
        for batch in data
    )


def check_key(data: Mapping[str, Any], target: str, name: str) -> None:
    """Raises a ValueError unless the data called `name` have targets."""
    if target not in data:
        raise ValueError(
            f"{name} must have {target!r}. Received the keys {sorted(data)}"
        )


def _as_arrays(batch: Any) -> dict[str, np.ndarray]:
    if not isinstance(batch, Mapping) or "images" not in batch:
        received = (
            f"a dictionary with the keys {sorted(batch)}"
            if isinstance(batch, Mapping)
            else type(batch).__name__
        )
        raise ValueError(
            "Images to evaluate on must come as a dictionary with 'images'. "
            f"Received: {received}"
        )
    arrays = {key: unmasked(value, key) for key, value in batch.items()}
    images = arrays["images"]
    if images.ndim != 4:
        raise ValueError(
            "images must come in batches of shape (N, H, W, channels). "
            f"Received: shape {images.shape}"
        )
    for key, value in arrays.items():
        if value.shape[:1] != images.shape[:1]:
            raise ValueError(
                f"images and {key} differ in length: {len(images)} and "
                f"{value.shape[0] if value.ndim else 'a scalar'}."
            )
    return arrays


def grouped(
    items: Iterable[Any], key: Callable[[Any], Any], most: int
) -> Iterator[list[Any]]:
    """Up to `most` items that follow each other and have the same key."""
    for _, run in itertools.groupby(items, key):
        while group := list(itertools.islice(run, most)):
            yield group
