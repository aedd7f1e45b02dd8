"""Which values of images are black and white, where they are no pictures."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from keras_vicregl.commands.given.options import as_usage

if TYPE_CHECKING:
    from keras_vicregl.data import ImageSource

# What is filled in, and stays what it was when the run began.
FILLED_IN = ("channels", "value_range", "mean", "std")
_LOOKED_AT = 256


def fill_in(settings: argparse.Namespace, source: ImageSource) -> str | None:
    """Gives the views channels and range of what is not RGB of 8 bits.

    Args:
        settings: what nobody said of `views` is filled in.
        source: of the images.

    Returns:
        What was found, for people; None where there was nothing to find.

    Raises:
        UsageError: if the images have no two values, or not finite ones.
    """
    from keras_vicregl.data import channel_statistics

    channels, dtype = source.channels, source.dtype
    if channels is None or (channels, dtype) == (3, "uint8"):
        return None
    views = settings.views
    if channels != 3:
        views.setdefault("channels", channels)
    kind = f"{channels} channel{'' if channels == 1 else 's'} of {dtype}"
    if dtype == "uint8" or {"value_range", "mean", "std"} <= views.keys():
        return kind
    given = views.get("value_range")
    with as_usage("--views value_range"):
        found = channel_statistics(
            source, min(_LOOKED_AT, len(source)), value_range=given
        )
        ranges = found.value_range
    views["value_range"] = [list(pair) for pair in ranges]
    views.setdefault("mean", list(found.pixel_mean))
    views.setdefault("std", list(found.pixel_std))
    shown = ", ".join(f"{low:,.6g} to {high:,.6g}" for low, high in ranges[:4])
    more = ", ..." if channels > 4 else ""
    become = f"{kind}: {shown}{more} become 0 to 1"
    if given is not None:
        return f"{become}; mean and deviation of {found.examples} images"
    low, high = found.percentiles
    return (
        f"{become}, by percentiles {low:g} and {high:g} of {found.examples} "
        "images; --views value_range=[LOW,HIGH] says others"
    )
