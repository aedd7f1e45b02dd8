"""What the first batch of a training tells of all that follow.

Batches of one's own may be wrong in ways that no step notices: pixels that
nobody has normalised, or the same examples in every process.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from keras_vicregl._warnings import warn
from keras_vicregl.distribution.duplicates import (
    arrays_of,
    compare_processes,
)
from keras_vicregl.distribution.environment.setup import check_share
from keras_vicregl.distribution.processes import process_count
from keras_vicregl.models.backbones.normalization import scales_images
from keras_vicregl.models.given_batches import Watched, adapted, few_pixels

# Normalised by ImageNet's mean and deviation, the brightest pixel is 2.64.
_BRIGHTEST = 2.7


def watched(model: Any, x: Any, shuffle: bool = False) -> Any:
    """What `fit` takes in place of `x`, so that its first batch is looked at.

    Args:
        model: a `VICRegL`.
        x: what a user has given, one of which Keras takes.
        shuffle: see `adapted`.

    Returns:
        An adapter of Keras, or `x` where it holds all examples.

    Raises:
        ValueError: see `adapted`; and from the first batch on, if processes
            have the same.
    """
    compares = _processes_have_their_own(model)
    if isinstance(x, Mapping):
        _look_at_views(model, _views_of(x))
        if compares:
            compare_processes((x,), model)
        return x
    ours = getattr(x, "multi_view", None) is not None
    adapter = adapted(x, shuffle)
    # Workers of TensorFlow share out what it reads.
    shared = not compares and process_count(model) > 1
    if adapter is x or shared or (ours and not compares):
        return adapter

    def look(batch: Any) -> None:
        check_rows(batch, getattr(x, "share_of_batch", None))
        if not ours:
            _look_at_views(model, _views_of(_inputs_of(batch)))
        if compares:
            compare_processes(batch, model)

    return Watched(adapter, look, lambda few: _look_at_views(model, few))


def check_rows(batch: Any, share: int | None) -> None:
    """Refuses a batch whose parts are not of the same examples.

    Args:
        batch: the first one.
        share: examples that it must have, or None.

    Raises:
        ValueError: if it has others.
    """
    rows = {
        name: len(array)
        for name, array in arrays_of(batch).items()
        if getattr(array, "shape", ())
    }
    if len({*rows.values()}) > 1:
        said = ", ".join(f"{count} of {name}" for name, count in rows.items())
        raise ValueError(
            "All parts of a batch must be of the same examples; received "
            f"{said}."
        )
    if rows:
        check_share(next(iter(rows.values())), share)


def _processes_have_their_own(model: Any) -> bool:
    """Whether each process gives its own examples to `fit`."""
    backend = keras.backend.backend()
    if backend == "tensorflow" or process_count(model) == 1:
        return False  # a strategy shares out what all have, see `Setup`
    distribution = keras.distribution.distribution()
    return backend == "torch" or isinstance(
        distribution, keras.distribution.DataParallel
    )


def _look_at_views(model: Any, views: Sequence[Any]) -> None:
    """Warns, once a model, of pixels that nobody seems to have normalised."""
    if not views or model.__dict__.get("_has_seen_views"):
        return
    found = _range_in_words([few_pixels(view) for view in views])
    if not found or scales_images(model.backbone):
        return
    model.__dict__["_has_seen_views"] = True
    warn(
        f"The views of the first batch {found}, and the network sees them as "
        "they are: nobody seems to have normalised them. Subtract the mean of "
        "the channels and divide by their deviation, as MultiView does: "
        "(image / 255 - mean) / std, with (0.485, 0.456, 0.406) and "
        "(0.229, 0.224, 0.225), which evaluation and export take where nothing "
        "else is said."
    )


def _range_in_words(views: Sequence[Any]) -> str:
    """What tells of pixels that are as they were read, or nothing.

    Normalised ones have both signs: some pixels are darker than the mean, in
    dark images all. Those without any, which are not brighter than the
    brightest, might be so of white paper, and are not told of.
    """
    arrays = [np.asarray(keras.ops.convert_to_numpy(view)) for view in views]
    arrays = [array for array in arrays if array.size]
    if not arrays:
        return ""
    if any(array.dtype.kind in "ui" for array in arrays):
        return (
            f"are {next(str(a.dtype) for a in arrays if a.dtype.kind in 'ui')}"
        )
    low = float(min(np.min(array) for array in arrays))
    high = float(max(np.max(array) for array in arrays))
    if not 0 <= low < high:
        return ""
    if high <= 1:
        return f"lie in [0, 1] (from {low:.2g} to {high:.2g})"
    if _BRIGHTEST < high <= 256:
        return f"lie in [0, 255] (from {low:.3g} to {high:.3g})"
    return ""


def _inputs_of(batch: Any) -> Mapping[str, Any]:
    inputs = batch[0] if isinstance(batch, (tuple, list)) else batch
    return inputs if isinstance(inputs, Mapping) else {}


def _views_of(inputs: Mapping[str, Any]) -> Sequence[Any]:
    views = inputs.get("views", ())
    if not isinstance(views, (tuple, list)):
        return ()
    return [view for view in views if len(getattr(view, "shape", ())) == 4]
