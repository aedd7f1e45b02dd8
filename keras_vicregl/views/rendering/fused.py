"""The pixels of views in a few passes, on the host.

What a chain of layers does to an image one operation after another - crop,
flip, resize, blur, and four changes of colour - is linear up to the last: it
comes down to an interpolation of rows, one of columns and one colour matrix,
compiled by XLA where the sizes of images are known. The crop, its flip and an
antialiased resize are one interpolation from the source image; a blur is two
passes along the axes, for the views drawn only; colour, clipping, solarising
and normalising are one pass.

Measured against the single operations (`MultiView(faithful=True)`), see
`tests/views/test_fused.py`.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import operator
from typing import Any

import numpy as np

from keras_vicregl._tensorflow import tf
from keras_vicregl.views.pixels.interpolation import most_taps, taps
from keras_vicregl.views.pixels.noise import hashed, normal
from keras_vicregl.views.pixels.resize import resize
from keras_vicregl.views.pixels.tensors import as_pixels
from keras_vicregl.views.values import ValueRange

# Images with more taps a pixel than this are treated as of unknown size.
_MOST_TAPS = 24
# Sides of the canvas for boxes of images of unknown size, in sides of the view.
_CANVAS = 2


@dataclasses.dataclass(frozen=True)
class Rendering:
    """What `render` needs beside images and drawn parameters.

    Attributes:
        size: rows and columns of a view.
        interpolation: `"nearest"`, `"bilinear"` or `"bicubic"`.
        antialias: whether the kernel widens when a box is made smaller.
        mean: the C channels' means on a scale of [0, 1].
        std: their standard deviations.
        value_range: of the images, see `MultiView`.
        largest_sigma: of the blur, in pixels of the view; 0 if none is drawn.
        solarizes: whether any view is solarised.
        dtype: of the views.
        jit_compile: whether XLA compiles the passes.
        threshold: smallest value that is inverted when solarised.
    """

    size: tuple[int, int]
    interpolation: str
    antialias: bool
    mean: tuple[float, ...]
    std: tuple[float, ...]
    largest_sigma: float
    solarizes: bool
    dtype: str
    jit_compile: bool
    value_range: ValueRange | None = None
    threshold: float = 128.0

    @property
    def channels(self) -> int:
        """Number of channels C."""
        return len(self.mean)


def render(
    images: tf.Tensor, parameters: dict[str, tf.Tensor], how: Rendering
) -> tuple[tf.Tensor, ...]:
    """Make the views of a group.

    Args:
        images: (B, H, W, C), uint8 or float32 in [0, 255], or of any values
            and dtype that `how.value_range` makes pixels of.
        parameters: what `draw_group` returns for n views.
        how: everything else.

    Returns:
        n tensors (B, *how.size, C).
    """
    n = parameters["boxes"].shape[1]
    length = tuple(images.shape[1:3])
    passes = _passes(how)
    if None in length or max(_counts(length, how)) > _MOST_TAPS:
        one_view = _view_of_any_size(how)
        elements = (images, parameters)
    else:

        def one_view(image: tf.Tensor, drawn: Any) -> tf.Tensor:
            return passes(image, *drawn["axes"], drawn)

        axes = _axes(parameters["boxes"], parameters["flips"], length, how)
        elements = (images, {**_of_pixels(parameters), "axes": axes})

    def views_of(image: tf.Tensor, drawn: Any) -> tuple:
        # One view's entry of each array (n, ...).
        return tuple(
            one_view(
                image,
                tf.nest.map_structure(operator.itemgetter(view), drawn),
            )
            for view in range(n)
        )

    return _for_each(views_of, elements, n, how)


def _counts(length: tuple[int, int], how: Rendering) -> list[int]:
    return [
        most_taps(pixels, out, how.interpolation, how.antialias)
        for pixels, out in zip(length, how.size, strict=True)
    ]


def _axes(
    boxes: tf.Tensor, flips: tf.Tensor, length: tuple[int, int], how: Rendering
) -> tuple:
    """Indices and weights of the interpolation along rows and columns.

    Args:
        boxes: (B, n, 4).
        flips: (B, n).
        length: rows and columns of the images.
        how: the size of views and the kernel.

    Returns:
        Two pairs of (B, n, out, T), see `taps`.
    """
    return tuple(
        taps(
            boxes[..., axis],
            boxes[..., 2 + axis],
            flips * axis,
            length[axis],
            how.size[axis],
            count,
            how.interpolation,
            how.antialias,
        )
        for axis, count in enumerate(_counts(length, how))
    )


def _view_of_any_size(how: Rendering) -> Any:
    """Function from an image of any size and parameters to a view.

    XLA would compile anew for each size. So a box goes onto a canvas of fixed
    size, and a box that is too large for it is resized by TensorFlow.
    """
    passes = _passes(how)
    # What TensorFlow resizes are pixels already.
    passes_of_pixels = _passes(dataclasses.replace(how, value_range=None))
    canvas = _CANVAS * how.size[0], _CANVAS * how.size[1]
    whole = [(tf.range(out)[:, None], tf.ones((out, 1))) for out in how.size]

    def one_view(image: tf.Tensor, drawn: Any) -> tf.Tensor:
        box = tf.cast(drawn["boxes"], tf.int32)
        top, left, height, width = tf.unstack(box)

        def interpolated() -> tf.Tensor:
            cut = image[top : top + height, left : left + width]
            cut = _on_canvas(cut, height, width, canvas)
            from_corner = drawn["boxes"] * tf.constant([0.0, 0.0, 1.0, 1.0])
            axes = _axes(
                from_corner[None, None], drawn["flips"][None, None], canvas, how
            )
            axes = tf.nest.map_structure(lambda values: values[0, 0], axes)
            return passes(cut, *axes, _of_pixels(drawn))

        def resized() -> tf.Tensor:
            flips = drawn["flips"][None] > 0
            pixels = resize(
                as_pixels(image, how.value_range)[None],
                box[None],
                flips,
                *how.size,
                how.interpolation,
                how.antialias,
            )
            return passes_of_pixels(pixels[0], *whole, _of_pixels(drawn))

        fits = (height <= canvas[0]) & (width <= canvas[1])
        return tf.cond(fits, interpolated, resized)

    return one_view


def _on_canvas(
    cut: tf.Tensor, height: tf.Tensor, width: tf.Tensor, canvas: tuple
) -> tf.Tensor:
    """An image (height, width, C) in the corner of a larger one."""
    channels = cut.shape[2]
    # tf.pad goes through bytes one by one, tf.concat copies whole rows.
    right = tf.zeros([height, canvas[1] - width, channels], cut.dtype)
    cut = tf.concat([cut, right], axis=1)
    below = tf.zeros([canvas[0] - height, canvas[1], channels], cut.dtype)
    return tf.ensure_shape(tf.concat([cut, below], axis=0), (*canvas, channels))


def _of_pixels(parameters: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    others = ("boxes", "flips", "view_to_source")
    return {name: parameters[name] for name in parameters if name not in others}


def _for_each(
    views_of: Any, elements: tuple, n: int, how: Rendering
) -> tuple[tf.Tensor, ...]:
    """`views_of` the entries of each example, batched.

    Example by example, so that all its passes find it in the cache.
    """
    if elements[0].shape[0] == 1:
        first = tf.nest.map_structure(lambda values: values[0], elements)
        return tuple(view[None] for view in views_of(*first))
    view = tf.TensorSpec((*how.size, how.channels), how.dtype)
    return tf.map_fn(
        lambda one: views_of(*one), elements, fn_output_signature=(view,) * n
    )


@functools.cache
def _passes(how: Rendering) -> Any:
    """Function from an image, its taps and parameters to a view."""
    compiled = {"jit_compile": how.jit_compile or None, "autograph": False}
    (height, width), channels = how.size, how.channels

    @tf.function(**compiled)
    def rows_pass(image: tf.Tensor, rows: Any, drawn: Any) -> tf.Tensor:
        pixels = as_pixels(image, how.value_range)
        pixels = tf.reshape(pixels, [image.shape[0], image.shape[1] * channels])
        return _blurred(_interpolate(pixels, *rows), drawn["sigma"], how)

    @tf.function(**compiled)
    def columns_pass(pixels: tf.Tensor, columns: Any, drawn: Any) -> tf.Tensor:
        pixels = _blurred(_interpolate(pixels, *columns), drawn["sigma"], how)
        pixels = tf.reshape(pixels, [width, channels, height])
        if "matrix" in drawn:
            return _of_colors(pixels, drawn, how)
        return _of_channels(pixels, drawn, how)

    # By itself, and so along memory: between channels that are mixed, XLA would
    # compute it value by value.
    @tf.function(**compiled)
    def noise_pass(noise: tf.Tensor) -> tf.Tensor:
        return _noise(noise, how.size, channels)

    def view_of(
        image: tf.Tensor, rows: Any, columns: Any, drawn: Any
    ) -> tf.Tensor:
        if "noise" in drawn:
            noise = drawn["noise"]
            added = tf.cond(
                noise[0] > 0.0,
                lambda: noise_pass(noise),
                lambda: tf.zeros([width, channels, height]),
            )
            drawn = {**drawn, "noise": added}
        pixels = rows_pass(image, rows, drawn)
        # Columns become rows: both passes then run along contiguous memory.
        # Not within a pass, where XLA would read everything across.
        shape = [image.shape[1], channels * height]
        pixels = tf.reshape(tf.transpose(pixels), shape)
        view = columns_pass(pixels, columns, drawn)
        return view if "matrix" in drawn else tf.transpose(view, [2, 0, 1])

    return view_of


def _interpolate(
    pixels: tf.Tensor, index: tf.Tensor, weights: tf.Tensor
) -> tf.Tensor:
    """Rows (out, C) as sums of rows (length, C), by taps (out, T)."""
    terms = [
        tf.gather(pixels, index[:, tap]) * weights[:, tap, None]
        for tap in range(index.shape[1])
    ]
    return _sum(terms)


def _blurred(pixels: tf.Tensor, sigma: tf.Tensor, how: Rendering) -> tf.Tensor:
    """Rows (n, C) blurred along the first axis where `sigma` is not 0."""
    if not how.largest_sigma:
        return pixels
    # A narrow blur takes few taps: three widths, each compiled.
    reach = math.ceil(3.0 * how.largest_sigma)
    radii = sorted({math.ceil(reach * part / 3) for part in (1, 2, 3)})
    needed = tf.math.ceil(3.0 * sigma)
    branch = sum(tf.cast(needed > radius, tf.int32) for radius in (0, *radii))
    branch = tf.minimum(branch, len(radii))
    return tf.switch_case(
        branch,
        [
            lambda: pixels,
            *(
                lambda radius=radius: _blur(pixels, sigma, needed, radius)
                for radius in radii
            ),
        ],
    )


def _blur(
    pixels: tf.Tensor, sigma: tf.Tensor, reach: tf.Tensor, radius: int
) -> tf.Tensor:
    distance = tf.range(radius + 1, dtype=tf.float32)
    weights = tf.exp(-0.5 * tf.square(distance / tf.maximum(sigma, 1e-6)))
    weights = tf.where(distance <= reach, weights, 0.0)
    weights /= 2.0 * tf.reduce_sum(weights) - weights[0]
    last = pixels.shape[0] - 1
    row = tf.range(last + 1)
    terms = [weights[0] * pixels]
    for tap in range(1, radius + 1):
        after = tf.gather(pixels, tf.minimum(row + tap, last))
        before = tf.gather(pixels, tf.maximum(row - tap, 0))
        terms.append(weights[tap] * (after + before))
    return _sum(terms)


def _of_colors(
    pixels: tf.Tensor, drawn: dict[str, tf.Tensor], how: Rendering
) -> tf.Tensor:
    """A view (h, w, 3) of interpolated pixels (w, 3, h), mixed by a matrix."""
    mean = tf.reduce_mean(pixels, axis=[0, 2])
    offset = tf.linalg.matvec(drawn["from_mean"], mean)
    channels = []
    for channel in range(how.channels):
        weights = drawn["matrix"][channel]
        value = _sum([weights[c] * pixels[:, c] for c in range(3)])
        value = tf.clip_by_value(value + offset[channel], 0.0, 255.0)
        if "gamma" in drawn:
            exponents = drawn["gamma"]
            exponent = exponents[min(channel, exponents.shape[0] - 1)]
            value = _curved(value, exponent)
        if "noise" in drawn:
            noise = drawn["noise"][:, channel]
            value = tf.clip_by_value(value + noise, 0.0, 255.0)
        mean_and_std = how.mean[channel], how.std[channel]
        channels.append(_normalized(value, *mean_and_std, drawn, how))
    return tf.transpose(tf.stack(channels, axis=-1), [1, 0, 2])


def _of_channels(
    pixels: tf.Tensor, drawn: dict[str, tf.Tensor], how: Rendering
) -> tf.Tensor:
    """A view (w, C, h) of interpolated pixels (w, C, h), each by itself.

    The order of memory stays, so that XLA computes many values at a time.
    """
    offset = drawn["lift"] * tf.reduce_mean(pixels, axis=[0, 2])
    value = drawn["gain"][:, None] * pixels + offset[:, None]
    value = tf.clip_by_value(value, 0.0, 255.0)
    if "gamma" in drawn:
        value = _curved(value, drawn["gamma"][:, None])
    if "noise" in drawn:
        value = tf.clip_by_value(value + drawn["noise"], 0.0, 255.0)
    mean, std = (np.float32(each)[:, None] for each in (how.mean, how.std))
    return _normalized(value, mean, std, drawn, how)


def _normalized(
    value: tf.Tensor, mean: Any, std: Any, drawn: Any, how: Rendering
) -> tf.Tensor:
    """What becomes of pixels in the end."""
    if how.solarizes:
        inverted = (drawn["solarize"] > 0) & (value >= how.threshold)
        value = tf.where(inverted, 255.0 - value, value)
    scale = 255.0 * std
    return tf.cast((value - 255.0 * mean) * (1.0 / scale), how.dtype)


def _curved(value: tf.Tensor, exponent: tf.Tensor) -> tf.Tensor:
    return 255.0 * tf.exp(exponent * tf.math.log(value * (1.0 / 255.0)))


def _noise(noise: tf.Tensor, size: tuple[int, int], channels: int) -> tf.Tensor:
    """What is added to the pixels (w, C, h), of a deviation and a seed."""
    height, width = size
    channel = tf.range(channels)[:, None]
    column, row = tf.range(width)[:, None, None], tf.range(height)
    bits = hashed(
        tf.cast(noise[1], tf.int32),
        (row * width + column) * channels + channel,
        tf.bitwise.bitwise_xor,
        tf.bitwise.right_shift,
    )
    return noise[0] * normal(
        bits, lambda each: tf.cast(each, tf.float32), tf.math.erfinv
    )


def _sum(terms: list[tf.Tensor]) -> tf.Tensor:
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total
