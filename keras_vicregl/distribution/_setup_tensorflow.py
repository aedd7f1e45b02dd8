"""Strategies of `tf.distribute`."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from keras_vicregl.distribution._environment import (
    slurm_hosts,
    slurm_port,
    slurm_tasks,
)
from keras_vicregl.distribution.setup import Setup


def set_up(strategy: str) -> Setup:
    _slurm_as_tf_config()
    workers = _workers()
    if strategy == "auto":
        strategy = _best(workers)
    if strategy == "none":
        return Setup()
    if strategy == "multi_worker" and workers < 2:
        raise ValueError(
            "`strategy='multi_worker'` needs several workers; the environment "
            f"variable TF_CONFIG speaks of {workers}: "
            f"{os.environ.get('TF_CONFIG')!r}."
        )
    made = _make(strategy)
    several = strategy == "multi_worker"
    return Setup(
        strategy,
        made.num_replicas_in_sync,
        workers if several else 1,
        made.extended._id_in_cluster if several else 0,
        made.scope,
        functools.partial(_distribute, made),
    )


def _best(workers: int) -> str:
    if os.environ.get("TPU_NAME"):
        return "tpu"
    if workers > 1:
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


def _distribute(strategy: Any, make_batches: Callable[[], Any], share: int):  # noqa: ANN202
    """Batches of this process, cut into shares of devices.

    Of sizes that are known when the step is compiled.
    """
    batches = make_batches()
    shares = strategy.distribute_datasets_from_function(
        lambda _: batches.rebatch(share, drop_remainder=True)
    )
    # That of the shares, of which each device takes one a step. Keras looks
    # here for the number of steps.
    shares._cardinality = batches.cardinality().numpy()
    return shares


def _workers() -> int:
    cluster = json.loads(os.environ.get("TF_CONFIG") or "{}").get("cluster", {})
    return sum(len(cluster.get(job, ())) for job in ("chief", "worker"))


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
    workers = [
        f"{host}:{slurm_port() + task}"
        for host in hosts
        for task in range(here)
    ]
    os.environ["TF_CONFIG"] = json.dumps(
        {
            "cluster": {"worker": workers},
            "task": {
                "type": "worker",
                "index": int(os.environ["SLURM_PROCID"]),
            },
        }
    )
