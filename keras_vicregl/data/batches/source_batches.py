"""Batches of images that Python reads, for views made on the device."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from keras_vicregl.data._checks import check_example, check_integer
from keras_vicregl.data.batches.canvas import Canvas, canvas_size
from keras_vicregl.data.batches.epoch_batches import EpochBatches, Order
from keras_vicregl.data.sources.image_source import ImageSource
from keras_vicregl.data.streams.ahead import in_order, prefetched
from keras_vicregl.data.streams.epochs import Plan
from keras_vicregl.data.streams.unreadable import Reason
from keras_vicregl.views import MultiView
from keras_vicregl.views.keys import (
    IMAGES,
    LABELS,
    NO_LABEL,
    PARAMETERS,
    SOURCE_SIZE,
)

# Batches kept ready, as none was asked for.
_PREFETCH = 2
# `fit` looks at so many to learn of their shapes, and begins anew.
_LOOKED_AT = 2


class SourceBatches(EpochBatches):
    """What `view_batches` returns where Python reads the images.

    Threads read and decode examples, and one more puts them into batches,
    `prefetch` of them ahead of `fit`, over the ends of epochs too.

    Threads, and not processes or Grain, since these were no faster
    (`docs/architecture.md` has the figures).

    Args:
        source: What `load` returns, of images that may differ in size.
        multi_view: A `MultiView` with `on="device"`, that of the model.
        prefetch: See `view_batches`.
        canvas: See `view_batches`.
        **settings: Of `EpochBatches`, all but its threads.

    Raises:
        ValueError: If an argument is outside what it may be, or not one full
            batch would come out; and from a batch, if an image cannot be read
            and `on_error="raise"`, or all of a batch cannot.
        ModuleNotFoundError: If TensorFlow alone can read the source.
    """

    def __init__(
        self,
        source: ImageSource,
        multi_view: MultiView,
        *,
        prefetch: int | None = None,
        canvas: int | tuple[int, int] | None = None,
        **settings: Any,
    ) -> None:
        source.check_readable_in_python()
        super().__init__(source, multi_view, **settings)
        if prefetch is not None:
            check_integer("prefetch", prefetch, smallest=1)
        self._prefetch = prefetch or _PREFETCH
        self.canvas = canvas_size(source, canvas)
        self.identity["canvas"] = list(self.canvas)
        self._making = _Making(
            source,
            Canvas(source, multi_view, self.canvas),
            self._plan,
            Order(self._count, self._plan, self._seed),
            self._steps,
            self._fixed,
        )
        self._unreadable = source._unreadable()
        self._batches: Any = None
        self._next: tuple[int, int] | None = None
        # The first ones of an iteration, which is often begun anew.
        self._first: dict[tuple[int, int], tuple[Any, ...]] = {}

    def _batch(self, epoch: int, step: int) -> tuple[Any, ...]:
        here = epoch, step
        if here in self._first:
            return self._first[here]
        if self._next != here:
            self._begin(here)
        try:
            made = next(self._batches)
        except BaseException:
            self._end()
            raise
        self._next = self._making.after(here)
        for index, reason in made.failures:
            self._unreadable.add(index, reason)
        if made.batch is None:
            self._unreadable.none_in_batch()
        if step == self._steps - 1:
            self._unreadable.tell()
        batch = MultiView.to_fit(made.batch)
        if 0 <= step - self._position[1] < _LOOKED_AT:
            self._first[here] = batch
        else:
            self._first = {}
        return batch

    def _pass(self) -> None:
        self._first = {}
        super()._pass()

    def _begin(self, position: tuple[int, int]) -> None:
        self._end()
        making = self._making  # not this object, which its end is to end
        self._batches = prefetched(
            lambda: making.batches(position), self._prefetch
        )

    def _end(self) -> None:
        if self._batches is not None:
            self._batches.close()
        self._batches = self._next = None


class _Made(NamedTuple):
    """A batch, None if nothing is left of it, and what could not be read."""

    batch: dict[str, Any] | None
    failures: list[tuple[int, Reason]]


class _Making(NamedTuple):
    """How batches are made, in threads of their own."""

    source: ImageSource
    canvas: Canvas
    plan: Plan
    order: Order
    steps: int
    fixed: bool

    def after(self, position: tuple[int, int]) -> tuple[int, int]:
        """The next position, in the next epoch after the last."""
        epoch, step = position
        if step + 1 < self.steps:
            return epoch, step + 1
        return (epoch, 0) if self.fixed else (epoch + 1, 0)

    def batches(self, position: tuple[int, int]) -> Iterator[_Made]:
        """Batches from a position on, without an end."""
        positions = _iterated(self.after, position)
        first, second = itertools.tee(
            (self.order.seeds(*each) for each in positions), 2
        )
        indices = (int(index) for seeds in first for index in seeds[:, 1])
        made = in_order(self._read, indices, patience=self.source.time_limit)
        with contextlib.closing(made):
            for seeds in second:
                yield self._put_together(seeds, made)

    def _read(self, index: int) -> tuple[np.ndarray, tuple[int, int], int]:
        """An image as it goes on the canvas, its size before, its label."""
        self.source._refuse_late(index)
        example = self.source._for_views(index)
        has_labels = self.source.num_classes is not None
        keys = (IMAGES, LABELS) if has_labels else (IMAGES,)
        check_example(example, self.source._form(), keys)
        image = example[IMAGES]
        return (
            self.canvas.reduced(image, index),
            image.shape[:2],
            example[LABELS] if has_labels else NO_LABEL,
        )

    def _put_together(self, seeds: np.ndarray, made: Iterator) -> _Made:
        count = len(seeds)
        form = self.source._form()
        images = np.zeros((count, *self.canvas.size, form.channels), form.dtype)
        sizes = np.zeros((2, count, 2), np.int64)
        labels = np.zeros(count, np.int32)
        good, failures = [], []
        for row, (index, value, error) in enumerate(
            itertools.islice(made, count)
        ):
            if error is not None:
                reason = self.source._reason(index, error)
                failures.append((index, reason))
                continue
            image, sizes[0, row], labels[row] = value
            height, width = sizes[1, row] = image.shape[:2]
            images[row, :height, :width] = image
            good.append(row)
        if not good:
            return _Made(None, failures)
        if failures:
            # The one before, and the last one where there is none before.
            rows = np.searchsorted(good, np.arange(count), side="right") - 1
            rows = np.array(good)[rows]
            images, labels = images[rows], labels[rows]
            sizes, seeds = sizes[:, rows], seeds[rows]
        batch = {
            IMAGES: images,
            PARAMETERS: self.canvas.drawn(sizes[0], sizes[1], seeds),
            SOURCE_SIZE: sizes[0].astype(np.float32),
        }
        if self.source.num_classes is not None:
            batch[LABELS] = labels
        return _Made(batch, failures)


def _iterated(function: Any, value: Any) -> Iterator[Any]:
    while True:
        yield value
        value = function(value)
