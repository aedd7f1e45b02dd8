"""What launchers say in environment variables."""

from __future__ import annotations

import json
import os
import re


def slurm_tasks() -> int:
    """Tasks of the step of SLURM that this process is one of; 1 without."""
    if "SLURM_PROCID" not in os.environ:
        return 1
    return int(os.environ.get("SLURM_STEP_NUM_TASKS", 1))


def slurm_hosts() -> list[str]:
    """The hosts of the step of SLURM, in order.

    Its list is compressed: `gpu[1-3,07],login` is gpu1, gpu2, gpu3, gpu07 and
    login.
    """
    compressed = os.environ.get(
        "SLURM_STEP_NODELIST", os.environ.get("SLURM_NODELIST", "localhost")
    )
    hosts = []
    for item in re.findall(r"[^,\[]+(?:\[[^\]]*\])?[^,\[]*", compressed):
        prefix, bracket, rest = item.partition("[")
        if not bracket:
            hosts.append(item)
            continue
        numbers, _, suffix = rest.partition("]")
        for part in numbers.split(","):
            first, _, last = part.partition("-")
            hosts += [
                f"{prefix}{number:0{len(first)}d}{suffix}"
                for number in range(int(first), int(last or first) + 1)
            ]
    return hosts


def slurm_port() -> int:
    """A port that all tasks of a step derive alike, and other steps do not."""
    job, step = (
        int(os.environ.get(name, 0))
        for name in ("SLURM_JOB_ID", "SLURM_STEPID")
    )
    return 12000 + (job + 97 * step) % 20000


def workers() -> int:
    """How many `TF_CONFIG` speaks of."""
    text = os.environ.get("TF_CONFIG") or "{}"
    try:
        cluster = json.loads(text).get("cluster", {})
    except ValueError as error:
        raise ValueError(f"TF_CONFIG is no JSON: {text!r}") from error
    return sum(len(cluster.get(job, ())) for job in ("chief", "worker"))


def several_processes() -> str:
    """What says that this process is one of several; empty if nothing does."""
    if workers() > 1:
        return f"TF_CONFIG speaks of {workers()} workers"
    for name in ("WORLD_SIZE", "JAX_NUM_PROCESSES"):
        if int(os.environ.get(name) or 1) > 1:
            return f"{name} is {os.environ[name]}"
    return f"SLURM runs {slurm_tasks()} tasks" if slurm_tasks() > 1 else ""
