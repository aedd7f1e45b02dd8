"""JAX: an array is that of all devices, whatever part of it each one holds."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

SECONDS_TO_HAND_OVER = 0
_PEAK = "peak_bytes_in_use"


def replica_count() -> int:
    return 1


def replica_sum(x: Any) -> Any:
    return x


def replica_gather(x: Any, axis: int) -> Any:
    return x


def take_slots(maps: Any, slots: Any) -> Any:
    # Rows of the flattened maps would have to be gathered from all devices, for
    # the compiler does not see that each is one of the same sample.
    batch, channels = maps.shape[1:]
    flat = jnp.reshape(slots, (-1, batch, 1))
    taken = jnp.take_along_axis(maps, flat, axis=0)
    return jnp.reshape(taken, (*slots.shape, channels))


def add_to_slots(total: Any, slots: Any, values: Any) -> Any:
    # What differentiation makes of the taking: sharded in the same way.
    _, transposed = jax.vjp(lambda maps: take_slots(maps, slots), total)
    (added,) = transposed(values)
    return total + added


def add_to_range(total: Any, first: int, values: Any) -> Any:
    return total.at[first : first + values.shape[0]].add(values)


def process_index(model: Any) -> int:
    return jax.process_index()


def process_count(model: Any) -> int:
    return jax.process_count()


def gather_from_processes(value: int, model: Any) -> list[int]:
    from jax.experimental import multihost_utils

    values = multihost_utils.process_allgather(np.asarray(value, np.int32))
    return [int(v) for v in np.ravel(values)]


def peaks_of_memory() -> list[int]:
    # None on CPUs.
    told = (device.memory_stats() or {} for device in jax.local_devices())
    return [each[_PEAK] for each in told if _PEAK in each]


def accelerators() -> list[str]:
    return [
        each.device_kind for each in jax.devices() if each.platform != "cpu"
    ]


def free_memory() -> list[int]:
    told = (device.memory_stats() or {} for device in jax.local_devices())
    return [
        each["bytes_limit"] - each.get("bytes_in_use", 0)
        for each in told
        if "bytes_limit" in each
    ]
