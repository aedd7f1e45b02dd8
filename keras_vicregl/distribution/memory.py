"""Memory of the devices of this process, where the backend tells."""

import os
import pathlib

from keras_vicregl.distribution.backends.running import backend

# What a container may use and uses, by the two versions of Linux' groups.
_GROUPS = (
    ("memory.max", "memory.current"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
)
_OF_GROUPS = pathlib.Path("/sys/fs/cgroup")


def peak_memory() -> int | None:
    """The most memory that one device of this process has had in use.

    It is what the backend has given to arrays since the process began, or
    since its own function set that back; what it has reserved may be more.

    Returns:
        Bytes, of the device with most. `None` where the backend does not
        tell: on CPUs, on GPUs of Apple, on TPUs under TensorFlow.

    Example:

    >>> peak = peak_memory()
    >>> peak is None or peak > 0
    True
    """
    return max(backend.peaks_of_memory(), default=None)


def free_memory() -> int | None:
    """Memory that is free on one accelerator, or where there is none, here.

    On CPUs it is what Linux calls available, or what is left of the limit of a
    container, if that is less.

    Returns:
        Bytes, of the device with least. `None` where nobody tells.

    Example:

    >>> free = free_memory()
    >>> free is None or free > 0
    True
    """
    if has_accelerator():
        return min(backend.free_memory(), default=None)
    return min(_free_here(), default=None)


def has_accelerator() -> bool:
    """Whether the backend computes on something else than CPUs.

    Example:

    >>> has_accelerator() in (True, False)
    True
    """
    return bool(backend.accelerators())


def devices() -> list[str]:
    """Names of what this process computes on.

    Returns:
        Those of accelerators, or a line about the CPU.

    Example:

    >>> len(devices()) > 0
    True
    """
    cores = getattr(os, "sched_getaffinity", None)
    count = len(cores(0)) if cores else os.cpu_count()
    return backend.accelerators() or [f"CPU, {count} cores"]


def _free_here() -> list[int]:
    found = []
    try:
        for line in pathlib.Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                found.append(1024 * int(line.split()[1]))
    except (OSError, ValueError):
        pass  # another system
    for names in _GROUPS:
        try:
            most, used = (
                int((_OF_GROUPS / name).read_text()) for name in names
            )
        except (OSError, ValueError):  # there is no such file, or no limit
            continue
        found.append(max(most - used, 0))
    return found
