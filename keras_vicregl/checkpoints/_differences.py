"""Where a state dict is not what a model takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from keras_vicregl.models.backbones.state_dict import StateDictEntry


def differences(
    layout: Mapping[str, StateDictEntry],
    state_dict: Mapping[str, np.ndarray],
) -> list[str]:
    """What keeps a model from taking a state dict, a line a kind.

    Args:
        layout: what the model takes.
        state_dict: arrays by key.
    """
    # Counters have no variable, and files of old have none.
    missing = [
        key
        for key, entry in layout.items()
        if key not in state_dict and entry.variable is not None
    ]
    surplus = [key for key in state_dict if key not in layout]
    shapes = [
        f"{key} (checkpoint {tuple(state_dict[key].shape)}, model "
        f"{entry.shape})"
        for key, entry in layout.items()
        if key in state_dict and tuple(state_dict[key].shape) != entry.shape
    ]
    beyond = [
        key
        for key, entry in layout.items()
        if key in state_dict and _overflows(entry.variable, state_dict[key])
    ]
    broken = [
        key
        for key, entry in layout.items()
        if key in state_dict
        and entry.variable is not None
        and not np.isfinite(np.asarray(state_dict[key], np.float64)).all()
    ]
    return [
        f"{title} ({len(keys)}): {', '.join(keys)}"
        for title, keys in (
            ("Missing", missing),
            ("Surplus", surplus),
            ("Of another shape", shapes),
            ("Beyond the range of the model's float16", beyond),
            ("Not finite", broken),
        )
        if keys
    ]


def _overflows(variable: Any, value: np.ndarray) -> bool:
    if variable is None or variable.dtype != "float16":
        return False
    value = np.abs(np.asarray(value, np.float64))
    limit = np.finfo(np.float16).max
    return bool(np.any(np.isfinite(value) & (value > limit)))
