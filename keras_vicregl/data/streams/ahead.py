"""What is made ahead of its use, by threads of Python, in order.

Pillow and NumPy let go of Python's lock where the time is spent, so threads
share what a process has, and nothing has to be sent. All are daemons: a reader
that hangs does not keep a program from ending.
"""

from __future__ import annotations

import collections
import itertools
import os
import queue
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any, NamedTuple

PATIENCE = 300.0
"""Seconds after which one example counts as one that cannot be read."""

_POLL = 0.5
_END = object()


class Made(NamedTuple):
    """What became of an item.

    Attributes:
        item: What was to be worked on.
        value: The result, or None.
        error: Why there is none, or None.
    """

    item: Any
    value: Any = None
    error: BaseException | None = None


def thread_count() -> int:
    """Threads that read: as many as cores, of which processes have a share."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        cores = os.cpu_count() or 1
    # What torchrun, srun and the like tell of the processes of a machine.
    beside = os.environ.get("LOCAL_WORLD_SIZE", "1")
    processes = int(beside) if beside.isdecimal() else 1
    # One at least is waiting for a disk.
    return max(2, cores // max(processes, 1) + 1)


def in_order(
    function: Callable[[Any], Any],
    items: Iterable[Any],
    *,
    threads: int | None = None,
    ahead: int | None = None,
    patience: float | None = None,
) -> Generator[Made, None, None]:
    """Results of a function in the order of the items, made by threads.

    Args:
        function: Of one item.
        items: May have no end.
        threads: How many work. None: `thread_count()`.
        ahead: Items that are begun before they are asked for. None: four a
            thread.
        patience: Seconds that one may take; then a `TimeoutError` is what
            became of it, and another thread takes the place of its. None:
            `PATIENCE`.

    Yields:
        One `Made` an item.

    Raises:
        MemoryError: And whatever else is no fault of the item, such as the wish
            to end, from the thread where it came up.
    """
    threads = thread_count() if threads is None else threads
    ahead = 4 * threads if ahead is None else ahead
    patience = PATIENCE if patience is None else patience
    tasks: queue.SimpleQueue = queue.SimpleQueue()
    pending: collections.deque[_Task] = collections.deque()
    items = iter(items)
    started = 0

    def start_one() -> None:
        nonlocal started
        started += 1
        threading.Thread(
            target=_work, args=(tasks, function), daemon=True
        ).start()

    try:
        while True:
            for item in itertools.islice(items, ahead - len(pending)):
                pending.append(_Task(item))
                tasks.put(pending[-1])
                if started < threads:
                    start_one()
            if not pending:
                return
            task = pending.popleft()
            if not task.wait(patience):
                start_one()
            error = task.made.error
            if isinstance(error, MemoryError) or not isinstance(
                error, Exception | None
            ):
                raise error
            yield task.made
    finally:
        for task in pending:
            task.is_wanted = False
        for _ in range(started):
            tasks.put(None)


def within(
    function: Callable[[Any], Any], item: Any, patience: float | None = None
) -> Any:
    """What a function makes of an item, if it does in time.

    Args:
        function: Of one item.
        item: Given to it.
        patience: Seconds; None: `PATIENCE`.

    Raises:
        TimeoutError: If it does not. Its thread is left to itself.
        BaseException: Whatever the function raises.
    """
    patience = PATIENCE if patience is None else patience
    task = _Task(item)
    threading.Thread(target=task.run, args=(function,), daemon=True).start()
    task.wait(patience)
    if task.made.error is not None:
        raise task.made.error
    return task.made.value


def prefetched(make: Callable[[], Iterator[Any]], count: int) -> Prefetched:
    """The items of an iterator, of which a thread makes some ahead.

    Args:
        make: Gives the iterator; called in the thread.
        count: Items that are kept ready, 1 or more.
    """
    return Prefetched(make, count)


class Prefetched:
    """What `prefetched` returns: an iterator that can be closed.

    An error of the iterator comes where the item would have come.
    """

    def __init__(self, make: Callable[[], Iterator[Any]], count: int) -> None:
        self._ready: queue.Queue = queue.Queue(count)
        self._closed = threading.Event()
        self._is_over = False
        threading.Thread(
            target=_fill, args=(make, self._ready, self._closed), daemon=True
        ).start()

    def __iter__(self) -> Prefetched:
        return self

    def __next__(self) -> Any:
        if self._is_over:
            raise StopIteration
        item, error = self._ready.get()
        if item is _END:
            self._is_over = True
            raise StopIteration if error is None else error
        return item

    def close(self) -> None:
        """Ends the thread, after what it is at."""
        self._is_over = True
        self._closed.set()

    def __del__(self) -> None:
        self.close()


class _Task:
    def __init__(self, item: Any) -> None:
        self.is_wanted = True
        self.begun: float | None = None
        self.made = Made(item)
        self._is_done = threading.Event()

    def run(self, function: Callable[[Any], Any]) -> None:
        self.begun = time.monotonic()
        try:
            made = Made(self.made.item, function(self.made.item))
        except BaseException as error:  # for whoever waits for it
            made = Made(self.made.item, None, error)
        if self.is_wanted:
            self.made = made
        self._is_done.set()

    def wait(self, patience: float) -> bool:
        """Whether it has come to an end in time."""
        while not self._is_done.wait(min(_POLL, patience)):
            begun = self.begun
            if begun is None or time.monotonic() - begun < patience:
                continue
            self.is_wanted = False
            if self._is_done.is_set():  # in this very moment
                break
            error = TimeoutError(
                f"reading it has taken more than {patience:g} seconds: does "
                "its disk, or network, still answer?"
            )
            self.made = Made(self.made.item, None, error)
            return False
        return True


def _work(tasks: queue.SimpleQueue, function: Callable[[Any], Any]) -> None:
    while (task := tasks.get()) is not None:
        if task.is_wanted:
            task.run(function)
        del task  # and with it what was made


def _fill(
    make: Callable[[], Iterator[Any]],
    ready: queue.Queue,
    closed: threading.Event,
) -> None:
    def put(*item: Any) -> bool:
        while not closed.is_set():
            try:
                ready.put(item, timeout=_POLL)
            except queue.Full:
                continue
            return True
        return False

    iterator = None
    try:
        iterator = make()
        for item in iterator:
            if not put(item, None):
                return
            del item
        put(_END, None)
    except BaseException as error:
        put(_END, error)
    finally:
        if iterator is not None and hasattr(iterator, "close"):
            iterator.close()
