"""The local terms, summed over all pairs of views.

The terms are those of the paper, one for one; their cost is not. The two
ordered pairs of views 0 and 1 share their searches, views of one map size share
their kernels, and what the feature-based criterion compares with all neighbours
are the maps themselves, whose statistics are taken once a view.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from keras import ops

from keras_vicregl.distribution.collectives import replica_mean
from keras_vicregl.losses._matched_sets import MatchedSet, Part, matched_terms
from keras_vicregl.losses.arguments import LocalOptions
from keras_vicregl.losses.matching import (
    best_pairs,
    feature_distances,
    location_distances,
    nearest,
)
from keras_vicregl.losses.statistics import float32

# What of a view a criterion looks at, and how far apart two of these are.
_CRITERIA = {
    "location": ("positions", location_distances),
    "feature": ("embeddings", feature_distances),
}


class _Group:
    """Views whose maps have the same number of positions S.

    `maps` is `(V_g, S, B, C)`: slot by slot, as the statistics want it.
    """

    def __init__(
        self,
        number: int,
        views: list[int],
        local_embeddings: Any,
        positions: Any,
    ) -> None:
        self.number, self.views = number, views
        self.embeddings = [float32(local_embeddings[v]) for v in views]
        self.positions = positions and [positions[v] for v in views]
        self.maps = ops.stack(
            [ops.transpose(m, (1, 0, 2)) for m in self.embeddings]
        )
        self.size = self.maps.shape[1]


class _Side:
    """One side of some pairs of views: members of a group, next to another."""

    def __init__(self, group: _Group, views: Sequence[int]) -> None:
        self.group, self.views, self.size = group, views, group.size
        start = group.views.index(views[0])
        self.members = slice(start, start + len(views))

    def flat(self, criterion: str) -> Any:
        """What the criterion measures distances of, `(B, P * S, channels)`."""
        tensors = getattr(self.group, _CRITERIA[criterion][0])[self.members]
        return tensors[0] if len(tensors) == 1 else ops.concatenate(tensors, 1)

    def slots(self, slots: Any) -> Any:
        """Slots `(B, P, K)` of these views as the group's, `(P, K, B)`."""
        first, last, _ = self.members.indices(len(self.group.views))
        view = ops.arange(first, last, dtype="int32")[:, None, None]
        return view * self.size + ops.transpose(slots, (1, 2, 0))

    def part(self, slots: Any) -> Part:
        """What of the group is at slots `(B, P, K)`, or whole maps."""
        taken = None if slots is None else self.slots(slots)
        return Part(self.group.number, self.members, taken)


class LocalTerms:
    """Weighted sums of the three local terms while pairs are gone through.

    Args:
        local_embeddings: as in `local_criterion`, as are the other arguments.
        positions: places of the local embeddings, or `None`.
        options: checked options.
        epsilon: added to variances before the root.
    """

    def __init__(
        self,
        local_embeddings: Sequence[Any],
        positions: Sequence[Any] | None,
        options: LocalOptions,
        epsilon: float,
    ) -> None:
        self.options, self.epsilon = options, epsilon
        self.sets: list[MatchedSet] = []
        views = len(local_embeddings)
        self.ordered_pairs = 2 * (views - 1)
        by_size: dict[int, list[int]] = {}
        for view, embedding in enumerate(local_embeddings):
            by_size.setdefault(embedding.shape[1], []).append(view)
        self.groups = [
            _Group(number, members, local_embeddings, positions)
            for number, members in enumerate(by_size.values())
        ]
        # How much each view's whole map counts in variance and covariance.
        whole = options.regularize == "maps"
        self.map_weights = [1.0 / views if whole else 0.0] * views

    def all_pairs(self) -> Iterator[tuple[_Side, _Side]]:
        """The unordered pairs of views; P of one size come together."""
        zero, one = (
            _Side(group, [view])
            for view in (0, 1)
            for group in self.groups
            if view in group.views
        )
        yield zero, one
        for large in (zero, one):
            for group in self.groups:
                small = [view for view in group.views if view > 1]
                if small:
                    yield large, _Side(group, small)

    def add_pairs(self, pairs: tuple[_Side, _Side], criterion: str) -> None:
        """Adds a criterion's terms for one view against P others."""
        large, others = pairs
        _, measure = _CRITERIA[criterion]
        distances = measure(large.flat(criterion), others.flat(criterion))
        distances = ops.reshape(
            distances, (-1, large.size, len(others.views), others.size)
        )
        self._add_direction(
            large, others, ops.transpose(distances, (0, 2, 1, 3)), criterion
        )
        self._add_direction(
            others, large, ops.transpose(distances, (0, 2, 3, 1)), criterion
        )

    def _add_direction(
        self, queries: _Side, candidates: _Side, distances: Any, criterion: str
    ) -> None:
        """Adds the sets of queries `x` and their neighbours `y`.

        Args:
            queries: one side of the pairs.
            candidates: the other.
            distances: `(B, P, S, T)` from queries to candidates.
            criterion: `"feature"` or `"location"`.
        """
        pairs = distances.shape[1]
        limit = self.options.max_distance if criterion == "location" else None
        neighbours, values = nearest(distances)
        for count, times in self.options.counts(
            criterion, queries.views[0], candidates.views[0], queries.size
        ).items():
            slots, matched, kept = None, neighbours, values
            if count < queries.size:
                slots, matched, kept = best_pairs(neighbours, values, count)
            mask = None if limit is None else _within(kept, limit)
            weight = times * pairs / (2 * self.ordered_pairs)
            to_x = to_y = (
                0.0 if self.options.regularize == "maps" else (weight / 2)
            )
            if to_x and slots is None and mask is None:
                # Whole maps, whose statistics are the same in every set.
                to_x = 0.0
                for view in queries.views:
                    share = weight / 2 / len(queries.views)
                    self.map_weights[view] += share
            self.sets.append(
                MatchedSet(
                    queries.part(slots),
                    candidates.part(matched),
                    mask,
                    weight,
                    (to_x, to_y),
                )
            )

    def totals(self) -> tuple[Any, Any, Any]:
        """The sums, with those of the whole maps."""
        for group in self.groups:
            for place, view in enumerate(group.views):
                if weight := self.map_weights[view]:
                    part = Part(group.number, slice(place, place + 1), None)
                    self.sets.append(
                        MatchedSet(part, None, None, 0.0, (weight, 0.0))
                    )
        maps = [group.maps for group in self.groups]
        inv, var, cov = matched_terms(maps, self.sets, self.epsilon)
        return replica_mean(inv), var, cov


def _within(squared: Any, max_distance: Any) -> Any:
    """1 where a pair is near enough: `(B, P, K)` to `(P, K, B)`."""
    limit = ops.square(float32(max_distance))
    if len(limit.shape):
        limit = limit[:, None, None]
    return ops.transpose(ops.cast(squared <= limit, "float32"), (1, 2, 0))
