"""What `pretrain` says of images that are no pictures to the views."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from keras_vicregl.commands.given.values import is_plain, kind_of, look_at

if TYPE_CHECKING:
    from keras_vicregl.data import ImageSource

# What is filled in, and stays what it was when the run began.
FILLED_IN = ("channels", "value_range", "mean", "std")


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
    if is_plain(source):
        return None
    views = settings.views
    if source.channels != 3:
        views.setdefault("channels", source.channels)
    if source.dtype == "uint8" or set(FILLED_IN[1:]) <= views.keys():
        return kind_of(source)
    found = look_at(
        source, views.get("value_range"), "--views value_range", "=[LOW,HIGH]"
    )
    views["value_range"] = [list(pair) for pair in found.value_range]
    views.setdefault("mean", list(found.mean))
    views.setdefault("std", list(found.std))
    return found.said
