"""Batches for views made on the device, without TensorFlow."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
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
from keras_vicregl.data.sources.arrays import ArraySource, from_arrays
from keras_vicregl.data.streams.epochs import Plan
from keras_vicregl.data.streams.order import epoch_seeds, shuffled
from keras_vicregl.views import MultiView
from keras_vicregl.views.keys import IMAGES, LABELS


class ArrayBatches(keras.utils.PyDataset):
    """Shuffled batches of images in memory, whose views the model makes.

    What `view_batches` is for views made on the device, for machines that have
    only JAX or PyTorch. The two give the same batches: the order of the
    examples and what is drawn for their views depend on `(seed, epoch, index of
    the example)` and nothing else, neither on the number of workers nor on
    what was drawn before.

    An epoch has passed when `fit`, or a loop over this object, has come to its
    end; one that was given up before is begun again. An interrupted run goes
    on where it stopped with `start`, `fit`'s `initial_epoch` telling the same
    epoch. Where it starts in the middle of one, that one is shorter, and needs
    a `fit` of its own: Keras takes the length of the first for that of all.
    `keras_vicregl.training.pretrain` sees to that.

    Args:
        arrays: Images (N, H, W, 3) uint8, a dictionary of `"images"` and
            optionally `"labels"` (N,), or what `load` returns for these. They
            may be memory-mapped files.
        multi_view: A `keras_vicregl.views.MultiView` with `on="device"`, the
            same as the model's `views`.
        batch_size: Examples in a batch, over all processes and devices.
        seed: A non-negative integer.
        shuffle: Whether the examples come in another order in each epoch.
        drop_remainder: Whether to drop the last batch where it is smaller.
        start: Epoch and step at which the first iteration begins.
        fixed: Whether every iteration is the same epoch, that of `start`: the
            same views in the same batches, so that `val_loss` is comparable
            from one evaluation to the next, and in a resumed run.
        shard: Number of this process, and how many there are. Process p of P
            gets rows p B / P to (p + 1) B / P of each batch of B.
        workers: Threads that prepare batches; with 1, `fit` prepares each when
            it needs it.
        max_queue_size: Batches to prepare ahead where there are more workers.

    Raises:
        ValueError: If an argument is outside what it may be, or not one full
            batch would come out.

    Example:

    >>> views = MultiView.scenes(size=32, on="device")
    >>> images = np.zeros((6, 64, 64, 3), "uint8")
    >>> batches = ArrayBatches(images, views, batch_size=3, seed=0)
    >>> (inputs,) = batches[0]
    >>> inputs["images"].shape, inputs["parameters"][0]["boxes"].shape
    ((3, 64, 64, 3), (3, 2, 4))
    """

    def __init__(
        self,
        arrays: Mapping[str, np.ndarray] | np.ndarray | ArraySource,
        multi_view: MultiView,
        *,
        batch_size: int,
        seed: int,
        shuffle: bool = True,
        drop_remainder: bool = True,
        start: tuple[int, int] = (0, 0),
        fixed: bool = False,
        shard: tuple[int, int] = (0, 1),
        workers: int = 1,
        max_queue_size: int = 10,
    ) -> None:
        # Threads only: other processes would not know of the epoch. NumPy
        # spends its time outside of Python's lock.
        super().__init__(workers=workers, max_queue_size=max_queue_size)
        if not isinstance(multi_view, MultiView) or multi_view.on != "device":
            raise ValueError(
                "multi_view must be a MultiView with on='device': views on the "
                f"host are made by view_batches. Received: {multi_view!r}"
            )
        check_integer("batch_size", batch_size, smallest=1)
        self._seed = check_integer("seed", seed, smallest=0)
        self._multi_view = self.multi_view = multi_view
        self._arrays = _images_and_labels(arrays)
        self._count = len(self._arrays[IMAGES])
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
        source = ArraySource(self._arrays)
        self.identity = identity_of(source, self._plan, self._seed)
        self.examples = examples_of(self._count, self._plan, self._seed)
        self._last_taken = (0, 0.0)
        self._thread: int | None = None
        self._runs_ahead = False
        self._lock = threading.Lock()
        self._present = None
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
            A count and a time of `time.perf_counter`; `None` where batches are
            prepared ahead, in other threads: with more `workers`, and under
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
        view_seed, order = self._epoch(epoch)
        first = step * self._plan.batch_size
        rows = self._plan.rows
        chosen = order[first + rows.start : first + rows.stop]
        batch = {key: array[chosen] for key, array in self._arrays.items()}
        seeds = np.stack([np.full_like(chosen, view_seed), chosen], axis=-1)
        return self._multi_view.inputs(**batch, seeds=seeds)

    def _epoch(self, epoch: int) -> tuple[int, np.ndarray]:
        """The seed of the views and the order of the examples."""
        with self._lock:
            if self._present is None or self._present[0] != epoch:
                order_seed, view_seed = epoch_seeds(self._seed, epoch)
                order = (
                    shuffled(self._count, order_seed)
                    if self._plan.shuffle
                    else np.arange(self._count)
                )
                self._present = epoch, view_seed, order
            return self._present[1:]


def _images_and_labels(arrays: Any) -> dict[str, np.ndarray]:
    source = arrays if isinstance(arrays, ArraySource) else from_arrays(arrays)
    return {k: v for k, v in source._arrays.items() if k in (IMAGES, LABELS)}
