"""The pixels of views as a few matrix products, for accelerators.

The same views as `fused` makes on the host, from the same parameters, in
`keras.ops` and thus inside compiled models. Crop, flip, resize and blur are
linear along each axis: two matrices a view, built from a handful of numbers,
take it from the source in two batched products. Nothing has a size that depends
on what was drawn, and the source is never copied per view.

Accelerators may round the factors of float32 products, to 8 bits (bfloat16) or
11 (TF32), where a source pixel has 8 and weights need more. So factors are
split into a part of 8 bits, which survives, and a small rest. That makes five
products of two, and errors of 0.01 of 255 at the most where bfloat16 alone
makes 1, or 2 after a strong change of colours (photographs, 256 to 224 px).
Pixels of more than 8 bits are split likewise, which makes six.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, cast

import keras
import numpy as np
from keras import ops

from keras_vicregl.views.pixels.noise import hashed, normal
from keras_vicregl.views.values import ValueRange, pixel_scale

if TYPE_CHECKING:
    from keras_vicregl.views.multi_view import MultiView

# Pixels are taken relative to it: half as large, they round half as far.
_CENTER = 128.0
# Weights are at most 2, and relative pixels at most 256, whatever the kernel
# overshoots: multiples of these units have 8 bits.
_WEIGHT_UNIT = 2.0**-7
_PIXEL_UNIT = 1.0

# Under PyTorch, which hardly knows uint16, Keras makes int32 of it.
_INTEGERS = ("uint8", "uint16", "int32")


def device_views(
    recipe: MultiView, images: Any, parameters: Any
) -> tuple[tuple, tuple]:
    """Make all views of a batch and their maps to the source.

    Args:
        recipe: what the views are.
        images: (B, H, W, C) uint8, or with a `value_range` uint16 or float32.
        parameters: a dictionary a group, see `MultiView.parameters`.

    Returns:
        Tuple of views (B, h, w, C) in the recipe's dtype, and tuple of maps
        (B, 2, 3) float32.

    Raises:
        ValueError: if these are not images of one known size, or not the
            parameters of this recipe.
    """
    value_range = getattr(recipe, "value_range", None)
    _check_images(images, len(recipe.mean), value_range)
    _check_parameters(recipe, parameters)
    views: tuple[Any, ...] = ()
    maps: tuple[Any, ...] = ()
    for group, drawn in zip(recipe.groups, parameters, strict=True):
        views += render(
            images,
            drawn,
            size=cast("tuple[int, int]", group.size),
            mean=recipe.mean,
            std=recipe.std,
            value_range=value_range,
            interpolation=recipe.interpolation,
            antialias=recipe.antialias,
            largest_sigma=max(group.blur) and group.blur_sigma[1],
            solarizes=max(group.solarize) > 0.0,
            dtype=recipe.compute_dtype,
        )
        to_source = ops.stop_gradient(
            ops.cast(drawn["view_to_source"], "float32")
        )
        maps += tuple(to_source[:, view] for view in range(group.count))
    return views, maps


def render(
    images: Any,
    parameters: dict[str, Any],
    *,
    size: tuple[int, int],
    mean: tuple[float, ...],
    std: tuple[float, ...],
    value_range: ValueRange | None = None,
    interpolation: str = "bicubic",
    antialias: bool = True,
    largest_sigma: float = 2.0,
    solarizes: bool = True,
    threshold: float = 128.0,
    dtype: str = "float32",
) -> tuple[Any, ...]:
    """Make the n views of a group.

    Args:
        images: (B, H, W, C) uint8, or with a `value_range` uint16 or float32;
            H and W known.
        parameters: what `MultiView.parameters` gives for the group.
        size: rows h and columns w of a view.
        mean: the channels' means on a scale of [0, 1].
        std: their standard deviations.
        value_range: of the images, see `MultiView`.
        interpolation: `"nearest"`, `"bilinear"` or `"bicubic"`.
        antialias: whether the kernel widens where a box is made smaller.
        largest_sigma: no blur is wider, in pixels of the view; 0 for none.
        solarizes: whether any view may be solarised.
        threshold: smallest value that is inverted when solarised.
        dtype: of the views.

    Returns:
        n tensors (B, h, w, C), through which no gradient flows.
    """
    height, width, channels = images.shape[1:]
    (h, w), n = size, parameters["boxes"].shape[1]
    drawn = {
        name: ops.cast(values, "float32")
        for name, values in parameters.items()
        if name != "view_to_source"
    }
    kernel: dict[str, Any] = {
        "interpolation": interpolation,
        "antialias": antialias,
    }
    radius = math.ceil(3.0 * largest_sigma)
    tops, lefts, heights, widths = (drawn["boxes"][..., i] for i in range(4))
    rows = _interpolation(tops, heights, None, height, h, **kernel)
    rows = _blurred(rows, drawn["sigma"], radius)
    columns = _interpolation(lefts, widths, drawn["flips"], width, w, **kernel)
    columns = _blurred(columns, drawn["sigma"], radius)

    # Channels before columns, so that neither product needs the pixels in
    # another order than the one before leaves them in.
    pixels = _pixels(ops.transpose(images, (0, 1, 3, 2)), value_range)
    pixels = ops.reshape(pixels - _CENTER, (-1, height, channels * width))
    rows = ops.reshape(rows, (-1, n * h, height))
    pixels = _resampled_rows(rows, pixels, are_whole=value_range is None)
    pixels = ops.reshape(pixels, (-1, n, h * channels, width))
    pixels = _resampled_columns(pixels, ops.transpose(columns, (0, 1, 3, 2)))
    pixels = ops.reshape(pixels, (-1, n, h, channels, w)) + _CENTER

    if "matrix" in drawn:
        pixels = _colored(pixels, drawn["matrix"], drawn["from_mean"])
    else:
        pixels = _changed(pixels, drawn["gain"], drawn["lift"])
    pixels = ops.clip(pixels, 0.0, 255.0)
    if "gamma" in drawn:
        exponents = drawn["gamma"][:, :, None, :, None]
        pixels = 255.0 * ops.power(pixels * (1.0 / 255.0), exponents)
    if "noise" in drawn:
        pixels = _noisy(pixels, drawn["noise"])
    if solarizes:
        chosen = _expanded(drawn["solarize"], 3) > 0.0
        inverted = ops.logical_and(chosen, pixels >= threshold)
        pixels = ops.where(inverted, 255.0 - pixels, pixels)
    scale, shift = (
        ops.convert_to_tensor(255.0 * np.float32(channels)[:, None])
        for channels in (std, mean)
    )
    pixels = (pixels - shift) / scale
    views = ops.cast(ops.transpose(pixels, (1, 0, 2, 4, 3)), dtype)
    views = ops.stop_gradient(views)
    return tuple(views[view] for view in range(n))


def _pixels(images: Any, value_range: ValueRange | None) -> Any:
    """Pixels in [0, 255] of images (B, H, C, W)."""
    images = ops.cast(images, "float32")
    if value_range is None:
        return images
    low, factor = (
        ops.convert_to_tensor(np.reshape(values, (-1, 1)))
        for values in pixel_scale(value_range)
    )
    return ops.clip((images - low) * factor, 0.0, 255.0)


def _interpolation(
    offset: Any,
    side: Any,
    flips: Any | None,
    length: int,
    out: int,
    *,
    interpolation: str,
    antialias: bool,
) -> Any:
    """Matrices (B, n, out, length) that resize boxes along one axis.

    Args:
        offset: (B, n), first pixel of the boxes.
        side: (B, n), their pixels.
        flips: (B, n), 1 where the result is mirrored, or None.
        length: pixels of the images.
        out: pixels of the result.
        interpolation: see `render`.
        antialias: see `render`.
    """
    offset, side = _expanded(offset, 2), _expanded(side, 2)
    place = ops.arange(out, dtype="float32")[:, None]
    if flips is not None:
        flips = _expanded(flips, 2)
        place = place + flips * (out - 1.0 - 2.0 * place)
    pixel = ops.arange(length, dtype="float32") - offset  # within the box
    inside = ops.logical_and(pixel >= 0.0, pixel < side)
    if interpolation == "nearest":
        # The pixel that the middle of the result's falls into, in whole
        # numbers: 2 out pixel <= (2 place + 1) side < 2 out (pixel + 1).
        pixel, side, place = (
            ops.cast(values, "int32") for values in (pixel, side, place)
        )
        into = (2 * place + 1) * side - 2 * out * pixel
        inside_pixel = ops.logical_and(into >= 0, into < 2 * out)
        return ops.cast(ops.logical_and(inside, inside_pixel), "float32")
    ratio = side / out
    widening = ops.maximum(ratio, 1.0) if antialias else 1.0
    distance = ops.abs(pixel + 0.5 - (place + 0.5) * ratio) / widening
    weights = _KERNELS[interpolation](distance)
    weights = ops.where(inside, weights, 0.0)
    return weights / ops.sum(weights, axis=-1, keepdims=True)


def _triangle(distance: Any) -> Any:
    return ops.relu(1.0 - distance)


def _cubic(distance: Any) -> Any:
    """Keys' kernel with a = -1/2."""
    far = ops.relu(2.0 - distance)
    near = ops.relu(1.0 - distance)
    return 0.5 * far * far * (far - 1.0) + near * near * (1.0 - 2.0 * near)


_KERNELS = {"bilinear": _triangle, "bicubic": _cubic}


def _blurred(weights: Any, sigma: Any, radius: int) -> Any:
    """Interpolation matrices (B, n, out, length), followed by a blur.

    Sums of shifted matrices rather than a product of two, which would round.
    """
    if not radius:
        return weights
    distance = ops.arange(radius + 1, dtype="float32")
    sigma = sigma[..., None]
    taps = ops.exp(-0.5 * ops.square(distance / ops.maximum(sigma, 1e-6)))
    taps = ops.where(distance <= ops.ceil(3.0 * sigma), taps, 0.0)
    taps = taps / (2.0 * ops.sum(taps, axis=-1, keepdims=True) - taps[..., :1])
    # Beyond the edges, views go on as they end.
    first, last = (
        ops.repeat(edge, radius, axis=2)
        for edge in (weights[:, :, :1], weights[:, :, -1:])
    )
    padded = ops.concatenate([first, weights, last], axis=2)
    out = weights.shape[2]
    total = _expanded(taps[..., 0], 2) * weights
    for tap in range(1, radius + 1):
        before = padded[:, :, radius - tap : radius - tap + out]
        after = padded[:, :, radius + tap : radius + tap + out]
        total = total + _expanded(taps[..., tap], 2) * (before + after)
    return total


def _resampled_rows(rows: Any, pixels: Any, *, are_whole: bool) -> Any:
    """Products of (B, n h, H) and pixels (B, H, C), whole numbers or not."""
    high, low = _split(rows, _WEIGHT_UNIT)
    if are_whole:
        return ops.matmul(high, pixels) + ops.matmul(low, pixels)
    whole, rest = _split(pixels, _PIXEL_UNIT)
    small = ops.matmul(low, whole) + ops.matmul(rows, rest)
    return ops.matmul(high, whole) + small


def _resampled_columns(pixels: Any, columns: Any) -> Any:
    """Products of (B, n, C, W) and (B, n, W, w)."""
    high, low = _split(columns, _WEIGHT_UNIT)
    whole, rest = _split(pixels, _PIXEL_UNIT)
    # The rest is small, and may be rounded.
    small = ops.matmul(whole, low) + ops.matmul(rest, columns)
    return ops.matmul(whole, high) + small


def _split(values: Any, unit: float) -> tuple[Any, Any]:
    """Multiples of a unit, and the rest.

    By rounding to whole numbers: casts there and back are what compilers take
    out.
    """
    high = ops.round(values * (1.0 / unit)) * unit
    return high, values - high


def _colored(pixels: Any, matrix: Any, from_mean: Any) -> Any:
    """Pixels (B, n, h, 3, w) after their views' colour matrices."""
    mean = ops.mean(pixels, axis=(2, 4))
    # Sums of products: a matmul might round.
    offset = ops.sum(from_mean * mean[:, :, None, :], axis=-1)
    colored = offset[:, :, None, :, None]
    for channel in range(3):
        weights = matrix[:, :, None, :, channel, None]
        colored = colored + weights * pixels[:, :, :, channel : channel + 1]
    return colored


def _changed(pixels: Any, gain: Any, lift: Any) -> Any:
    """Pixels (B, n, h, C, w) after brightness and contrast of each channel."""
    offset = lift * ops.mean(pixels, axis=(2, 4))
    gain, offset = (each[:, :, None, :, None] for each in (gain, offset))
    return gain * pixels + offset


def _noisy(pixels: Any, noise: Any) -> Any:
    """Pixels (B, n, h, C, w) with noise (B, n, 2) of each view added."""
    _, _, height, channels, width = pixels.shape
    row = np.arange(height)[:, None, None]
    channel = np.arange(channels)[:, None]
    places = (row * width + np.arange(width)) * channels + channel
    bits = hashed(
        ops.cast(_expanded(noise[..., 1], 3), "int32"),
        ops.convert_to_tensor(places, "int32"),
        ops.bitwise_xor,
        ops.bitwise_right_shift,
    )
    added = normal(bits, lambda each: ops.cast(each, "float32"), ops.erfinv)
    noisy = pixels + _expanded(noise[..., 0], 3) * added
    return ops.clip(noisy, 0.0, 255.0)


def _expanded(values: Any, axes: int) -> Any:
    """Values (B, n) with further axes of length 1."""
    return values[(..., *[None] * axes)]


def _check_images(
    images: Any, channels: int, value_range: ValueRange | None
) -> None:
    shape = tuple(images.shape)
    known = len(shape) == 4 and None not in shape[1:3]
    dtype = keras.backend.standardize_dtype(images.dtype)
    ranged = value_range is not None
    dtypes = (*_INTEGERS, "float32") if ranged else ("uint8",)
    if known and shape[3] == channels and dtype in dtypes:
        return
    wanted = "uint8, uint16 or float32" if ranged else "uint8"
    raise ValueError(
        f"'images' must be {wanted} of shape (B, H, W, {channels}) with one "
        "height and width, known in advance: programs for accelerators have "
        f"static shapes. Received: {dtype} of shape {shape}. "
        + (
            f"Make their views by MultiView(channels={shape[3]})."
            if known and shape[3] != channels
            else "Pass value_range, the range of their values, to MultiView."
            if known and not ranged
            else "Resize images to one size, or make their views on the host."
        )
    )


def _check_parameters(recipe: MultiView, parameters: Any) -> None:
    wanted = [group.count for group in recipe.groups]
    try:
        received = [drawn["boxes"].shape[1] for drawn in parameters]
    except (AttributeError, IndexError, KeyError, TypeError):
        received = None
    if received != wanted:
        raise ValueError(
            "'parameters' must be what the model's own `views` draws, a "
            f"dictionary a group, for {wanted} views. Received: "
            + (
                f"{type(parameters).__name__}."
                if received is None
                else f"{received} views. Are data and model of one recipe?"
            )
        )
