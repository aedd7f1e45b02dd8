"""Process groups of PyTorch."""

from __future__ import annotations

import os
import warnings

import torch
import torch.distributed as dist

from keras_vicregl.distribution.environment.launchers import (
    slurm_hosts,
    slurm_port,
    slurm_tasks,
)
from keras_vicregl.distribution.environment.setup import Setup


def set_up(strategy: str) -> Setup:
    """Joins the group of processes that a launcher has started."""
    if "WORLD_SIZE" not in os.environ and slurm_tasks() > 1:
        os.environ.update(
            WORLD_SIZE=str(slurm_tasks()),
            RANK=os.environ["SLURM_PROCID"],
            LOCAL_RANK=os.environ.get("SLURM_LOCALID", "0"),
        )
        os.environ.setdefault("MASTER_ADDR", slurm_hosts()[0])
        os.environ.setdefault("MASTER_PORT", str(slurm_port()))
    gpus = torch.cuda.device_count()
    if not dist.is_initialized():
        if int(os.environ.get("WORLD_SIZE", 1)) < 2:
            return _alone(strategy, gpus)
        if gpus:
            torch.cuda.set_device(_own_gpu(gpus))
        dist.init_process_group("nccl" if gpus else "gloo")
    processes = dist.get_world_size()
    return Setup("process_group", processes, processes, dist.get_rank())


def _own_gpu(gpus: int) -> int:
    if gpus == 1:
        # Launchers may show each process its own only.
        return 0
    local = int(os.environ.get("LOCAL_RANK", -1))
    if not 0 <= local < gpus:
        raise ValueError(
            f"The environment variable LOCAL_RANK is {local}: which of {gpus} "
            "GPUs is this process to take? Start a process a GPU, with "
            "torchrun or srun."
        )
    return local


def _alone(strategy: str, gpus: int) -> Setup:
    how = "torchrun --nproc-per-node=N script.py"
    if "WORLD_SIZE" in os.environ:
        return Setup()
    if strategy != "auto":
        raise ValueError(
            f"`strategy={strategy!r}` needs a process a device; WORLD_SIZE "
            f"says nothing of several. Start them with {how}."
        )
    if gpus > 1:
        warnings.warn(
            f"{gpus} GPUs are there, and one is used: PyTorch takes a process "
            f"for each. Start them with {how}.",
            UserWarning,
            stacklevel=4,
        )
    return Setup()
