"""`keras.distribution.DataParallel`, of one process or several."""

from __future__ import annotations

import os
from typing import Any

import jax
import keras

from keras_vicregl.distribution.environment.launchers import slurm_tasks
from keras_vicregl.distribution.environment.setup import Setup

# Keras' own variables, and JAX's.
_VARIABLES = {
    "coordinator_address": (
        "KERAS_DISTRIBUTION_JOB_ADDRESSES",
        "JAX_COORDINATOR_ADDRESS",
    ),
    "num_processes": (
        "KERAS_DISTRIBUTION_NUM_PROCESSES",
        "JAX_NUM_PROCESSES",
    ),
    "process_id": ("KERAS_DISTRIBUTION_PROCESS_ID", "JAX_PROCESS_ID"),
}
# A process that is not heard of for so long is taken for dead, and the others
# end.
_TIMEOUT = 30


def set_up(strategy: str) -> Setup:
    """Connects processes, and tells `fit` of all devices."""
    _connect()
    devices = jax.devices()
    if len(devices) == 1:
        if strategy != "auto":
            raise ValueError(
                f"`strategy={strategy!r}` needs several devices; JAX sees "
                f"{devices[0]} alone."
            )
        return Setup()
    # Not only while the model is made: `fit` looks for it as well. Batches are
    # shares of processes already.
    keras.distribution.set_distribution(
        keras.distribution.DataParallel(auto_shard_dataset=False)
    )
    return Setup(
        "data_parallel",
        len(devices),
        jax.process_count(),
        jax.process_index(),
    )


def _connect() -> None:
    """Connects processes, where the environment speaks of several."""
    settings = _settings()
    several_hosts = "," in os.environ.get("TPU_WORKER_HOSTNAMES", "")
    # Without settings JAX asks SLURM, or the TPU.
    if jax.distributed.is_initialized() or not (
        settings or slurm_tasks() > 1 or several_hosts
    ):
        return
    jax.distributed.initialize(
        **settings,
        heartbeat_timeout_seconds=_TIMEOUT,
        # One that ends with an error waits at its end for the others, which
        # wait for it.
        shutdown_timeout_seconds=_TIMEOUT,
    )
    from keras.src.backend.jax.distribution_lib import initialize_rng

    # Weights start alike in all processes, if no seed was set.
    initialize_rng()


def _settings() -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for argument, names in _VARIABLES.items():
        for name in names:
            if name in os.environ:
                settings.setdefault(argument, os.environ[name])
    if "coordinator_address" in settings:
        # Keras takes the addresses of all.
        first, *_ = settings["coordinator_address"].split(",")
        settings["coordinator_address"] = first
    for argument in ("num_processes", "process_id"):
        if argument in settings:
            settings[argument] = int(settings[argument])
    return settings
