"""What evaluations are given, sources and arrays, as batches of one size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np

from keras_vicregl.data.sources.image_source import ImageSource
from keras_vicregl.evaluation.features.batches import Data, check_kind
from keras_vicregl.evaluation.features.image_batches import image_batches
from keras_vicregl.evaluation.features.middles import middle
from keras_vicregl.views.keys import IMAGES, LABELS, MASKS


def as_batches(
    data: Data | ImageSource,
    name: str,
    *,
    target: str | None = None,
    size: int | None = None,
    resize: int | None = None,
    batch_size: int = 256,
) -> Data:
    """Batches of a source, or with a size of arrays; all else as it is.

    Args:
        data: What an evaluation was given.
        name: What to call it in errors.
        target: Key of what it must have besides images.
        size: See `image_batches`.
        resize: See `image_batches`.
        batch_size: See `image_batches`.

    Raises:
        ValueError: If a source lacks the target, an argument is outside what it
            may be, or there is a size for what cannot be resized here.
    """
    if isinstance(data, ImageSource):
        check_target(data, target, name)
        return image_batches(
            data, size=size, resize=resize, batch_size=batch_size
        )
    check_kind(data, name)
    if middle(size, resize) is None:
        return data
    check_source(data, name, f"size={size}")
    arrays = cast("Mapping[str, Any]", data)  # nothing else is left
    return image_batches(
        with_channels(arrays), size=size, resize=resize, batch_size=batch_size
    )


def check_target(source: ImageSource, target: str | None, name: str) -> None:
    """Raises a ValueError unless a source has labels or masks, if needed."""
    if target == LABELS and source.num_classes is None:
        raise ValueError(
            f"{name} must have labels. Received: {source!r}; see `labels` of "
            "`load`."
        )
    if target == MASKS and not source.has_masks:
        raise ValueError(
            f"{name} must have segmentation masks. Received: {source!r}; see "
            "`masks` of `load`."
        )


def check_source(data: Any, name: str, what: str) -> None:
    """Raises a ValueError unless data are a source or arrays with images.

    Args:
        data: What an evaluation was given.
        name: What to call it in the error.
        what: That which only these can be given to.
    """
    if isinstance(data, ImageSource):
        return
    if isinstance(data, Mapping) and IMAGES in data:
        return
    kind = (
        f"a dictionary with the keys {sorted(data)}"
        if isinstance(data, Mapping)
        else type(data).__name__
    )
    raise ValueError(
        f"{what} is for what `load` returns and for dictionaries of arrays "
        f"with 'images'. Received as {name}: {kind}. (Batches must have their "
        "size already: image_batches(source, size=...) makes such ones.)"
    )


def with_channels(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Arrays with masks as sources have them, (N, H, W, 1)."""
    masks = arrays.get(MASKS)
    if masks is None or np.ndim(masks) != 3:
        return dict(arrays)
    return {**arrays, MASKS: np.asarray(masks)[..., None]}
