"""What is done to each view, drawn from its example's seeds.

The parameters are few numbers a view: they are drawn where the data is, with
NumPy or TensorFlow, and the pixels follow them there (`rendering.fused`) or in
the model (`rendering.device`).
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from keras_vicregl.views.drawing import stateless
from keras_vicregl.views.drawing.arrays import cast, namespace
from keras_vicregl.views.drawing.boxes import DRAWS_PER_BOX, sample_boxes
from keras_vicregl.views.drawing.color_matrix import color_matrices
from keras_vicregl.views.drawing.value_changes import (
    exponents,
    gain_and_lift,
    noise_of,
    own_draws,
    value_draws,
)
from keras_vicregl.views.view_group import ViewGroup

# Layers whose draws are those of the single layers of the same name.
_STREAMS = (
    "RandomResizedCrop",
    "ColorJitter",
    "RandomGrayscale",
    "RandomGaussianBlur",
    "RandomSolarize",
)
_CROP, _JITTER, _GRAY, _BLUR, _SOLARIZE = range(len(_STREAMS))


@dataclasses.dataclass(frozen=True)
class SharedOptions:
    """What all views of a `MultiView` have in common, see there."""

    flip: float
    track_flips: bool
    brightness: float
    contrast: float
    saturation: float
    hue: float
    jitter: float
    grayscale: float
    channels: int = 3
    gamma: float = 0.0
    noise: float = 0.0
    per_channel: bool = False

    @property
    def mixes_channels(self) -> bool:
        """Whether the changes are those of colours: of RGB, all together."""
        return self.channels == 3 and not self.per_channel


def draw_groups(
    keys: Any,
    size: Any,
    view_to_source: Any,
    groups: tuple[ViewGroup, ...],
    options: SharedOptions,
) -> tuple[dict[str, Any], ...]:
    """Parameters of the views of all groups, a dictionary a group.

    Arguments are those of `draw_group`.
    """
    first, drawn = 0, []
    for group in groups:
        drawn.append(
            draw_group(keys, size, view_to_source, group, first, options)
        )
        first += group.count
    return tuple(drawn)


def draw_group(
    keys: Any,
    size: Any,
    view_to_source: Any,
    group: ViewGroup,
    first_view: int,
    options: SharedOptions,
) -> dict[str, Any]:
    """Parameters of the n views of a group.

    Args:
        keys: (B,) uint64, the examples' keys, NumPy or TensorFlow.
        size: (2,), height and width of the images, or (B, 2), in the same
            library.
        view_to_source: (B, 2, 3) float32, the images' map to their source.
        group: the group.
        first_view: how many views come before it.
        options: what it has in common with the other groups.

    Returns:
        Dictionary of float32 arrays: `"boxes"` (B, n, 4), top, left, height and
        width in whole pixels of the image; `"flips"` (B, n), 0 or 1;
        `"matrix"` and `"from_mean"` (B, n, 3, 3), see `color_matrices`, or of
        other channels than RGB `"gain"` and `"lift"` (B, n, C), see
        `gain_and_lift`; `"gamma"` (B, n, 1 or C) and `"noise"` (B, n, 2), see
        `noise_of`, where there may be any; `"sigma"` (B, n), the blur's
        standard deviation in pixels of the view, 0 for none; `"solarize"`
        (B, n), 0 or 1; `"view_to_source"` (B, n, 2, 3).
    """
    xp = namespace(keys)
    n = group.count
    views = range(first_view, first_view + n)
    names = [
        [stateless.stream_name(f"{layer}/{view}") for layer in _STREAMS]
        for view in views
    ]
    streams = stateless.fold_all(keys, np.array(names, "uint64"))
    # (B, n, streams, count)
    draws = stateless.uniform(streams, DRAWS_PER_BOX + 1)

    crop = draws[:, :, _CROP]
    each_has_a_size = len(size.shape) == 2
    boxes = sample_boxes(
        xp.reshape(crop[..., :DRAWS_PER_BOX], (-1, DRAWS_PER_BOX)),
        xp.repeat(size, n, axis=0) if each_has_a_size else size,
        group.scale,
        group.aspect_ratio,
    )
    boxes = xp.reshape(boxes, (-1, n, 4))
    flips = _chosen(crop[..., DRAWS_PER_BOX], options.flip)
    blur = draws[:, :, _BLUR]
    low, high = np.float32(group.blur_sigma)
    sigma = low + (high - low) * blur[..., 1]
    return {
        "boxes": cast(boxes, "float32"),
        "flips": flips,
        **_changes(keys, draws, first_view, n, options),
        "sigma": sigma * _chosen(blur[..., 0], _repeated(group.blur, n)),
        "solarize": _chosen(
            draws[:, :, _SOLARIZE, 0], _repeated(group.solarize, n)
        ),
        "view_to_source": compose_boxes(
            view_to_source[:, None],
            boxes,
            size[:, None] if each_has_a_size else size,
            flips if options.track_flips else flips * np.float32(0.0),
        ),
    }


def _changes(
    keys: Any, draws: Any, first_view: int, n: int, options: SharedOptions
) -> dict[str, Any]:
    """What changes the values of the views, see `draw_group`."""
    jitter = draws[:, :, _JITTER, :9]
    strengths = [options.brightness, options.contrast, options.saturation]
    jittered = _chosen(jitter[..., 0], options.jitter)
    if options.mixes_channels:
        matrix, from_mean = color_matrices(
            jitter_factors(jitter[..., 1:4], strengths),
            jitter_shift(jitter[..., 4], options.hue),
            ranks=jitter[..., 5:],
            jittered=jittered,
            gray=_chosen(draws[:, :, _GRAY, 0], options.grayscale),
        )
        changes = {"matrix": matrix, "from_mean": from_mean}
        if not (options.gamma or options.noise):
            return changes
    else:
        changes = {}
    jittered = jittered[..., None]
    own = options.channels if options.per_channel else 0
    values = value_draws(keys, first_view, n, own)
    if not options.mixes_channels:
        drawn = [
            own_draws(values, kind, own) if own else jitter[..., kind + 1, None]
            for kind in (0, 1)
        ]
        factors = [
            jitter_factors(each, strength)
            for each, strength in zip(drawn, strengths[:2], strict=True)
        ]
        ones = np.ones(1 if own else options.channels, "float32")
        gain, lift = gain_and_lift(factors[0], factors[1], jittered)
        changes |= {"gain": gain * ones, "lift": lift * ones}
    if options.gamma:
        drawn = own_draws(values, 2, own) if own else values[..., :1]
        changes["gamma"] = exponents(drawn, options.gamma, jittered)
    if options.noise:
        changes["noise"] = noise_of(values[..., 1:3], options.noise, jittered)
    return changes


def jitter_factors(draws: Any, strengths: Any) -> Any:
    """Factors uniform in [max(0, 1 - x), 1 + x] of draws (..., n or any)."""
    strengths = np.float32(strengths)
    low = np.maximum(np.float32(0.0), 1 - strengths)
    return low + (1 + strengths - low) * draws


def jitter_shift(draws: Any, hue: float) -> Any:
    """Turns of the hue uniform in [-hue, hue]."""
    return np.float32(hue) * (np.float32(2.0) * draws - np.float32(1.0))


def compose_boxes(
    view_to_source: Any, boxes: Any, size: Any, flips: Any
) -> Any:
    """Maps of boxes of images that have a map themselves.

    Args:
        view_to_source: (..., 2, 3) of the images.
        boxes: (..., 4), top, left, height, width in pixels of the images.
        size: (2,) or (..., 2), height and width of the images.
        flips: (...), 1 where the box is mirrored and the map is to know it.

    Returns:
        (..., 2, 3) float32.
    """
    xp = namespace(boxes)
    boxes, size = cast(boxes, "float64"), cast(size, "float64")
    flips = cast(flips, "float64")
    corner, sides = boxes[..., :2] / size, boxes[..., 2:] / size
    mirrored = sides[..., 1] * (np.float64(1.0) - np.float64(2.0) * flips)
    return compose_along_axes(
        view_to_source,
        xp.stack([mirrored, sides[..., 0]], axis=-1),
        xp.stack(
            [corner[..., 1] + sides[..., 1] * flips, corner[..., 0]], axis=-1
        ),
    )


def compose_along_axes(view_to_source: Any, scale: Any, offset: Any) -> Any:
    """Maps for new coordinates, each an affine function of the old one.

    Args:
        view_to_source: (..., 2, 3).
        scale: (..., 2) float64; an old coordinate (u, v) is
            scale * new + offset.
        offset: (..., 2) float64.

    Returns:
        (..., 2, 3), float32.
    """
    xp = namespace(scale)
    # In float64, so that whole pixels stay whole after many layers.
    outer = cast(view_to_source, "float64")
    linear = outer[..., :2] * scale[..., None, :]
    shift = xp.sum(outer[..., :2] * offset[..., None, :], axis=-1)
    translation = outer[..., 2] + shift
    composed = xp.concatenate([linear, translation[..., None]], axis=-1)
    return cast(composed, "float32")


def _chosen(draws: Any, probability: Any) -> Any:
    return cast(draws < np.float32(probability), "float32")


def _repeated(probabilities: tuple[float, ...], count: int) -> np.ndarray:
    return np.resize(np.float32(probabilities), count)
