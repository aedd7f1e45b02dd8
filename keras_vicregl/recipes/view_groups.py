"""What is said of the views of a recipe, given to its groups of views."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from keras_vicregl.views import ViewGroup

FIELDS = tuple(field.name for field in dataclasses.fields(ViewGroup))
"""Names that are of groups, not of `MultiView`."""

# Of these a group has a number a view, for which one number may stand.
_A_NUMBER_A_VIEW = ("blur", "solarize")


def changed_groups(
    groups: Sequence[Mapping[str, Any]], changes: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Groups of views, with something changed in each.

    Args:
        groups: arguments of `ViewGroup`, one or more.
        changes: values by name. Of one group a value is what `ViewGroup` takes,
            or for blur and solarize a number; of several it is a list with one
            such value a group.

    Returns:
        Arguments of `ViewGroup`.

    Raises:
        ValueError: if there are several groups, and not as many values.

    Example:

    >>> changed_groups([{"size": 224, "count": 2}], {"size": 96, "blur": 0.5})
    [{'size': 96, 'count': 2, 'blur': [0.5]}]
    >>> changed_groups(
    ...     [{"size": 224, "count": 2}, {"size": 96, "count": 6}],
    ...     {"size": [160, 64]},
    ... )
    [{'size': 160, 'count': 2}, {'size': 64, 'count': 6}]
    """
    changed = [dict(group) for group in groups]
    for name, value in changes.items():
        values: Sequence[Any] = [value]
        if len(changed) > 1:
            if not isinstance(value, (list, tuple)) or (
                len(value) != len(changed)
            ):
                sizes = ", ".join(str(group["size"]) for group in changed)
                raise ValueError(
                    f"{name} must be a list of {len(changed)}, one value for "
                    f"each of the groups of views (of the sizes {sizes}); "
                    f"received {name}={value!r}."
                )
            values = value
        for group, own in zip(changed, values, strict=True):
            is_number = isinstance(own, (int, float))
            if name in _A_NUMBER_A_VIEW and is_number:
                own = [own]
            group[name] = own
    return changed
