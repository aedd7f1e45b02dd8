"""Images a second, waiting for data, time left: measured between steps."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import keras

from keras_vicregl.distribution.memory import peak_memory
from keras_vicregl.training.saving.steps import StepCounter

# Steps after which what was measured counts for little: 1 / (1 - _FADE).
_FADE = 0.98
# Steps that a backend may be behind.
_KEPT = 64


class Rates(NamedTuple):
    """What steps took.

    Attributes:
        per_second: images, where the batches tell how many they hold, or else
            steps.
        of: what is counted, `"images"` or `"steps"`.
        waited: share of the time in which nothing was computed for want of
            data, 0 to 1; `None` where the batches do not tell.
    """

    per_second: float
    of: str
    waited: float | None


class Speed(StepCounter):
    """Measures how fast `fit` trains, without making it wait for anything.

    It must be the first of the callbacks, and `last` the last one.

    - Images are those of the source, not their views, over all processes.
    - Time is from one step to the next, with the checkpoints and rows of logs
      that are written in between, and from the beginning of an epoch. Not in
      it: the first step of each `fit`, in which backends compile, and what
      comes after the last step of an epoch - validation, evaluation, callbacks,
      the checkpoint.
    - A step waits from when it could begin - the one before is computed, and
      callbacks are done - until its batch has come to this process. Batches
      tell when that is by `last_taken`: those of `view_batches`, unless a
      strategy of TensorFlow distributes them, and `ArrayBatches` that are not
      prepared in other threads. Nobody sees it inside an execution of several
      steps.

    Args:
        steps_per_epoch: batches in a whole epoch; `math.inf` where that is not
            known.
        clock: seconds, as `last_taken` of the batches has them.
    """

    def __init__(
        self,
        steps_per_epoch: float,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        super().__init__(steps_per_epoch)
        self._clock = clock
        self.last = _Last(self)
        self._epoch = 0
        self._end: float | None = None
        self._at_ends: list[float] = []
        self._recent, self._whole = _Sums(), _Sums()
        self.begin_at(0)

    def begin_at(self, step: int, batches: Any = None) -> None:
        """Gets to know the `fit` that comes next.

        Args:
            step: where it begins in its first epoch.
            batches: of this `fit`.
        """
        identity = getattr(batches, "identity", None) or {}
        self._batch_size = identity.get("batch_size")
        self._examples = identity.get("examples") or math.inf
        self._last_taken: Any = getattr(batches, "last_taken", None)
        self._begins_at = step
        self._is_warm = False

    def step_of(self, batch: int) -> int:
        """Steps of the epoch before a batch of `fit`."""
        return self._first_step + batch

    def rates(self, of_epoch: bool = False) -> Rates | None:
        """What the last steps took, or all of the present epoch.

        Returns:
            `None` before anything is known.
        """
        sums = self._whole if of_epoch else self._recent
        if not sums.seconds > 0:
            return None
        counted = sums.steps if self._batch_size is None else sums.images
        of = "steps" if self._batch_size is None else "images"
        tells = self._tells_of_waiting()
        waited = min(sums.waited / sums.seconds, 1.0) if tells else None
        return Rates(counted / sums.seconds, of, waited)

    def seconds_left(self) -> float | None:
        """Until the last epoch of `fit` is over.

        By what the last steps took, and on the average what came after the last
        step of the epochs so far.
        """
        epochs = (self.params or {}).get("epochs")
        steps = self.steps_per_epoch
        if not self._recent.steps or epochs is None or math.isinf(steps):
            return None
        to_come = (epochs - self._epoch) * steps - self.reached
        ends, at_ends = epochs - self._epoch, [*self._at_ends]
        if self._end is not None:
            at_ends.append(self._clock() - self._end)
            ends -= 1
        step = self._recent.seconds / self._recent.steps
        at_end = sum(at_ends) / len(at_ends) if at_ends else 0.0
        return max(to_come * step + ends * at_end, 0.0)

    def figures(self) -> dict[str, float]:
        """Of the present epoch, as far as they are known.

        Returns:
            `"images_per_second"`; `"waited"`, a share; `"peak_memory"`, see
            `peak_memory`, in bytes; and `"seconds_left"`.
        """
        rates, left = self.rates(of_epoch=True), self.seconds_left()
        found = {}
        if rates is not None and rates.of == "images":
            found["images_per_second"] = float(f"{rates.per_second:.4g}")
        if rates is not None and rates.waited is not None:
            found["waited"] = round(rates.waited, 4)
        peak = peak_memory()
        if peak is not None:
            found["peak_memory"] = peak
        if left is not None:
            found["seconds_left"] = round(left)
        return found

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Begins to measure, unless the backend has yet to compile."""
        now = self._clock()
        if self._end is not None:
            self._at_ends.append(now - self._end)
            self._end = None
        self._epoch = epoch
        self.count_from(self._begins_at)
        self._begins_at = 0
        self._whole = _Sums()
        self._mark = (self.reached, now) if self._is_warm else None
        self._computed: dict[int, float] = {-1: now}
        self._asked: dict[int, float] = {}
        self._taken_before = self._count_taken()
        self._comes_first: bool | None = None

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Notes what the step before took."""
        if self._comes_first is None:
            # Whether `fit` takes a batch before it says that a step begins.
            self._comes_first = self._count_taken() > self._taken_before
        waited = self._waited(batch if self._comes_first else batch - 1)
        super().on_train_batch_begin(batch, logs)
        if self._mark is not None:
            self._add(self.step_of(batch), waited)
        elif batch > 0:
            self._mark = (self.step_of(batch), self._clock())
            self._is_warm = True

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Notes when a step is computed, if need be in another thread."""
        super().on_train_batch_end(batch, logs)
        self._computed[batch] = self._clock()
        self._computed.pop(batch - _KEPT, None)

    def on_test_begin(self, logs: Any = None) -> None:
        """Ends the steps of the epoch, before validation."""
        super().on_test_begin(logs)
        # Accelerators may be behind.
        for value in self.model.get_metrics_result().values():
            keras.ops.convert_to_numpy(value)
        self._end_steps()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Ends the steps of the epoch, before evaluations."""
        self._end_steps()

    def asked(self, batch: int) -> None:
        """All callbacks are done: the step begins, with its batch or without.

        Args:
            batch: of the step, in this `fit`.
        """
        self._asked = {batch: self._clock()}

    def _waited(self, batch: int) -> float:
        """How long a step, whose batch has come, could have begun before."""
        computed = self._computed.get(batch - 1)
        # Unknown where the step before is still computed.
        if computed is None or not self._tells_of_waiting():
            return 0.0
        if not self._comes_first:
            computed = max(computed, self._asked.get(batch, computed))
        return max(self._last_taken()[1] - computed, 0.0)

    def _tells_of_waiting(self) -> bool:
        return (
            self._last_taken is not None
            and self._last_taken() is not None
            and getattr(self.model, "steps_per_execution", 1) == 1
        )

    def _count_taken(self) -> int:
        return self._last_taken()[0] if self._tells_of_waiting() else 0

    def _end_steps(self) -> None:
        if self._end is not None:
            return
        if self._mark is not None and self.reached > self._mark[0]:
            last = self.reached - self._first_step - 1
            waited = 0.0 if self._comes_first else self._waited(last)
            self._add(self.reached, waited)
        self._is_warm |= self.reached > self._first_step
        self._end = self._clock()

    def _add(self, step: int, waited: float) -> None:
        mark = cast("tuple[int, float]", self._mark)
        (before, then), now = mark, self._clock()
        steps, images = step - before, self._images(step) - self._images(before)
        for sums, fade in ((self._whole, 1.0), (self._recent, _FADE**steps)):
            sums.add(steps, images, now - then, waited, fade)
        self._mark = (step, now)

    def _images(self, step: int) -> float:
        # The last batch of an epoch may be smaller.
        return min(step * (self._batch_size or 0), self._examples)


class _Last(keras.callbacks.Callback):
    """The last callback, which knows that all others are done."""

    def __init__(self, speed: Speed) -> None:
        super().__init__()
        self._speed = speed

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Nothing comes between this and the step."""
        self._speed.asked(batch)


class _Sums:
    """Of steps, those long ago counting less."""

    def __init__(self) -> None:
        self.steps = self.images = self.seconds = self.waited = 0.0

    def add(
        self,
        steps: float,
        images: float,
        seconds: float,
        waited: float,
        fade: float,
    ) -> None:
        self.steps = self.steps * fade + steps
        self.images = self.images * fade + images
        self.seconds = self.seconds * fade + seconds
        self.waited = self.waited * fade + waited
