"""Which of several processes this one is, and what they agree on.

Not for what is inside a step: see `collectives`.
"""

import time
from typing import Any

from keras_vicregl.distribution.backends.running import backend


def process_index(model: Any = None) -> int:
    """The number of this process, 0 for the one that writes files.

    Args:
        model: a model that was made under a strategy of TensorFlow. `None`:
            TensorFlow's current strategy.

    Returns:
        A number below `process_count(model)`.

    Example:

    >>> process_index(), process_count()
    (0, 1)
    """
    return backend.process_index(model)


def process_count(model: Any = None) -> int:
    """How many processes train together.

    Args:
        model: as for `process_index`.

    Returns:
        1 where there is only this one.
    """
    return backend.process_count(model)


def gather_from_processes(value: int, model: Any = None) -> list[int]:
    """A number of each process, on all of them. They wait for each other.

    Args:
        value: a number below 2^31.
        model: as for `process_index`.

    Returns:
        The numbers, by process.

    Example:

    >>> gather_from_processes(3)
    [3]
    """
    if process_count(model) == 1:
        return [int(value)]
    return backend.gather_from_processes(int(value), model)


def end_together(model: Any = None) -> None:
    """Waits until all processes are here, and may end.

    Args:
        model: as for `process_index`.

    Example:

    >>> end_together()
    """
    if process_count(model) > 1:
        backend.gather_from_processes(0, model)
        time.sleep(backend.SECONDS_TO_HAND_OVER)
