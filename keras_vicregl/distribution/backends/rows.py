"""Choosing slots by copying whole rows, where a batch is not sharded."""

from typing import Any

from keras import ops


def take_slots(maps: Any, slots: Any) -> Any:
    """See `collectives.take_slots`: quicker than one index an element."""
    batch, channels = ops.shape(maps)[1], maps.shape[-1]
    rows = slots * batch + ops.arange(batch, dtype="int32")
    return ops.take(ops.reshape(maps, (-1, channels)), rows, axis=0)
