"""PyTorch: a replica is a process of the default process group."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from keras import ops
from torch.nn.parallel import DistributedDataParallel

from keras_vicregl.distribution.backends.rows import rows_of
from keras_vicregl.distribution.backends.rows import take_slots as take_slots

SECONDS_TO_HAND_OVER = 0
_host_groups: list[Any] = []


def replica_count() -> int:
    if not (dist.is_available() and dist.is_initialized()):
        return 1
    return dist.get_world_size()


def replica_sum(x: Any) -> Any:
    return _Sum.apply(x)


def replica_gather(x: Any, axis: int) -> Any:
    x = x.contiguous()
    parts = [torch.empty_like(x) for _ in range(replica_count())]
    dist.all_gather(parts, x)
    return torch.cat(parts, dim=axis)


def add_to_slots(total: Any, slots: Any, values: Any) -> Any:
    channels = total.shape[-1]
    rows = rows_of(total, slots).reshape(-1)
    total.view(-1, channels).index_add_(0, rows, values.reshape(-1, channels))
    return total


def add_to_range(total: Any, first: int, values: Any) -> Any:
    total[first : first + len(values)] += values
    return total


def replica_index() -> int:
    return dist.get_rank()


def for_metrics(x: Any) -> Any:
    # To the device, where labels may not be.
    return replica_gather(ops.convert_to_tensor(x), axis=0)


def metric_weight(size: int) -> int:
    return size * replica_count()


class _Sum(torch.autograd.Function):
    """Backwards the sum of what comes back to each replica."""

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        return _all_reduced(x)

    @staticmethod
    def backward(ctx: Any, upstream: Any) -> Any:
        return _all_reduced(upstream)


def _all_reduced(x: Any) -> Any:
    x = x.detach().clone(memory_format=torch.contiguous_format)
    dist.all_reduce(x)
    return x


def data_parallel(model: Any) -> Any:
    """What to call in place of a model, so that gradients become means.

    Means over replicas, exchanged while the rest is still computed. Weights
    become those of the first process.
    """
    if replica_count() == 1:
        return model
    wrapped = model.__dict__.get("_data_parallel")
    if wrapped is None:
        device = model.trainable_variables[0].value.device
        wrapped = DistributedDataParallel(
            model,
            device_ids=[device] if device.type == "cuda" else None,
            # All processes compute the same statistics.
            forward_sync_buffers=False,
        )
        # Not an attribute: those of a module are its parts.
        model.__dict__["_data_parallel"] = wrapped
    return wrapped


def means_to_sums(gradients: Sequence[Any]) -> None:
    """Turns means over replicas into sums, in place."""
    if replica_count() > 1:
        there = [gradient for gradient in gradients if gradient is not None]
        torch._foreach_mul_(there, replica_count())


def check_batch(size: int) -> None:
    """Refuses shares of different sizes, with which means would be wrong.

    Raises:
        ValueError: on every process.
    """
    if replica_count() == 1:
        return
    sizes = gather_from_processes(size, None)
    if len(set(sizes)) > 1:
        raise ValueError(
            "Every process must have the same share of a batch; received "
            f"shares of {', '.join(map(str, sizes))} examples. Let the batch "
            "size divide by the number of processes, and drop the last batch "
            "where it is smaller (drop_remainder=True)."
        )


def process_index(model: Any) -> int:
    return dist.get_rank() if replica_count() > 1 else 0


def process_count(model: Any) -> int:
    return replica_count()


def gather_from_processes(value: int, model: Any) -> list[int]:
    if not _host_groups:
        # Numbers of the host need not wait for the accelerator.
        _host_groups.append(dist.new_group(backend="gloo"))
    parts = [torch.empty((), dtype=torch.int64) for _ in range(replica_count())]
    dist.all_gather(
        parts, torch.tensor(value, dtype=torch.int64), group=_host_groups[0]
    )
    return [int(part) for part in parts]


def peaks_of_memory() -> list[int]:
    if not torch.cuda.is_initialized():
        return []
    devices = range(torch.cuda.device_count())
    # Of devices that this process does not use it is 0.
    peaks = [torch.cuda.max_memory_allocated(device) for device in devices]
    return [peak for peak in peaks if peak]


def accelerators() -> list[str]:
    if torch.cuda.is_available():
        count = torch.cuda.device_count()
        return [torch.cuda.get_device_name(number) for number in range(count)]
    return ["Apple's GPU"] * torch.backends.mps.is_available()


def free_memory() -> list[int]:
    # Of the device that this process uses.
    return [torch.cuda.mem_get_info()[0]] if torch.cuda.is_available() else []
