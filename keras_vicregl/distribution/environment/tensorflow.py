"""Strategies of `tf.distribute`."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable
from typing import Any

from keras_vicregl._tensorflow import tf
from keras_vicregl.distribution.duplicates import compare_processes
from keras_vicregl.distribution.environment.launchers import (
    slurm_hosts,
    slurm_port,
    slurm_tasks,
    workers,
)
from keras_vicregl.distribution.environment.setup import Setup


def set_up(strategy: str) -> Setup:
    """Makes the strategy that there is hardware for."""
    _slurm_as_tf_config()
    count = workers()
    if strategy == "auto":
        strategy = _best(count)
    if strategy == "none":
        return Setup()
    if strategy == "multi_worker" and count < 2:
        raise ValueError(
            "`strategy='multi_worker'` needs several workers; the environment "
            f"variable TF_CONFIG speaks of {count}: "
            f"{os.environ.get('TF_CONFIG')!r}."
        )
    made = _make(strategy)
    several = strategy == "multi_worker"
    return Setup(
        strategy,
        made.num_replicas_in_sync,
        count if several else 1,
        made.extended._id_in_cluster if several else 0,
        made.scope,
        functools.partial(_distribute, made),
    )


def _best(count: int) -> str:
    if os.environ.get("TPU_NAME"):
        return "tpu"
    if count > 1:
        return "multi_worker"
    gpus = tf.config.list_physical_devices("GPU")
    return "mirrored" if len(gpus) > 1 else "none"


def _make(strategy: str) -> Any:
    if strategy == "mirrored":
        gpus = tf.config.list_logical_devices("GPU")
        devices = gpus or tf.config.list_logical_devices("CPU")
        return tf.distribute.MirroredStrategy([d.name for d in devices])
    if strategy == "multi_worker":
        return tf.distribute.MultiWorkerMirroredStrategy()
    resolver = tf.distribute.cluster_resolver.TPUClusterResolver.connect()
    return tf.distribute.TPUStrategy(resolver)


def _distribute(
    strategy: Any, make_batches: Callable[[], Any], share: int
) -> Any:
    """Batches of each process or host, cut into shares of devices.

    Of sizes that are known when the step is compiled.
    """
    made = []

    def shares_of(context: Any) -> Any:
        # Workers, or the hosts of a TPU's slice.
        shard = (context.input_pipeline_id, context.num_input_pipelines)
        batches = make_batches(**({} if shard == (0, 1) else {"shard": shard}))
        if not isinstance(batches, tf.data.Dataset):
            raise ValueError(
                "Under a strategy of TensorFlow `make_batches` must return a "
                f"tf.data.Dataset; received a {type(batches).__name__}. "
                "tf.data.Dataset.from_generator makes one of a generator."
            )
        made.append(batches)
        return batches.rebatch(share, drop_remainder=True)

    shares = strategy.distribute_datasets_from_function(shares_of)
    if strategy.extended._in_multi_worker_mode():
        _compare(made[0], strategy)
    # That of the shares, of which each device takes one a step. Keras looks
    # here for the number of steps.
    shares._cardinality = made[0].cardinality().numpy()
    for name in ("identity", "examples"):
        setattr(shares, name, getattr(made[0], name, None))
    return shares


def _compare(batches: tf.data.Dataset, strategy: Any) -> None:
    """Refuses batches that several workers have alike."""
    with tf.device("cpu"):
        first = next(batches.take(1).as_numpy_iterator(), ())
    with strategy.scope():
        compare_processes(first)


def _slurm_as_tf_config() -> None:
    """One worker a task, each with the GPUs that SLURM gives it."""
    if os.environ.get("TF_CONFIG") or slurm_tasks() < 2:
        return
    hosts = slurm_hosts()
    here, more = divmod(slurm_tasks(), len(hosts))
    if more:
        raise ValueError(
            f"{slurm_tasks()} tasks of SLURM do not divide among "
            f"{len(hosts)} hosts: start as many on each (--ntasks-per-node)."
        )
    placed = os.environ.get("SLURM_DISTRIBUTION", "block")
    if not placed.startswith("block"):
        raise ValueError(
            f"SLURM_DISTRIBUTION is {placed!r}: which host a task is on is "
            "known for blocks only. Start with --distribution=block."
        )
    gpus = tf.config.list_physical_devices("GPU")
    if here > 1 and len(gpus) > 1:
        # Tasks of a host see all its GPUs, and each takes its own.
        local = int(os.environ["SLURM_LOCALID"])
        tf.config.set_visible_devices(gpus[local::here], "GPU")
    addresses = [
        f"{host}:{slurm_port() + task}"
        for host in hosts
        for task in range(here)
    ]
    os.environ["TF_CONFIG"] = json.dumps(
        {
            "cluster": {"worker": addresses},
            "task": {
                "type": "worker",
                "index": int(os.environ["SLURM_PROCID"]),
            },
        }
    )
