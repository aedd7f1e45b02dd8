"""Figures of merit during training."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import keras

# What `TrainingLog` says of each epoch.
_OF_ROWS = ("epoch", "step", "learning_rate")


class Evaluation(keras.callbacks.Callback):
    """Puts figures of merit into the logs of epochs.

    They are then in what `fit` returns, and in the logs that callbacks after
    this one get: put it before `CSVLogger`, `TensorBoard` or `ModelCheckpoint`.
    (`CSVLogger` has the columns of the first epoch, and so needs `every=1`.)
    `keras_vicregl.training.pretrain(evaluate=...)` adds one by itself.

    Args:
        function: Takes the model and returns figures by name, numbers with
            names that the training does not log already, such as what
            `feature_evaluation` returns. Where it has a method `check`, that is
            called with the model before anything is trained.
        every: Epochs between evaluations. The last is evaluated too.
        epochs: Of the whole training. Default: those of `fit`.

    Raises:
        ValueError: If `every` is not positive or `function` cannot be called
            with a model; before training, what `check` raises; after an epoch,
            if `function` returns something else.

    Example:

    ```python
    evaluate = feature_evaluation(train, test, ["knn", "rank"])
    model.fit(batches, epochs=100, callbacks=[Evaluation(evaluate, every=5)])
    ```
    """

    def __init__(
        self,
        function: Callable[[keras.Model], Mapping[str, float]],
        every: int = 1,
        epochs: int | None = None,
    ) -> None:
        super().__init__()
        if every < 1:
            raise ValueError(
                f"every must be at least 1 epoch. Received: every={every}"
            )
        _check_callable(function)
        self._function = function
        self._every = every
        self._epochs = epochs
        self._is_checked = False

    def on_train_begin(self, logs: Any = None) -> None:
        """Has the function look at what it needs, before training."""
        if not self._is_checked and hasattr(self._function, "check"):
            self._function.check(self.model)
        self._is_checked = True

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Evaluates the model, as far as it is."""
        if self.is_due(epoch):
            logs.update(_checked_figures(self._function(self.model), logs))

    def is_due(self, epoch: int) -> bool:
        """Whether an epoch, counted from 0, ends with an evaluation."""
        done = epoch + 1
        last = self._epochs or self.params["epochs"]
        return done % self._every == 0 or done == last


def _check_callable(function: Any) -> None:
    """Raises a ValueError unless a function can be called with a model."""
    if not callable(function):
        raise ValueError(
            "An evaluation must be a function from the model to figures by "
            f"name, as feature_evaluation makes one. Received: {function!r}"
        )
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # of some that are not written in Python
        return
    try:
        signature.bind("the model")
    except TypeError as error:
        raise ValueError(
            "An evaluation is called with the model alone. Received: "
            f"{function!r}, which takes {signature}: {error}"
        ) from error


def _checked_figures(figures: Any, logs: Mapping[str, Any]) -> dict[str, float]:
    """What a function returned, if it can go into these logs."""
    wanted = (
        "An evaluation must return figures by name, such as "
        "{'knn_top1': 0.4}. Received: "
    )
    if not isinstance(figures, Mapping):
        shape = getattr(figures, "shape", None)
        of = "" if shape is None else f" of shape {tuple(shape)}"
        raise ValueError(f"{wanted}{type(figures).__name__}{of}")
    for name, value in figures.items():
        if not isinstance(name, str) or not _is_number(value):
            raise ValueError(f"{wanted}{name!r}: {value!r}")
    taken = sorted(set(figures) & {*logs, *_OF_ROWS})
    if taken:
        raise ValueError(
            f"{', '.join(taken)}: the training logs figures of these names "
            "already, which an evaluation would replace. Give them other "
            "names, such as 'knn_top1'."
        )
    return {name: float(value) for name, value in figures.items()}


def _is_number(value: Any) -> bool:
    if isinstance(value, str) or tuple(getattr(value, "shape", ())):
        return False
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True
