"""The terms of sets of matches, without keeping the matches.

Matched embeddings are copies of parts of the maps: one set is half as large as
all maps, and there are some. They are gathered when they are looked at, going
forward and going back, and their gradients are added to those of the maps at
once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

from keras import ops

from keras_vicregl.distribution.collectives import (
    add_to_range,
    add_to_slots,
    replica_count,
    replica_sum,
    take_slots,
)
from keras_vicregl.losses.statistics import Penalties


class Part(NamedTuple):
    """One side of a set: what is taken of the maps of a group.

    Attributes:
        group: its number.
        members: of the group's V views those that are meant, a slice.
        slots: integers `(P, K, B)` below V * S; `None`: whole maps.
    """

    group: int
    members: slice
    slots: Any


class MatchedSet(NamedTuple):
    """P sets of K pairs of places, `x` and `y`; or of places `x` alone.

    Attributes:
        x: the queries.
        y: their neighbours, or `None`.
        mask: `(P, K, B)` of 0 and 1, or `None`.
        invariance: weight of the mean over P of their mean squared errors.
        regularization: weights of the penalties of `x` and of `y`.
    """

    x: Part
    y: Part | None
    mask: Any
    invariance: float
    regularization: tuple[float, float]


def matched_terms(
    maps: Sequence[Any], sets: Sequence[MatchedSet], epsilon: float
) -> tuple[Any, Any, Any]:
    """Weighted sums of invariance, variance and covariance over sets.

    Args:
        maps: of each group `(V, S, B, C)`.
        sets: see there.
        epsilon: added to variances before the root.

    Returns:
        Three scalars. The mean over replicas of the first is that of the whole
        batch; the others are that already.
    """

    @ops.custom_gradient
    def terms(*maps: Any) -> Any:
        totals = [ops.zeros((), "float32")] * 3
        kept: list[Any] = []
        for one in sets:
            x, y = _taken(maps, one.x), _taken(maps, one.y)
            if y is not None:
                totals[0] = totals[0] + one.invariance * _mean_squared_error(
                    x, y, one.mask
                )
                x = ops.broadcast_to(x, ops.shape(y))
            for side, weight in zip((x, y), one.regularization, strict=True):
                if not weight:
                    kept.append(None)
                    continue
                penalties = Penalties(side, one.mask, epsilon)
                both, needed = penalties.forward(side)
                share = weight * _slot_shares(one.mask, both[0])
                for index in (0, 1):
                    totals[1 + index] = totals[1 + index] + ops.sum(
                        both[index] * share
                    )
                kept.append((penalties, needed, share))

        def gradient(*args: Any, upstream: Any = None) -> Any:
            if upstream is None:
                (upstream,) = args
            # A replica's samples bear upon the penalties of every replica.
            to_penalties = replica_sum(upstream[1:])

            def of_penalties(side: Any, kept: Any) -> Any:
                penalties, needed, share = kept
                each = to_penalties[:, None, None] * share
                return penalties.gradient(side, needed, each)

            gradients = _Gradients(maps)
            # Nothing of the size of a set is held longer than it is needed.
            for number, one in enumerate(sets):
                of_x, of_y = kept[2 * number : 2 * number + 2]
                x, y = _taken(maps, one.x), _taken(maps, one.y)
                to_x: Any = None
                if y is not None:
                    to_x = _gradient_of_error(
                        x, y, one.mask, one.invariance * upstream[0]
                    )
                    to_y = (
                        -to_x if of_y is None else of_penalties(y, of_y) - to_x
                    )
                    gradients.add(cast("Part", one.y), to_y)
                    x = ops.broadcast_to(x, ops.shape(y))
                    del y, to_y
                if of_x is not None:
                    more = of_penalties(x, of_x)
                    to_x = more if to_x is None else to_x + more
                    del more
                gradients.add(one.x, to_x)
                del x, to_x
            found = gradients.totals()
            return found[0] if len(found) == 1 else tuple(found)

        return ops.stack(totals), gradient

    if not sets:
        return 0.0, 0.0, 0.0
    found = terms(*maps)
    return found[0], found[1], found[2]


def _taken(maps: Sequence[Any], part: Part | None) -> Any:
    """`(P, K, B, C)`; of one whole map for P others P is 1."""
    if part is None:
        return None
    of_group = maps[part.group]
    if part.slots is None:
        return of_group[part.members]
    return take_slots(_by_slot(of_group), part.slots)


def _by_slot(maps: Any) -> Any:
    """`(V, S, B, C)` as `(V * S, B, C)`."""
    return ops.reshape(maps, (-1, ops.shape(maps)[2], maps.shape[-1]))


def _slot_shares(mask: Any, slots: Any) -> Any:
    """What each slot `(P, K)` counts in the mean over P of means over K.

    Slots in which the mask leaves fewer than two samples do not count.
    """
    sets = ops.cast(ops.shape(slots)[0], "float32")
    if mask is None:
        count = ops.cast(ops.shape(slots)[1], "float32")
        return ops.ones_like(slots) / (sets * count)
    counted = ops.cast(replica_sum(ops.sum(mask, axis=-1)) >= 2.0, "float32")
    per_set = ops.maximum(ops.sum(counted, axis=-1, keepdims=True), 1.0)
    return ops.ones_like(slots) / (sets * per_set)


def _mean_squared_error(x: Any, y: Any, mask: Any) -> Any:
    """Mean over P sets `(P, K, B, C)` of the mean squared error of each.

    Its mean over replicas is that of the whole batch.
    """
    return ops.sum(ops.square(x - y) * _error_shares(y, mask))


def _gradient_of_error(x: Any, y: Any, mask: Any, upstream: Any) -> Any:
    """By `x`, in the shape of `y`; that by `y` is its negative."""
    return (x - y) * (2.0 * upstream * _error_shares(y, mask))


def _error_shares(y: Any, mask: Any) -> Any:
    """What each squared difference counts in `_mean_squared_error`."""
    # Float32, for what is not known while tracing is an integer tensor.
    sets, count, batch, channels = (
        ops.cast(each, "float32") for each in ops.shape(y)
    )
    if mask is None:
        return 1.0 / (sets * count * batch * channels)
    kept = replica_sum(ops.sum(mask, axis=(1, 2))) / replica_count()
    kept = ops.maximum(kept, 1.0 / replica_count()) * (sets * channels)
    return (mask / kept[:, None, None])[..., None]


class _Gradients:
    """Gradients of the maps of all groups, as parts of them are added."""

    def __init__(self, maps: Sequence[Any]) -> None:
        self._shapes = [ops.shape(each) for each in maps]
        self._totals = [ops.zeros_like(_by_slot(each)) for each in maps]

    def add(self, part: Part, gradient: Any) -> None:
        """Adds that of a part; of one map for P others, the sum over these."""
        total = self._totals[part.group]
        if part.slots is not None:
            total = add_to_slots(total, part.slots, gradient)
        else:
            members, size = part.members, gradient.shape[1]
            if members.stop - members.start == 1 and gradient.shape[0] != 1:
                gradient = ops.sum(gradient, axis=0, keepdims=True)
            first = members.start * size
            total = add_to_range(total, first, _by_slot(gradient))
        self._totals[part.group] = total

    def totals(self) -> list[Any]:
        """Of each group `(V, S, B, C)`."""
        return [
            ops.reshape(total, shape)
            for total, shape in zip(self._totals, self._shapes, strict=True)
        ]
