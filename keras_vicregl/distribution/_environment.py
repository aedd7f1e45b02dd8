"""What launchers say in environment variables."""

from __future__ import annotations

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
    """A port that all tasks of a job derive alike, and other jobs do not."""
    return 12000 + int(os.environ.get("SLURM_JOB_ID", 0)) % 20000
