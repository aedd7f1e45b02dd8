"""Choosing slots by copying whole rows, where a batch is not sharded."""

from typing import Any

from keras import ops


def take_slots(maps: Any, slots: Any) -> Any:
    """See `collectives.take_slots`: quicker than one index an element."""
    rows = rows_of(maps, slots)
    return ops.take(ops.reshape(maps, (-1, maps.shape[-1])), rows, axis=0)


def rows_of(maps: Any, slots: Any) -> Any:
    """Rows of `(S * B, C)` that stand in slots `(..., B)` of `(S, B, C)`."""
    batch = ops.shape(maps)[1]
    return slots * batch + ops.arange(batch, dtype="int32")
