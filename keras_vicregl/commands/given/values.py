"""Which values of images are black and white, where they are no pictures."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any, NamedTuple

from keras_vicregl.commands.given.options import as_usage
from keras_vicregl.commands.problems import UsageError

if TYPE_CHECKING:
    from keras_vicregl.data import ImageSource

_LOOKED_AT = 256
_OPTIONS = ("value_range", "mean", "std")


class Found(NamedTuple):
    """What the values of images are.

    Attributes:
        value_range: a pair of numbers a channel, which become 0 and 1.
        mean: of the channels, where these are of 0 to 1.
        std: their standard deviations.
        said: the same, for people.
    """

    value_range: tuple[tuple[float, float], ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    said: str


def is_plain(source: ImageSource) -> bool:
    """Whether images are RGB of 8 bits, or tell of nothing else."""
    channels, dtype = source.channels, source.dtype
    return channels is None or (channels, dtype) == (3, "uint8")


def kind_of(source: ImageSource) -> str:
    """Channels and dtype, for people."""
    channels = source.channels
    return f"{channels} channel{'' if channels == 1 else 's'} of {source.dtype}"


def look_at(
    source: ImageSource, value_range: Any, option: str, pair: str
) -> Found:
    """Looks at some images, evenly spread.

    Args:
        source: of the images.
        value_range: what becomes 0 and 1, or None: percentiles.
        option: that says the range.
        pair: how two numbers are typed after it.

    Raises:
        UsageError: if the images have no two values, or not finite ones.
    """
    from keras_vicregl.data import channel_statistics

    with as_usage(option):
        found = channel_statistics(
            source, min(_LOOKED_AT, len(source)), value_range=value_range
        )
        ranges = found.value_range
    shown = ", ".join(f"{low:,.6g} to {high:,.6g}" for low, high in ranges[:4])
    more = ", ..." if len(ranges) > 4 else ""
    said = f"{kind_of(source)}: {shown}{more} become 0 to 1"
    if value_range is not None:
        said += f"; mean and deviation of {found.examples} images"
    else:
        low, high = found.percentiles
        said += (
            f", by percentiles {low:g} and {high:g} of {found.examples} "
            f"images; {option}{pair} says others"
        )
    return Found(ranges, found.pixel_mean, found.pixel_std, said)


def add_value_options(parser: argparse.ArgumentParser) -> None:
    """Those of commands that give images to a backbone."""
    add = parser.add_argument
    add(
        "--value-range",
        type=float,
        nargs=2,
        metavar=("LOW", "HIGH"),
        help="values that become 0 and 1; default: the model's, or found",
    )
    add(
        "--mean",
        type=float,
        nargs="+",
        metavar="M",
        help="of the channels, of 0 to 1; likewise",
    )
    add("--std", type=float, nargs="+", metavar="S", help="likewise")


def as_taken(model: Any, source: ImageSource) -> ImageSource:
    """Images, or their grey values where a model takes one channel."""
    from keras_vicregl.models.backbones.normalization import channels_taken

    return source._of_channels(1) if channels_taken(model) == 1 else source


def tell_backbone(
    model: Any, source: ImageSource, settings: argparse.Namespace
) -> str | None:
    """Has a backbone know how images are normalised, where it does not.

    Args:
        model: a backbone; what it is told it remembers.
        source: of the images.
        settings: with what `add_value_options` adds, and `preprocessed`.

    Returns:
        What was found, for people; None where there was nothing to find.

    Raises:
        UsageError: if the values cannot be had, or cannot be these.
    """
    from keras_vicregl.models.backbones.normalization import (
        channels_taken,
        remember,
        takes_integers,
        whole_normalization_of,
    )

    given = [getattr(settings, name) for name in _OPTIONS]
    said = [n for n, v in zip(_OPTIONS, given, strict=True) if v is not None]
    if settings.preprocessed or takes_integers(model):
        if said:
            raise UsageError(
                f"{_typed(said[0])}: the model normalises images itself."
            )
        return None
    source = as_taken(model, source)
    taken = channels_taken(model)
    if None not in (taken, source.channels) and taken != source.channels:
        raise UsageError(
            f"the model takes images of {taken} channels, and those of "
            f"{source!r} have {source.channels}."
        )
    known = whole_normalization_of(model)
    knows_values = known is not None and (
        not _is_raw(source) or known.value_range is not None
    )
    if not said and (is_plain(source) or knows_values):
        return None
    if known is not None:
        usual = (known.value_range, known.mean, known.std)
        given = [one or other for one, other in zip(given, usual, strict=True)]
    value_range, mean, std, words = _completed(given, source)
    channels = source.channels or taken or 3
    with as_usage("--value-range, --mean and --std"):
        remember(model, _checked(value_range, mean, std, channels))
    return words


def _completed(given: list[Any], source: ImageSource) -> tuple[Any, ...]:
    """Range, mean and deviation, and what was found for them.

    Of RGB mean and deviation are ImageNet's, of all else those of the images.
    """
    from keras_vicregl.views.normalization import default_mean, default_std

    value_range, mean, std = given
    channels = source.channels or 3
    words = None
    if channels == 3:
        mean, std = mean or default_mean(3), std or default_std(3)
    needs_mean = None in (mean, std)
    if (_is_raw(source) and (value_range is None or needs_mean)) or (
        value_range is not None and needs_mean
    ):
        found = look_at(source, value_range, "--value-range", " LOW HIGH")
        value_range, words = found.value_range, found.said
        mean, std = mean or found.mean, std or found.std
    mean, std = mean or default_mean(channels), std or default_std(channels)
    return value_range, mean, std, words


def _is_raw(source: ImageSource) -> bool:
    """Whether the dtype of images does not tell their range."""
    return source.dtype not in (None, "uint8")


def _checked(value_range: Any, mean: Any, std: Any, channels: int) -> Any:
    """A `Normalization` of these.

    Raises:
        ValueError: if they cannot be one.
    """
    from keras_vicregl.views.normalization import Normalization
    from keras_vicregl.views.values import check_value_range

    for name, values in (("mean", mean), ("std", std)):
        if len(values) != channels:
            raise ValueError(
                f"{name} must have a number for each of {channels} channels; "
                f"received {len(values)}."
            )
    if min(std) <= 0:
        raise ValueError(f"std must be positive; received {min(std):g}.")
    value_range = check_value_range(value_range, channels)
    return Normalization(tuple(mean), tuple(std), value_range)


def _typed(name: str) -> str:
    return "--" + name.replace("_", "-")
