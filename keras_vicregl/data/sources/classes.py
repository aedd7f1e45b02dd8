"""Sources that meet: one number a class in all of them, by its name."""

from __future__ import annotations

import collections
import itertools
import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np

from keras_vicregl.data.sources.image_source import ImageSource
from keras_vicregl.views.keys import NO_LABEL

_NAMED = 10  # classes told of by name


def match_classes(*sources: ImageSource) -> tuple[ImageSource, ...]:
    """Sources whose labels are indices into one list of class names.

    Folders number their classes by themselves: "bee" is 1 among ant, bee and
    cat, and 0 among bee and cat. What takes a training and a test set matches
    them by this function; data that come from elsewhere, as `validation_data`
    of `fit`, are for the user to match:

        train, val = match_classes(load(root, "train"), load(root, "val"))

    Args:
        *sources: What `load` returns. Those without labels, or without names of
            classes, stay as they are.

    Returns:
        The sources, as many, all with the `class_names` of the first, followed
        by those that only the others have. Where that changes nothing, they are
        the sources given.

    Warns:
        UserWarning: Of classes that one source has and another has not.

    Raises:
        ValueError: If two sources have no class in common, or boxes with other
            names of classes.

    Example:

    >>> from keras_vicregl.data import labels_of, load
    >>> images = np.zeros((2, 8, 8, 3), "uint8")
    >>> train = load({"images": images, "labels": [0, 1]}, class_names="ab")
    >>> test = load({"images": images, "labels": [0, 1]}, class_names="ba")
    >>> labels_of(match_classes(train, test)[1])
    array([1, 0], dtype=int32)
    """
    named = [source for source in sources if source.class_names is not None]
    for one, other in itertools.pairwise(named):
        _check_common(one, other)
    boxed = [source for source in sources if source.box_class_names is not None]
    for one, other in itertools.pairwise(boxed):
        if one.box_class_names != other.box_class_names:
            raise ValueError(
                "Classes of boxes must have the same names in the same order. "
                f"Those of {one!r} are {_first(one.box_class_names)}, those of "
                f"{other!r} {_first(other.box_class_names)}."
            )
    # In order, each once.
    names = tuple(dict.fromkeys(n for each in named for n in _names(each)))
    _warn_of_missing(named, names)
    return tuple(
        source if source.class_names is None else _renumbered(source, names)
        for source in sources
    )


def _check_common(one: ImageSource, other: ImageSource) -> None:
    if set(_names(one)).isdisjoint(_names(other)):
        raise ValueError(
            f"No class of {one!r} has the name of one of {other!r}: "
            f"{_first(one.class_names)} and {_first(other.class_names)}. Pass "
            "class_names, or labels=False."
            + _by_case([*_names(one), *_names(other)])
        )


def _warn_of_missing(named: list[ImageSource], names: tuple[str, ...]) -> None:
    told = []
    for source in named:
        missing = [name for name in names if name not in _names(source)]
        if missing:
            told.append(
                f"{source.name} has no {_first(missing)} ({len(missing)} of "
                f"{len(names)} classes)"
            )
    if told:
        warnings.warn(
            f"Classes are matched by name: {'; '.join(told)}."
            + _by_case(names),
            stacklevel=3,
        )


def _names(source: ImageSource) -> tuple[str, ...]:
    return source.class_names or ()


def _by_case(names: Iterable[str]) -> str:
    """Says which names are alike but for small and capital letters."""
    alike: dict[str, dict[str, None]] = collections.defaultdict(dict)
    for name in names:
        alike[name.strip().casefold()][name] = None
    told = [_first(each) for each in alike.values() if len(each) > 1]
    if not told:
        return ""
    return (
        f" But for capital letters and spaces some are alike: {told[0]}. "
        "Rename folders where they are one class."
    )


def _first(names: Any) -> str:
    names = list(names)
    text = ", ".join(map(repr, names[:_NAMED]))
    return text + (", ..." if len(names) > _NAMED else "")


def _renumbered(source: ImageSource, names: tuple[str, ...]) -> ImageSource:
    """A source with other numbers for its classes."""
    if source.class_names == names:
        return source
    number_of = {name: number for number, name in enumerate(names)}
    table = np.array(
        # The last one is that of -1.
        [*(number_of[name] for name in _names(source)), NO_LABEL],
        np.int32,
    )
    return source._renumbered(table, names)
