"""TensorFlow: replicas are threads, or other processes, of a strategy."""

import contextlib
import functools
import shutil
import subprocess
from collections.abc import Sequence
from typing import Any

from keras_vicregl._tensorflow import tf
from keras_vicregl.distribution.backends.rows import rows_of
from keras_vicregl.distribution.backends.rows import take_slots as take_slots

# A collective is over for a process before the others have taken what it sent,
# and with the process that ends goes what it sent.
SECONDS_TO_HAND_OVER = 3


def replica_count() -> int:
    context = tf.distribute.get_replica_context()
    return 1 if context is None else context.num_replicas_in_sync


def replica_sum(x: Any) -> Any:
    context = tf.distribute.get_replica_context()
    return context.all_reduce(tf.distribute.ReduceOp.SUM, x)


def replica_gather(x: Any, axis: int) -> Any:
    axis = axis % len(x.shape)
    shape = x.shape.as_list()
    everything = tf.distribute.get_replica_context().all_gather(x, axis=axis)
    if shape[axis] is not None:
        shape[axis] *= replica_count()
    # The strategy forgets what is known.
    return tf.ensure_shape(everything, shape)


def add_to_slots(total: Any, slots: Any, values: Any) -> Any:
    flat = (-1, total.shape[-1])
    rows = tf.reshape(rows_of(total, slots), (-1, 1))
    added = tf.tensor_scatter_nd_add(
        tf.reshape(total, flat), rows, tf.reshape(values, flat)
    )
    return tf.reshape(added, tf.shape(total))


def add_to_range(total: Any, first: int, values: Any) -> Any:
    slots = tf.range(first, first + tf.shape(values)[0])
    return tf.tensor_scatter_nd_add(total, slots[:, None], values)


def replica_index() -> Any:
    return tf.distribute.get_replica_context().replica_id_in_sync_group


def for_metrics(x: Any) -> Any:
    return x


def metric_weight(size: Any) -> Any:
    return size


def apply_gradients(
    optimizer: Any, gradients: Sequence[Any], variables: Sequence[Any]
) -> None:
    """The step of an optimizer with gradients summed over replicas.

    Keras sums them as well, but only after it has clipped each replica's, and
    looked in each replica's for what is not finite.
    """
    if replica_count() > 1:
        there = [g for g in gradients if g is not None]
        summed = iter(replica_sum(there))
        gradients = [None if g is None else next(summed) for g in gradients]
        inner = getattr(optimizer, "inner_optimizer", optimizer)
        # Sums no more: the pairs of gradients and variables as they are.
        inner._all_reduce_sum_gradients = list
    optimizer.apply_gradients(zip(gradients, variables, strict=True))


def reducible(logs: dict[str, Any]) -> dict[str, Any]:
    """Logs of a replica in the form in which Keras can join them.

    In several processes Keras takes the mean over the first axis; a log has
    none.
    """
    strategy = tf.distribute.get_strategy()
    if not _several_processes(strategy):
        return logs
    return {name: tf.reshape(value, (1,)) for name, value in logs.items()}


def check_combination(model: Any) -> None:
    """Refuses what Keras cannot do with several replicas, before it fails.

    Raises:
        ValueError: with the reason, and what to do instead.
    """
    strategy = model.distribute_strategy
    replicas = strategy.num_replicas_in_sync
    if replicas == 1:
        return
    where = f"{type(strategy).__name__} with {replicas} replicas"
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    if getattr(optimizer, "gradient_accumulation_steps", None):
        raise ValueError(
            "`gradient_accumulation_steps="
            f"{optimizer.gradient_accumulation_steps}` does not work under "
            f"{where}: Keras decides in each replica whether to step, where "
            "TensorFlow lets replicas not talk to each other. Use a smaller "
            "batch, VICRegL(remat=True), or the backend jax or torch."
        )
    if isinstance(strategy, tf.distribute.TPUStrategy):
        return
    if model.steps_per_execution > 1:
        raise ValueError(
            f"`steps_per_execution={model.steps_per_execution}` does not work "
            f"under {where}: TensorFlow lets replicas not talk to each other "
            "inside a loop. Compile the model with steps_per_execution=1."
        )
    if model.jit_compile:
        raise ValueError(
            f"`jit_compile=True` does not work under {where}: replicas talk to "
            "each other outside of what XLA compiles. Compile the model with "
            "jit_compile=False, or use the backend jax."
        )


def process_index(model: Any) -> int:
    strategy = _strategy_of(model)
    if not _several_processes(strategy):
        return 0
    return strategy.extended._id_in_cluster


def process_count(model: Any) -> int:
    strategy = _strategy_of(model)
    return strategy.extended._num_workers if _several_processes(strategy) else 1


def gather_from_processes(value: int, model: Any) -> list[int]:
    strategy = _strategy_of(model)
    values = strategy.experimental_distribute_values_from_function(
        lambda _: tf.constant([value], tf.int64)
    )
    everything = _gathering(strategy)(values).numpy()
    # One of each process, whose replicas follow each other.
    here = strategy.num_replicas_in_sync // process_count(model)
    return [int(v) for v in everything[::here]]


def peaks_of_memory() -> list[int]:
    peaks = []
    for kind in ("GPU", "TPU"):
        for number in range(len(tf.config.list_logical_devices(kind))):
            # Some kinds do not tell.
            with contextlib.suppress(ValueError, tf.errors.OpError):
                device = f"{kind}:{number}"
                peaks.append(tf.config.experimental.get_memory_info(device))
    return [int(peak["peak"]) for peak in peaks]


def accelerators() -> list[str]:
    found = [
        device
        for kind in ("GPU", "TPU")
        for device in tf.config.get_visible_devices(kind)
    ]
    details = map(tf.config.experimental.get_device_details, found)
    return [
        facts.get("device_name", device.device_type)
        for device, facts in zip(found, details, strict=True)
    ]


def free_memory() -> list[int]:
    # TensorFlow tells what it has taken alone.
    command = shutil.which("nvidia-smi")
    if command is None:
        return []
    query = ("--query-gpu=memory.free", "--format=csv,noheader,nounits")
    with contextlib.suppress(OSError, ValueError, subprocess.SubprocessError):
        told = subprocess.run(
            [command, *query], capture_output=True, text=True, check=True
        )
        return [2**20 * int(line) for line in told.stdout.split()]
    return []


@functools.lru_cache(maxsize=1)
def _gathering(strategy: Any) -> Any:
    # `strategy.gather` traces anew each time.

    def everyones(value: Any) -> Any:
        context = tf.distribute.get_replica_context()
        # A tensor with a device, which arguments do not have.
        return context.all_gather(tf.identity(value), axis=0)

    @tf.function(autograph=False)
    def gather(values: Any) -> Any:
        everything = strategy.run(everyones, args=(values,))
        return strategy.experimental_local_results(everything)[0]

    return gather


def _strategy_of(model: Any) -> Any:
    strategy = getattr(model, "distribute_strategy", None)
    return strategy or tf.distribute.get_strategy()


def _several_processes(strategy: Any) -> bool:
    return strategy.extended._in_multi_worker_mode()
