"""Names that torchvision and timm give the weights of a ConvNeXt.

A ResNet's are the same everywhere. A ConvNeXt has three sets of names: those of
the published code, which this package has, torchvision's and timm's. In these
two all blocks have factors of layer scale; torchvision's are (C, 1, 1).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

LAYOUTS = ("published", "torchvision", "timm")

# Of the parts of a block.
_IN_BLOCK = {
    "torchvision": {
        "gamma": "layer_scale",
        "dwconv": "block.0",
        "norm": "block.2",
        "pwconv1": "block.3",
        "pwconv2": "block.5",
    },
    "timm": {
        "gamma": "gamma",
        "dwconv": "conv_dw",
        "norm": "norm",
        "pwconv1": "mlp.fc1",
        "pwconv2": "mlp.fc2",
    },
}
# Of timm's networks with `head_norm_first`.
_EARLY_NORM = "norm_pre"
# In every checkpoint; what stands before it is before all keys.
_FIRST_BLOCK = "stages.0.0.dwconv.weight"


def check_layout(layout: str) -> None:
    """Raises a ValueError unless it is one of `LAYOUTS`."""
    if layout not in LAYOUTS:
        raise ValueError(
            f"`layout` must be one of {LAYOUTS}. Received: layout={layout!r}"
        )


def in_layout(
    weights: Mapping[str, np.ndarray], layout: str
) -> dict[str, np.ndarray]:
    """Weights of a ConvNeXt under the names of torchvision or timm.

    Args:
        weights: arrays by the published code's keys.
        layout: `"torchvision"` or `"timm"`.

    Returns:
        Arrays by their keys, in their order. A network without layer scale
        gets factors of one.
    """
    weights = dict(weights)
    for key in list(weights):
        if key.endswith(".dwconv.weight"):
            ones = np.ones(len(weights[key]), weights[key].dtype)
            weights.setdefault(_gamma_of(key), ones)
    theirs = {}
    for key in sorted(weights, key=_order):
        value = weights[key]
        if layout == "torchvision" and key.endswith(".gamma"):
            value = value.reshape(-1, 1, 1)
        theirs[_their_key(key, layout)] = value
    return theirs


def from_layouts(
    state_dict: Mapping[str, np.ndarray], expected: Iterable[str]
) -> dict[str, np.ndarray]:
    """A checkpoint of torchvision's or timm's ConvNeXt under published names.

    What stands before their keys stays there, and so does all else that is in
    the checkpoint. Factors of layer scale that are all one are left out where
    the model has none.

    Args:
        state_dict: arrays by key; of any network.
        expected: the published keys of the model.
    """
    expected = tuple(expected)
    gammas = {
        _gamma_of(key) for key in expected if key.endswith(".dwconv.weight")
    }
    renamed = dict(state_dict)
    for layout in _IN_BLOCK:
        names = {_their_key(key, layout): key for key in gammas.union(expected)}
        if layout == "timm":
            for kind in ("weight", "bias"):
                names[f"{_EARLY_NORM}.{kind}"] = f"norm.{kind}"
        first = _their_key(_FIRST_BLOCK, layout)
        for prefix in [
            key.removesuffix(first) for key in renamed if key.endswith(first)
        ]:
            renamed = {
                _renamed(key, prefix, names): _as_published(value, key)
                for key, value in renamed.items()
            }
    surplus = tuple(gammas.difference(expected))
    return {
        key: value
        for key, value in renamed.items()
        if not (surplus and key.endswith(surplus) and np.all(value == 1))
    }


def _renamed(key: str, prefix: str, names: Mapping[str, str]) -> str:
    own = key.removeprefix(prefix)
    if key.startswith(prefix) and own in names:
        return prefix + names[own]
    return key


def _as_published(value: np.ndarray, key: str) -> np.ndarray:
    if key.endswith(".layer_scale"):
        return value.reshape(-1)
    # Of timm's networks with `conv_mlp`, which are convolutions of 1 x 1.
    if key.endswith((".mlp.fc1.weight", ".mlp.fc2.weight")):
        return value.reshape(value.shape[:2])
    return value


def _gamma_of(key: str) -> str:
    return key.removesuffix("dwconv.weight") + "gamma"


def _order(key: str) -> tuple[int, ...]:
    """Stage by stage, what leads into a stage first, factors before blocks."""
    part, *rest = key.split(".")
    if part == "norm":
        return (1000,)
    if part == "downsample_layers":
        return (int(rest[0]), -1)
    return (int(rest[0]), int(rest[1]), rest[2] != "gamma")


def _their_key(key: str, layout: str) -> str:
    """Torchvision's or timm's name of one of the published code."""
    timm = layout == "timm"
    part, *rest = key.split(".")
    if part == "norm":
        return ".".join(["head.norm" if timm else "classifier.0", *rest])
    stage, index, *rest = rest
    if part == "downsample_layers":
        if timm:
            where = "stem" if stage == "0" else f"stages.{stage}.downsample"
        else:
            where = f"features.{2 * int(stage)}"
        return ".".join([where, index, *rest])
    name, *kind = rest
    if timm:
        where = f"stages.{stage}.blocks.{index}"
    else:
        where = f"features.{2 * int(stage) + 1}.{index}"
    return ".".join([where, _IN_BLOCK[layout][name], *kind])
