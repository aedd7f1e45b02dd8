"""Data sets by name, folder, list of files or arrays, all in one form."""

from __future__ import annotations

import inspect
from typing import Any

from keras_vicregl.data.arrays import from_arrays
from keras_vicregl.data.image_source import ImageSource
from keras_vicregl.data.scenes import CLASS_NAMES, digit_scenes


def load(
    source: Any,
    split: str | None = None,
    **options: Any,
) -> ImageSource:
    """Images of a data set, in the form that `view_batches` takes."""
    if source == "digit_scenes":
        scenes = digit_scenes(split or "train", **{"count": 10_000, **options})
        return from_arrays(scenes, f"digit_scenes/{split}", CLASS_NAMES)
    return from_arrays(source)
