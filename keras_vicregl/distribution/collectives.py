"""What replicas tell each other within a step.

Everywhere else the code is that of one device. With one replica, and under JAX,
whose arrays are those of all devices and whose compiler shares out the work,
these functions do nothing.

Gradients are those of the sum of all replicas' losses, in what one replica
holds: the gradient of a sum over replicas is the sum of what comes back to
each. The training step makes that the gradient of the loss, which all replicas
agree on.
"""

from typing import Any

from keras_vicregl.distribution.backends.running import backend


def replica_count() -> int:
    """How many replicas take a share of the batch at hand.

    Returns:
        1 outside a replica: where the batch is the whole batch.

    Example:

    >>> replica_count()
    1
    """
    return backend.replica_count()


def replica_sum(x: Any) -> Any:
    """The sum over replicas, on each of them.

    Args:
        x: float tensor of the same shape on all replicas.

    Returns:
        A tensor of that shape. Its gradient is the sum over replicas as well.
    """
    return x if replica_count() == 1 else backend.replica_sum(x)


def replica_mean(x: Any) -> Any:
    """The mean over replicas, on each: of means of shares, that of the batch.

    Args:
        x: float tensor of the same shape on all replicas.

    Returns:
        A tensor of that shape, with gradients.
    """
    count = replica_count()
    return x if count == 1 else backend.replica_sum(x) / count


def replica_gather(x: Any, axis: int = 0) -> Any:
    """The tensors of all replicas one after the other, without gradients.

    Args:
        x: tensor of the same shape on all replicas.
        axis: along which they are joined, in the order of the replicas.

    Returns:
        A tensor, `replica_count()` times as long along `axis`.
    """
    return x if replica_count() == 1 else backend.replica_gather(x, axis)


def take_slots(maps: Any, slots: Any) -> Any:
    """For each sample, the vectors in some slots.

    Args:
        maps: tensor `(S, B, C)`.
        slots: integers `(..., B)` below S.

    Returns:
        A tensor `(..., B, C)`. Nothing goes from one sample to another, which
        the compiler of sharded arrays has to see.
    """
    return backend.take_slots(maps, slots)


def add_to_slots(total: Any, slots: Any, values: Any) -> Any:
    """The transpose of `take_slots`: adds vectors to those in some slots.

    Args:
        total: tensor `(S, B, C)`, which may be changed and must not be used
            again.
        slots: integers `(..., B)` below S.
        values: tensor `(..., B, C)`.

    Returns:
        A tensor `(S, B, C)`.
    """
    return backend.add_to_slots(total, slots, values)


def add_to_range(total: Any, first: int, values: Any) -> Any:
    """Adds vectors to those of neighbouring slots.

    Args:
        total: as in `add_to_slots`.
        first: the first slot.
        values: tensor `(n, B, C)`, for the slots from there on.

    Returns:
        A tensor `(S, B, C)`.
    """
    return backend.add_to_range(total, first, values)


def replica_index() -> int | Any:
    """The number of this replica, below `replica_count()`.

    Returns:
        An integer, or a scalar tensor of the compiled step.
    """
    return 0 if replica_count() == 1 else backend.replica_index()


def for_metrics(x: Any) -> Any:
    """Of a tensor `(B, ...)` what a metric of this replica must see.

    Under TensorFlow metrics are sums over replicas by themselves. Under PyTorch
    each process has its own, which must see the samples of all.
    """
    return x if replica_count() == 1 else backend.for_metrics(x)


def metric_weight(size: Any) -> Any:
    """The weight in a metric of a figure of the whole batch.

    Args:
        size: samples of this replica.

    Returns:
        A number whose sum over what is summed by itself is the batch size.
    """
    return size if replica_count() == 1 else backend.metric_weight(size)
