"""Changes of values that images of any number of channels know.

Brightness and contrast are a gain and a lift a channel, where for RGB they are
part of one matrix (`color_matrix`); gamma and noise follow either.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_vicregl.views.drawing import stateless
from keras_vicregl.views.drawing.arrays import namespace

_SHARED = 3
_STEPS = np.float32(2**24)


def value_draws(keys: Any, first_view: int, n: int, channels: int) -> Any:
    """Draws (B, n, 3 + 3 `channels`) of the views' own stream.

    Args:
        keys: (B,) uint64, the examples' keys.
        first_view: how many views come before these.
        n: number of views.
        channels: how many have draws of their own; 0 where all share theirs.
    """
    names = [
        stateless.stream_name(f"Values/{view}")
        for view in range(first_view, first_view + n)
    ]
    keys = stateless.fold_all(keys, np.array(names, "uint64"))
    return stateless.uniform(keys, _SHARED + 3 * channels)


def own_draws(draws: Any, kind: int, channels: int) -> Any:
    """The draws (..., C) of brightness (0), contrast (1) or gamma (2)."""
    first = _SHARED + kind * channels
    return draws[..., first : first + channels]


def gain_and_lift(brightness: Any, contrast: Any, jittered: Any) -> tuple:
    """Brightness and contrast as `gain * x + lift * mean(x)` of a channel.

    Brightness is a multiple of the channel, contrast a blend with its mean over
    the view. Their order changes nothing.

    Args:
        brightness: (..., C), factors.
        contrast: (..., C), factors.
        jittered: (..., 1), 1 where they are applied, 0 elsewhere.

    Returns:
        Two arrays (..., C).
    """
    one = np.float32(1.0)
    gain = brightness * contrast
    lift = brightness * (one - contrast)
    return jittered * gain + (one - jittered), jittered * lift


def exponents(draws: Any, gamma: float, jittered: Any) -> Any:
    """Exponents exp(u), u uniform in [-gamma, gamma], 1 where not jittered."""
    logarithm = np.float32(gamma) * (np.float32(2.0) * draws - np.float32(1.0))
    return namespace(draws).exp(jittered * logarithm)


def noise_of(draws: Any, noise: float, jittered: Any) -> Any:
    """Deviation in pixels of 255, and a whole number below 2^24 as seed.

    Args:
        draws: (..., 2), uniform in [0, 1).
        noise: largest deviation, on a scale of [0, 1].
        jittered: (..., 1).

    Returns:
        (..., 2).
    """
    xp = namespace(draws)
    deviation = np.float32(255.0 * noise) * draws[..., :1] * jittered
    return xp.concatenate([deviation, draws[..., 1:] * _STEPS], axis=-1)
