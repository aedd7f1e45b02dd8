"""What the criteria may be asked for, and the errors where they cannot."""

import collections
import dataclasses
import numbers
from collections.abc import Sequence
from typing import Any

# The local criteria, and the option that says how many matches each keeps.
CRITERIA = {"location": "num_matches", "feature": "feature_matches"}


@dataclasses.dataclass(frozen=True)
class LocalOptions:
    """Options of the local criterion, checked and in one form.

    Fields and errors are those of `local_criterion`; counts become pairs.
    """

    num_matches: Any = (20, 4)
    match_counts: str = "by_pair"
    feature_matches: Any = None
    local_criteria: Sequence[str] = tuple(CRITERIA)
    max_distance: Any = None
    regularize: str = "matches"

    def __post_init__(self) -> None:
        for name in CRITERIA.values():
            counts = _checked_counts(name, getattr(self, name))
            object.__setattr__(self, name, counts)
        _check_choice("match_counts", self.match_counts, ("by_pair", "by_view"))
        _check_choice("regularize", self.regularize, ("matches", "maps"))
        if isinstance(self.local_criteria, str):
            raise ValueError(
                "`local_criteria` must be a sequence of criteria, such as "
                f"('location', 'feature'); received {self.local_criteria!r}."
            )
        for criterion in self.local_criteria:
            _check_choice("local_criteria", criterion, tuple(CRITERIA))
        # In one order, so that configurations compare equal.
        criteria = tuple(c for c in CRITERIA if c in self.local_criteria)
        object.__setattr__(self, "local_criteria", criteria)
        limit = self.max_distance
        if isinstance(limit, numbers.Real) and not float(limit) > 0:
            raise ValueError(
                "`max_distance` must be a positive number of pixels, or None "
                f"to drop no pairs; received {limit!r}."
            )

    def counts(
        self, criterion: str, query_view: int, other_view: int, size: int
    ) -> dict[int, int]:
        """Which counts of matches one direction between two views needs.

        Args:
            criterion: `"location"` or `"feature"`.
            query_view: the view whose positions look for neighbours.
            other_view: the view in which they look.
            size: number of positions of the query view.

        Returns:
            `{count: in how many ordered pairs of the two views}`. Views 0 and
            1 make two ordered pairs, in which the roles are swapped.
        """
        first, second = getattr(self, CRITERIA[criterion])
        both_large = max(query_view, other_view) == 1
        if both_large and self.match_counts == "by_pair":
            chosen = [first, second]
        else:
            # A large view always comes first in a pair with a small one.
            chosen = [first if query_view < 2 else second]
            chosen = chosen * (2 if both_large else 1)
        return dict(
            collections.Counter(
                size if count is None else min(count, size) for count in chosen
            )
        )

    def excess(self, sizes: Sequence[int | None]) -> str | None:
        """Which counts are above the positions of a map, in words, or None.

        Args:
            sizes: number of positions of each view's map, None where it is not
                known.
        """
        found = []
        for name, criterion in (
            ("num_matches", "location"),
            ("feature_matches", "feature"),
        ):
            if criterion not in self.local_criteria:
                continue
            for role, count in enumerate(getattr(self, name)):
                known = [
                    (sizes[view], view)
                    for view in self._querying(role, len(sizes))
                    if sizes[view] is not None
                ]
                smallest, view = min(known, default=(None, None))
                if None not in (count, smallest) and count > smallest:
                    found.append(
                        f"{name}[{role}]={count} exceeds the {smallest} "
                        f"positions of the map of view {view}"
                    )
        return "; ".join(found) or None

    def _querying(self, role: int, views: int) -> range:
        """The views whose positions look for so many neighbours."""
        if role == 0:
            return range(2)
        # Of the two large ones, the second of a pair as well.
        return range(0 if self.match_counts == "by_pair" else 2, views)


def check_alpha(alpha: float) -> None:
    """Raises unless `alpha` is a number in [0, 1]."""
    if not isinstance(alpha, numbers.Real) or not 0.0 <= alpha <= 1.0:
        raise ValueError(
            "`alpha`, the weight of the global criterion, must be a number in "
            f"[0, 1]; received {alpha!r}."
        )


def check_embeddings(embeddings: Sequence[Any]) -> None:
    """Raises unless there are two or more embeddings of one shape (B, D)."""
    _check_views("embeddings", embeddings)
    shapes = [tuple(z.shape) for z in embeddings]
    if any(len(shape) != 2 for shape in shapes) or len(set(shapes)) > 1:
        raise ValueError(
            "`embeddings` must hold one tensor (B, D) a view, all of one "
            f"shape; received shapes {shapes}."
        )


def check_local_inputs(
    local_embeddings: Sequence[Any],
    positions: Sequence[Any] | None,
    options: LocalOptions,
) -> None:
    """Raises unless local embeddings and positions fit each other."""
    _check_views("local_embeddings", local_embeddings)
    shapes = [tuple(m.shape) for m in local_embeddings]
    if (
        any(len(s) != 3 for s in shapes)
        or len({(s[0], s[2]) for s in shapes}) > 1
    ):
        raise ValueError(
            "`local_embeddings` must hold one tensor (B, S_v, C) a view, B and "
            f"C the same in all; received shapes {shapes}."
        )
    limit_shape = tuple(getattr(options.max_distance, "shape", ()))
    if limit_shape and not _compatible(limit_shape, shapes[0][:1]):
        raise ValueError(
            "`max_distance` must be a number or hold one number an image, "
            f"shape (B,) = {shapes[0][:1]}; received shape {limit_shape}."
        )
    if positions is None:
        if "location" in options.local_criteria:
            raise ValueError(
                "`positions` are missing: the location-based criterion needs "
                "one tensor (B, S_v, 2) a view, in source pixels. Give them, "
                "or use local_criteria=('feature',)."
            )
        return
    if len(positions) != len(shapes):
        raise ValueError(
            f"`positions` must hold one tensor a view: received "
            f"{len(positions)} for {len(shapes)} views."
        )
    for view, (place, shape) in enumerate(zip(positions, shapes, strict=True)):
        expected = (*shape[:2], 2)
        if not _compatible(tuple(place.shape), expected):
            raise ValueError(
                f"`positions[{view}]` must have shape (B, S_v, 2) = {expected} "
                f"to fit `local_embeddings[{view}]`; received "
                f"{tuple(place.shape)}."
            )


def _check_views(name: str, tensors: Any) -> None:
    if not isinstance(tensors, (list, tuple)) or len(tensors) < 2:
        given = (
            f"{len(tensors)} view(s)"
            if isinstance(tensors, (list, tuple))
            else type(tensors).__name__
        )
        raise ValueError(
            f"`{name}` must be a list or tuple of at least 2 views, one tensor "
            f"each; received {given}."
        )


def _check_choice(name: str, value: Any, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(
            f"`{name}` knows {', '.join(map(repr, allowed))}; received "
            f"{value!r}."
        )


def _checked_counts(name: str, value: Any) -> tuple[Any, Any]:
    pair = tuple(value) if isinstance(value, (list, tuple)) else (value, value)
    whole = all(
        count is None
        or (
            isinstance(count, numbers.Integral)
            and not isinstance(count, bool)
            and int(count) > 0
        )
        for count in pair
    )
    if len(pair) != 2 or not whole:
        raise ValueError(
            f"`{name}` must be None (all matches), a positive number of "
            "matches, or a pair of these for the two roles of `match_counts`; "
            f"received {value!r}."
        )
    return pair


def _compatible(shape: tuple, expected: tuple) -> bool:
    return len(shape) == len(expected) and all(
        a is None or b is None or a == b
        for a, b in zip(shape, expected, strict=True)
    )
