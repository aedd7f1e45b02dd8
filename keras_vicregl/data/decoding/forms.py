"""What arrays may be images, whatever they were read by."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from keras_vicregl.views.values import (
    DTYPES,
    check_finite,
    looks_channels_first,
    unmasked,
    warn_of_axes,
)


class Form(NamedTuple):
    """What all images of a source have in common.

    Attributes:
        channels: their number C.
        dtype: name of theirs, one of `DTYPES`.
    """

    channels: int
    dtype: str

    def __str__(self) -> str:
        plural = "" if self.channels == 1 else "s"
        return f"{self.channels} channel{plural} of {self.dtype}"


RGB = Form(3, "uint8")
"""Of photographs, and of all that is made to be like them."""


def form_of(
    shape: tuple[int, ...], dtype: Any, what: str, axes_known: bool = False
) -> Form:
    """The form of an image, or why there is none.

    Args:
        shape: (H, W) or (H, W, C).
        dtype: of NumPy.
        what: what to call it, as the beginning of a sentence.
        axes_known: whether channels are known to come last.

    Raises:
        ValueError: if it is no image.
    """
    dtype = np.dtype(dtype)
    received = f"not {dtype} of shape {tuple(shape)}"
    if len(shape) not in (2, 3) or 0 in shape:
        raise ValueError(f"{what} must be (H, W, C), {received}")
    if dtype.name not in DTYPES:
        way = ""
        if dtype.kind in "biuf":
            way = ": convert it, as image.astype('float32') does"
        raise ValueError(
            f"{what} must be of uint8, uint16 or float32, {received}{way}"
        )
    if len(shape) == 3 and not axes_known:
        if looks_channels_first(shape):
            raise ValueError(
                f"{what} must be (H, W, C), {received}, whose channels seem to "
                "come first: np.moveaxis(image, 0, -1) moves them"
            )
        warn_of_axes(shape, "np.moveaxis(image, 0, -1)")
    return Form(1 if len(shape) == 2 else shape[2], dtype.name)


def as_image(value: Any, what: str, axes_known: bool = False) -> np.ndarray:
    """An array (H, W, C), which may have come as (H, W).

    Args:
        value: what was read.
        what: see `form_of`.
        axes_known: see `form_of`.

    Returns:
        In the byte order of the machine; not copied where it need not be.

    Raises:
        ValueError: if it is no image, or has values that are masked or not
            finite.
    """
    array = unmasked(value, what)
    form_of(array.shape, array.dtype, what, axes_known)
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    array = array[..., None] if array.ndim == 2 else array
    check_finite(array)
    return array


def converted(form: Form, channels: int | None) -> Form:
    """What becomes of a form where another number of channels is asked for.

    Raises:
        ValueError: if nothing does.
    """
    if channels is None or channels == form.channels:
        return form
    if channels == 3 and form.channels == 1:
        return Form(3, form.dtype)
    if channels == 1 and form == RGB:
        return Form(1, form.dtype)
    raise ValueError(
        f"it has {form}, and channels={channels} was asked for (of grey images "
        "channels=3 makes three alike, of RGB of 8 bits channels=1 grey ones)"
    )


def with_channels(image: np.ndarray, channels: int) -> np.ndarray:
    """An image (H, W, C) with the channels that `converted` allows."""
    if channels == 3 and image.shape[-1] == 1:
        return np.repeat(image, 3, axis=-1)
    return grey(image) if channels == 1 < image.shape[-1] else image


def grey(image: Any) -> Any:
    """Grey values (..., 1) of RGB (..., 3), uint8, of NumPy's or TensorFlow's.

    The luma of ITU-R 601, as Pillow rounds it: where the three are alike it is
    their value.
    """
    if isinstance(image, np.ndarray):
        red, green, blue = np.moveaxis(image.astype(np.int32), -1, 0)
        return _luma(red, green, blue).astype(np.uint8)[..., None]
    from keras_vicregl._tensorflow import tf

    red, green, blue = tf.unstack(tf.cast(image, tf.int32), axis=-1)
    return tf.cast(_luma(red, green, blue), tf.uint8)[..., None]


def _luma(red: Any, green: Any, blue: Any) -> Any:
    return (19595 * red + 38470 * green + 7471 * blue + 32768) // 65536
