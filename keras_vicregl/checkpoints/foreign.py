"""Checkpoints of others: where in them a backbone is, and what is left out.

Frameworks and methods put words before the keys of a network (`module.`,
`encoder_q.`, `backbone.`), and classifiers, projectors and second networks
beside it. Words that are known here are found and taken off, what is known to
be no backbone is left out, and of all else nothing is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

import numpy as np

from keras_vicregl._warnings import warn

# Words before the keys of a network. Of several networks in a file the one
# whose word comes first is taken.
PREFIXES = (
    "module",
    "_orig_mod",
    "model",
    "network",
    "net",
    "backbone",
    "encoder",
    "trunk",
    "resnet",
    "convnext",
    "feature_extractor",
    "convnet",
    "body",
    "base_model",
    "visual",
    "image_encoder",
    "encoder_q",
    "query_encoder",
    "base_encoder",
    "online_network",
    "online_encoder",
    "online_backbone",
    "online",
    "ema",
    "model_ema",
    "teacher",
    "teacher_backbone",
    "student",
    "student_backbone",
)
# What stands beside a backbone: classifiers, projectors, queues, and networks
# that follow the trained one.
BESIDES = (
    "fc",
    "head",
    "heads",
    "classifier",
    "online_classifier",
    "linear",
    "projector",
    "maps_projector",
    "projection",
    "projection_head",
    "proj_head",
    "predictor",
    "prediction_head",
    "classification_head",
    "dino_head",
    "ibot_head",
    "momentum_projector",
    "prototypes",
    "queue",
    "queue_ptr",
    "encoder_k",
    "key_encoder",
    "momentum_encoder",
    "momentum_backbone",
    "target_network",
    "target_encoder",
    "target",
)


def backbone_weights(
    state_dict: Mapping[str, np.ndarray], expected: Collection[str]
) -> dict[str, np.ndarray]:
    """The part of a state dict that is of a backbone, under its own keys.

    One warning says what was left out.

    Args:
        state_dict: arrays by key.
        expected: keys of the backbone.

    Returns:
        What stands under the prefix with which most of the keys are there, and
        whatever else is not known to be no backbone. All of it where no key is.
    """
    counts: dict[str, int] = {}
    for key in state_dict:
        for prefix in _prefixes_of(key):
            if key.removeprefix(prefix) in expected:
                counts[prefix] = counts.get(prefix, 0) + 1
    if not counts:
        return dict(state_dict)
    taken = min(counts, key=lambda prefix: (-counts[prefix], _rank(prefix)))
    weights, beside = {}, []
    for key, value in state_dict.items():
        own = key.removeprefix(taken)
        if key.startswith(taken) and own in expected:
            weights[own] = value
        elif _is_beside(key, expected):
            beside.append(key)
        else:
            weights[own if key.startswith(taken) else key] = value
    if beside:
        warn(
            "The checkpoint holds more than the backbone, which is left out: "
            f"{', '.join(_groups(beside, expected))}."
            + (f" The backbone is what begins with {taken!r}." * bool(taken))
        )
    return weights


def unknown_prefix(
    state_dict: Mapping[str, np.ndarray], expected: Collection[str]
) -> str | None:
    """What stands before all the expected keys, where something does."""
    first = next(iter(expected))
    for key in state_dict:
        prefix = key.removesuffix(first)
        if prefix and all(prefix + name in state_dict for name in expected):
            return prefix
    return None


def without_wrappers(
    state_dict: Mapping[str, np.ndarray], inside: Collection[str]
) -> dict[str, np.ndarray]:
    """A state dict without the words that stand before all of its keys.

    Args:
        state_dict: arrays by key.
        inside: first words of the keys that are wanted; they stay.
    """
    first = {key.split(".")[0] for key in state_dict}
    if len(first) != 1 or first & set(inside) or not first <= set(PREFIXES):
        return dict(state_dict)
    prefix = f"{first.pop()}."
    return without_wrappers(
        {key.removeprefix(prefix): value for key, value in state_dict.items()},
        inside,
    )


def _prefixes_of(key: str) -> Iterator[str]:
    """Those that may be taken off a key, none first."""
    prefix = ""
    yield prefix
    for word in key.split(".")[:-1]:
        if word not in PREFIXES:
            return
        prefix += f"{word}."
        yield prefix


def _rank(prefix: str) -> list[int]:
    return [PREFIXES.index(word) for word in prefix.split(".")[:-1]]


def _is_beside(key: str, expected: Collection[str]) -> bool:
    *_, longest = _prefixes_of(key)
    rest = key.removeprefix(longest)
    if rest.split(".")[0] in BESIDES:
        return True
    # Of another network that is as the backbone.
    return any(key.removeprefix(p) in expected for p in _prefixes_of(key))


def _groups(keys: list[str], expected: Collection[str]) -> list[str]:
    """Tensors by what they belong to, with their number."""
    groups: dict[str, int] = {}
    for key in keys:
        prefix = next(
            (p for p in _prefixes_of(key) if key.removeprefix(p) in expected),
            None,
        )
        if prefix is None:
            *_, prefix = _prefixes_of(key)
            word, *more = key.removeprefix(prefix).split(".")
            prefix += f"{word}." if more else word
        name = f"{prefix}*" if prefix.endswith(".") else prefix
        groups[name] = groups.get(name, 0) + 1
    return [
        f"{name} ({count} tensor{'s' * (count > 1)})"
        for name, count in groups.items()
    ]
