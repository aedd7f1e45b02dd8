"""What else is done at the end of epochs: pictures, TensorBoard, monitors."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import pathlib
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import keras

from keras_vicregl.storage.history import read_history

if TYPE_CHECKING:
    from keras_vicregl.training.evaluation import Evaluation


def listed(callbacks: Any) -> list[keras.callbacks.Callback]:
    """Callbacks as `fit` takes them - one, several or `None` - as a list.

    Raises:
        ValueError: if there is something else among them.
    """
    if isinstance(callbacks, keras.callbacks.Callback):
        callbacks = [callbacks]
    callbacks = [] if callbacks is None else list(callbacks)
    for callback in callbacks:
        if isinstance(callback, keras.callbacks.CallbackList) or not isinstance(
            callback, keras.callbacks.Callback
        ):
            raise ValueError(
                "`callbacks` must be a list of keras.callbacks.Callback "
                f"objects; received among them {callback!r}."
            )
    return callbacks


def check_modes(
    callbacks: Sequence[keras.callbacks.Callback], model: keras.Model
) -> None:
    """Has what Keras says of a monitor after the first epoch said before.

    Raises:
        ValueError: if it is not known whether a figure should be high or low.
    """
    if getattr(model, "_compile_metrics", None) is not None:
        return  # which may know that of themselves
    for callback in callbacks:
        monitor = _monitor_of(callback)
        if (
            isinstance(monitor, str)
            and monitor.removeprefix("val_") != "loss"
            and getattr(callback, "mode", None) == "auto"
            and getattr(callback, "save_best_only", True)
        ):
            raise ValueError(
                f"{type(callback).__name__}(monitor={monitor!r}) needs to know "
                f"whether {monitor} should be high or low: pass mode='max' or "
                "mode='min'."
            )


class Curves(keras.callbacks.Callback):
    """Draws the rows of `epochs.jsonl`, at most once a minute."""

    def __init__(self, folder: pathlib.Path) -> None:
        super().__init__()
        self._folder = folder
        self._last = -1e9

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Draws, when the last picture is old."""
        if time.monotonic() - self._last > 60:
            self.draw()

    def on_train_end(self, logs: Any = None) -> None:
        """Draws the whole training."""
        self.draw()

    def draw(self) -> None:
        """Replaces `curves.png`."""
        history = read_history(self._folder)
        if not history or importlib.util.find_spec("matplotlib") is None:
            return
        from keras_vicregl.visualization import plot_curves, save

        save(plot_curves(history), self._folder / "curves.png")
        self._last = time.monotonic()


class TensorBoardSink:
    """Rows of a `TrainingLog` as scalars over the steps of all epochs."""

    def __init__(self, folder: pathlib.Path) -> None:
        self._folder = folder
        self._writer: Any = None

    @staticmethod
    def installed() -> bool:
        """Whether TensorBoard and TensorFlow, which writes its files, are."""
        return all(map(importlib.util.find_spec, ("tensorboard", "tensorflow")))

    def __call__(self, name: str, row: Mapping[str, Any]) -> None:
        """Adds a row."""
        from keras_vicregl._tensorflow import tf

        if self._writer is None:  # not before there is something to write
            self._writer = tf.summary.create_file_writer(str(self._folder))
        kind = pathlib.Path(name).stem
        with self._writer.as_default(step=row["step"]):
            for key, value in row.items():
                if key not in ("epoch", "step"):
                    tf.summary.scalar(f"{kind}/{key}", value)
        self._writer.flush()


@contextlib.contextmanager
def monitors_see_evaluations(
    callbacks: Sequence[keras.callbacks.Callback], evaluation: Evaluation
) -> Iterator[None]:
    """Leaves epochs without an evaluation out for what monitors a figure.

    `ModelCheckpoint(save_best_only=True)` takes an epoch without its monitor
    for the best one, and the others warn of it.

    Args:
        callbacks: which have the name of what they look at in `monitor`, or
            have none and stay as they are.
        evaluation: comes before them.
    """
    monitors = [c for c in callbacks if isinstance(_monitor_of(c), str)]
    for callback in monitors:
        callback.on_epoch_end = functools.partial(
            _on_epoch_end, callback, callback.on_epoch_end, evaluation
        )
    try:
        yield
    finally:
        for callback in monitors:
            del callback.on_epoch_end


def _monitor_of(callback: keras.callbacks.Callback) -> Any:
    return getattr(callback, "monitor", None)


def _on_epoch_end(
    callback: keras.callbacks.Callback,
    on_epoch_end: Any,
    evaluation: Evaluation,
    epoch: int,
    logs: Any = None,
) -> None:
    if evaluation.is_due(epoch) or _monitor_of(callback) in (logs or {}):
        on_epoch_end(epoch, logs)
