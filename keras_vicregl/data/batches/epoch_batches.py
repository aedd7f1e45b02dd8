"""Epochs of batches in Python, as `fit` of any backend counts them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from keras_vicregl.data._checks import (
    check_fixed,
    check_integer,
    check_shard,
    check_start,
)
from keras_vicregl.data.batches.identity import examples_of, identity_of
from keras_vicregl.data.sources.image_source import ImageSource
from keras_vicregl.data.streams.epochs import Plan
from keras_vicregl.data.streams.order import epoch_seeds, shuffled
from keras_vicregl.views import MultiView


class EpochBatches(keras.utils.PyDataset):
    """Batches of one epoch after the other, without TensorFlow.

    An epoch has passed when `fit`, or a loop over this object, has come to its
    end; one that was given up before is begun again.

    A derived class has `_batch`, which makes one; it may run ahead in other
    threads, as long as it gives each when it is asked for.

    Args:
        source: What the batches are of.
        multi_view: A `MultiView` with `on="device"`.
        batch_size: See `ArrayBatches`, as all that follow.
        seed: ...
        shuffle: ...
        drop_remainder: ...
        start: ...
        fixed: ...
        shard: ...
        **threads: Of `keras.utils.PyDataset`.

    Raises:
        ValueError: If an argument is outside what it may be, or not one full
            batch would come out.
    """

    def __init__(
        self,
        source: ImageSource,
        multi_view: MultiView,
        *,
        batch_size: int,
        seed: int,
        shuffle: bool,
        drop_remainder: bool,
        start: tuple[int, int],
        fixed: bool,
        shard: tuple[int, int],
        **threads: Any,
    ) -> None:
        # Threads only: other processes would not know of the epoch. NumPy
        # spends its time outside of Python's lock.
        super().__init__(**threads)
        if not isinstance(multi_view, MultiView) or multi_view.on != "device":
            raise ValueError(
                "multi_view must be a MultiView with on='device': views on the "
                "host are made by view_batches and TensorFlow. Received: "
                f"{multi_view!r}"
            )
        check_integer("batch_size", batch_size, smallest=1)
        self._seed = check_integer("seed", seed, smallest=0)
        self._multi_view = self.multi_view = multi_view
        self._count = len(source)
        self._plan = Plan(
            batch_size,
            bool(drop_remainder),
            bool(shuffle),
            check_shard(shard, batch_size, drop_remainder),
        )
        self._steps = self._plan.steps(self._count)
        if not self._steps:
            raise ValueError(
                f"{self._count} examples do not fill a batch of batch_size="
                f"{batch_size}. Lower it, or pass drop_remainder=False."
            )
        self._position = check_start(start, self._steps)
        self._fixed = check_fixed(fixed, self._position[1])
        # For `pretrain`.
        self.identity = identity_of(source, self._plan, self._seed)
        self.examples = examples_of(self._count, self._plan, self._seed)
        self._last_taken = (0, 0.0)
        self._thread: int | None = None
        self._runs_ahead = False
        self._within_epoch = self._reached_the_end = False

    @property
    def position(self) -> tuple[int, int]:
        """Epoch and step at which the present or next iteration begins."""
        return self._position

    def __len__(self) -> int:
        """Batches in the present or next iteration."""
        return self._steps - self._position[1]

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        """A batch of the present epoch, as `Model.fit` takes it."""
        epoch, first = self._position
        step = first + index
        if not first <= step < self._steps:
            raise IndexError(
                f"index must be in 0..{len(self) - 1}. Received: {index}"
            )
        if step == self._steps - 1:
            self._reached_the_end = True
        batch = self._batch(epoch, step)
        self._runs_ahead |= threading.get_ident() != self._thread
        self._last_taken = (self._last_taken[0] + 1, time.perf_counter())
        return batch

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        """The batches of one epoch, which has then passed."""
        epoch, first = self._position
        for step in range(first, self._steps):
            batch = self._batch(epoch, step)
            if step == self._steps - 1:
                self._pass()
            yield batch

    def last_taken(self) -> tuple[int, float] | None:
        """How many batches `fit` has taken, and when the last.

        Returns:
            A count and a time of `time.perf_counter`; `None` where Keras takes
            batches ahead, in other threads: with more `workers`, and under
            TensorFlow.
        """
        return None if self._runs_ahead else self._last_taken

    def on_epoch_begin(self) -> None:
        """Called by `fit`, in the thread that trains."""
        self._within_epoch = True
        self._thread, self._runs_ahead = threading.get_ident(), False

    def on_epoch_end(self) -> None:
        """Called by `fit`: the next epoch follows, if this one was whole."""
        # Also called without an epoch, and after a look at a batch or two.
        if self._within_epoch and self._reached_the_end:
            self._pass()
        self._within_epoch = self._reached_the_end = False

    def _pass(self) -> None:
        """Moves on to the next epoch."""
        if not self._fixed:
            self._position = self._position[0] + 1, 0

    def _batch(self, epoch: int, step: int) -> tuple[Any, ...]:
        """A batch of any epoch, as `MultiView.to_fit` arranges it."""
        raise NotImplementedError


class Order:
    """The seeds and the examples of a plan's batches, epoch after epoch.

    It may be asked by several threads, mostly for one epoch.

    Args:
        count: Of all examples.
        plan: How they are put into batches.
        seed: Of all epochs.
    """

    def __init__(self, count: int, plan: Plan, seed: int) -> None:
        self._count = count
        self._plan = plan
        self._seed = seed
        self._lock = threading.Lock()
        self._present: tuple[int, Any, Any] | None = None

    def seeds(self, epoch: int, step: int) -> np.ndarray:
        """Of this process' rows of a batch, (B, 2) int64.

        Returns:
            The epoch's seed of views, and the numbers of the examples.
        """
        view_seed, order = self._epoch(epoch)
        first = step * self._plan.batch_size
        rows = self._plan.rows
        chosen = order[first + rows.start : first + rows.stop]
        return np.stack([np.full_like(chosen, view_seed), chosen], axis=-1)

    def _epoch(self, epoch: int) -> tuple[int, np.ndarray]:
        with self._lock:
            if self._present is None or self._present[0] != epoch:
                order_seed, view_seed = epoch_seeds(self._seed, epoch)
                order = (
                    shuffled(self._count, order_seed)
                    if self._plan.shuffle
                    else np.arange(self._count)
                )
                self._present = epoch, view_seed, order
            return self._present[1], self._present[2]
