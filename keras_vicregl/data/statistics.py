"""What values the images of a data set have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from keras_vicregl._warnings import warn
from keras_vicregl.data._checks import check_images, check_integer
from keras_vicregl.data._values import Values, values_of
from keras_vicregl.data.sources.arrays import ArraySource, from_arrays
from keras_vicregl.data.sources.image_source import ImageSource
from keras_vicregl.data.sources.subset import subset
from keras_vicregl.views.keys import IMAGES
from keras_vicregl.views.values import (
    ChannelStatistics,
    ValueRange,
    check_value_range,
    unmasked,
)

# Values of images read at a time.
_CHUNK = 2**22


def channel_statistics(
    data: Any,
    examples: int | None = None,
    *,
    percentiles: tuple[float, float] = (0.1, 99.9),
    value_range: ValueRange | None = None,
) -> ChannelStatistics:
    """Mean, deviation and percentiles of each channel, in one pass.

    What `MultiView.for_channels` makes of raw images of any depth is told by
    it. Images are read a few at a time: arrays may be memory-mapped files.

    Of integers all figures are exact. Of floating-point images mean, deviation
    and extremes are, and percentiles too while there are no more than four
    million values; of more they are those of so many pixels, drawn at random,
    as are `pixel_mean` and `pixel_std`.

    Args:
        data: What `load` returns; images (N, H, W, C), or a dictionary of
            arrays with `"images"`; or a `tf.data.Dataset` of dictionaries or
            images, batched or not.
        examples: How many to look at, evenly spread over the data, of a
            `tf.data.Dataset` the first ones. None: all.
        percentiles: The lower and the higher, of 0 to 100. (0, 100) are the
            smallest and the largest value.
        value_range: A pair, or one a channel, that becomes 0 and 1 instead of
            the percentiles, where it is known: (0, 4095) of 12 bits.

    Returns:
        A `ChannelStatistics`.

    Raises:
        ValueError: If there are no images, their shape or dtype is none of
            images, they differ in channels, values are not finite, or an
            argument is outside what it may be.

    Example:

    >>> rng = np.random.default_rng(0)
    >>> images = rng.integers(100, 4000, (8, 16, 16, 2), dtype="uint16")
    >>> statistics = channel_statistics(images)
    >>> statistics.channels, statistics.examples, statistics.dtype
    (2, 8, 'uint16')
    >>> statistics.smallest[0] <= statistics.low[0] < statistics.high[0]
    True
    """
    percentiles = _check_percentiles(percentiles)
    if examples is not None:
        examples = check_integer("examples", examples, smallest=1)
    values: Values | None = None
    seen, constant = 0, []
    for images in _chunks(data, examples):
        check_images(images.shape, images.dtype)
        if values is None:
            values = values_of(images)
        elif images.shape[-1] != values.channels:
            raise ValueError(
                "All images must have the same number of channels. Received: "
                f"{values.channels}, and from example {seen} on "
                f"{images.shape[-1]}"
            )
        _check_finite(images, seen)
        low, high = (f(images, axis=(1, 2)) for f in (np.min, np.max))
        constant += (seen + np.flatnonzero((low == high).all(axis=1))).tolist()
        values.add(images.reshape(-1, images.shape[-1]))
        seen += len(images)
    if values is None:
        raise ValueError("The data is empty: it has no images.")
    if constant and len(constant) < seen:
        some = ", ".join(map(str, constant[:5])) + ", ..." * (len(constant) > 5)
        warn(
            f"{len(constant)} of {seen} images looked at have one value in "
            f"each channel, and nothing to be seen: number {some} of these. "
            "Leave them out if they are blank."
        )
    ranges = None
    if value_range is not None:
        pairs = check_value_range(value_range, values.channels)
        ranges = np.broadcast_to(pairs, (values.channels, 2))
    return values.statistics(seen, percentiles, ranges)


def _check_percentiles(percentiles: Any) -> tuple[float, float]:
    try:
        low, high = map(float, percentiles)
    except (TypeError, ValueError):
        low = high = 0.0
    if not 0 <= low < high <= 100:
        raise ValueError(
            "percentiles must be a pair (low, high) with 0 <= low < high <= "
            f"100. Received: percentiles={percentiles!r}"
        )
    return low, high


def _check_finite(images: np.ndarray, first: int) -> None:
    if images.dtype.kind != "f" or np.isfinite(images.sum(dtype="float64")):
        return
    bad = ~np.isfinite(images)
    (example, *_, channel) = np.argwhere(bad)[0]
    raise ValueError(
        f"images must be finite. Example {first + example} has "
        f"{int(bad[example].sum())} NaN or infinite values, the first in "
        f"channel {channel}: replace them, as np.nan_to_num does, or leave "
        "such images out."
    )


def _chunks(data: Any, examples: int | None) -> Iterator[np.ndarray]:
    """Images (n, H, W, C), some at a time."""
    if isinstance(data, Mapping | np.ndarray):
        data = from_arrays(data)
    if isinstance(data, ImageSource):
        if examples is not None and examples < len(data):
            rows = np.arange(examples) * len(data) // examples
            data = subset(data, rows)
        if isinstance(data, ArraySource):
            yield from _of_array(data._arrays[IMAGES])
            return
        # Whose errors are those of Python, where TensorFlow would call it.
        called = data._has_example and data._is_decoded
        data = data.examples_in_python() if called else data.examples()
    elif not hasattr(data, "as_numpy_iterator"):
        raise ValueError(
            "data must be what load returns, images (N, H, W, C), a dictionary "
            "of arrays or a tf.data.Dataset. Received: "
            f"{type(data).__name__}"
        )
    left = examples
    for element in data:
        images = element
        while isinstance(images, tuple | list):  # images and labels
            images = images[0]
        if isinstance(images, Mapping):
            if IMAGES not in images:
                raise ValueError(
                    f"data must have {IMAGES!r}. Received dictionaries with "
                    f"the keys {sorted(images)}"
                )
            images = images[IMAGES]
        images = unmasked(images, IMAGES)
        images = images[None] if images.ndim == 3 else images
        if images.dtype.kind == "f":
            images = images.astype("float32")
        yield images[:left]
        left = None if left is None else left - len(images)
        if left is not None and left <= 0:
            return


def _of_array(images: Any) -> Iterator[np.ndarray]:
    count = max(1, _CHUNK // int(np.prod(images.shape[1:])))
    for start in range(0, len(images), count):
        stop = min(start + count, len(images))
        yield np.asarray(images[np.arange(start, stop)])
