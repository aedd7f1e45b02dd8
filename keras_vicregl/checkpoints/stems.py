"""The first convolution of a checkpoint, for images of other channels."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from keras_vicregl.models.backbones.registry import FITTED_STEMS as STEMS
from keras_vicregl.models.backbones.state_dict import StateDictEntry


def check_stem(stem: str | None) -> None:
    """Raises a ValueError unless it is one of `STEMS`, or None."""
    if stem is not None and stem not in STEMS:
        raise ValueError(
            f"`stem` must be one of {STEMS}, or None for a checkpoint of as "
            f"many channels as the model. Received: stem={stem!r}"
        )


def stem_of_channels(
    kernel: np.ndarray, channels: int, stem: str
) -> np.ndarray:
    """Filters of a first convolution for another number of channels.

    Filters W of K channels become V of C such that C copies of a grey image
    give what K copies gave, the sum over c of V_c being that of W_k over k:

    - `"mean"`: V_c = (W_0 + ... + W_{K-1}) / C, all alike.
    - `"cycle"`: V_c = W_{c mod K} / n, n being how many channels have the same
      one. (With C < K, V_c is the sum of all W_k with k mod C = c.) Channels
      remain different from one another.

    Args:
        kernel: (filters, K, height, width), as PyTorch has it.
        channels: C.
        stem: `"cycle"` or `"mean"`.

    Returns:
        (filters, C, height, width), of the kernel's dtype.

    Example:

    >>> red, green, blue = 1.0, 2.0, 3.0
    >>> kernel = np.reshape([red, green, blue], (1, 3, 1, 1))
    >>> stem_of_channels(kernel, 4, "cycle").ravel().tolist()
    [0.5, 2.0, 3.0, 0.5]
    >>> stem_of_channels(kernel, 4, "mean").ravel().tolist()
    [1.5, 1.5, 1.5, 1.5]
    """
    count = kernel.shape[1]
    if stem == "mean":
        share = np.full((count, channels), 1 / channels)
    else:
        shortest = min(count, channels)
        joined = np.equal.outer(
            np.arange(count) % shortest, np.arange(channels) % shortest
        )
        share = joined / joined.sum(axis=1, keepdims=True)
    made = np.einsum("okhw,kc->ochw", kernel.astype(np.float64), share)
    return made.astype(kernel.dtype)


def fit_stem(
    layout: Mapping[str, StateDictEntry],
    state_dict: Mapping[str, np.ndarray],
    stem: str,
) -> dict[str, np.ndarray]:
    """A checkpoint whose first convolution has the channels of the model.

    One that has them already is left as it is.

    Args:
        layout: what the model takes, its first convolution first.
        state_dict: arrays by key, which is left as it is.
        stem: see `stem_of_channels`.
    """
    key, entry = next(iter(layout.items()))
    kernel = state_dict.get(key)
    if kernel is None or np.ndim(kernel) != 4:
        return dict(state_dict)
    if kernel.shape[1] == entry.shape[1]:
        return dict(state_dict)
    made = stem_of_channels(np.asarray(kernel), entry.shape[1], stem)
    return {**state_dict, key: made}
