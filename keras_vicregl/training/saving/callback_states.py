"""What callbacks know, saved and restored with the rest of a training."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import keras

from keras_vicregl.training.saving.encoding import encode

# What Keras' own have by themselves, or only while `fit` runs.
_NOT_STATE = {
    "params",
    "_model",
    # Of those with a monitor: settled at the end of the first epoch.
    "monitor_op",
    "min_delta",
}
_STATELESS = (
    keras.callbacks.CSVLogger,
    keras.callbacks.ProgbarLogger,
    keras.callbacks.RemoteMonitor,
    keras.callbacks.TensorBoard,
)
_UNKNOWN = "what cannot be saved"


class CallbackStates(keras.callbacks.Callback):
    """The state of callbacks, as `stateful` of a `TrainingCheckpoint`.

    `pretrain` has one for its `callbacks`. With `fit`, put it after those that
    it is of and before the checkpoint:

        states = CallbackStates([stopping])
        checkpoint = TrainingCheckpoint(..., stateful={"callbacks": states})
        model.fit(..., callbacks=[stopping, states, checkpoint])

    A callback with the methods of `Stateful` is asked for its state. Of others
    the state is what training changes in their attributes: numbers, strings,
    arrays, and lists, tuples, sets, dictionaries and deques of them, such as
    `wait`, `best` and `best_weights` of `EarlyStopping`. What they are given
    when they are made, such as `patience`, may change where training goes on.
    What is neither - in functions that they call, in objects of other kinds -
    is not seen; an attribute that becomes such an object is named in a warning.

    Callbacks are known by their classes, and by their order among those of one
    class.

    Args:
        callbacks: of `fit`.
        tell: gets the event "dropped" and the names of callbacks that have a
            state in the checkpoint and are no longer there, such as
            `TrainingLog.event`.

    Raises:
        ValueError: for callbacks with which no training can go on exactly:
            `SwapEMAWeights(swap_on_epoch=True)`, for the weights at the end of
            an epoch are then not those that are trained, and
            `BackupAndRestore`, which goes back to an epoch of its own.
    """

    def __init__(
        self,
        callbacks: Sequence[keras.callbacks.Callback],
        tell: Callable[..., None] = lambda event, **what: None,
    ) -> None:
        super().__init__()
        self._tell = tell
        self._callbacks: dict[str, keras.callbacks.Callback] = {}
        for callback in callbacks:
            _refuse(callback)
            name = type(callback).__name__
            same = sum(
                type(known) is type(callback)
                for known in self._callbacks.values()
            )
            key = f"{name} {same + 1}" if same else name
            self._callbacks[key] = callback
        self._begun: dict[str, dict[str, Any]] = {}
        self._told: set[tuple[str, str]] = set()

    def on_train_begin(self, logs: Any = None) -> None:
        """Notes what callbacks begin with."""
        self._begun = {
            name: _attributes(callback)
            for name, callback in self._callbacks.items()
            if not _has_state(callback)
        }

    def get_state(self) -> dict[str, Any]:
        """What has changed since training began, by callback."""
        states = {}
        for name, callback in self._callbacks.items():
            if _has_state(callback):
                states[name] = callback.get_state()
            elif name in self._begun:
                states[name] = self._changed(name, callback)
        return {name: state for name, state in states.items() if state}

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes back to a state, after `on_train_begin` of the callbacks."""
        lost = sorted(set(state) - set(self._callbacks))
        if lost:
            self._tell("dropped", callbacks=lost)
        for name, callback in self._callbacks.items():
            if name not in state:
                continue
            if _has_state(callback):
                callback.set_state(state[name])
            else:
                vars(callback).update(state[name])

    def _changed(
        self, name: str, callback: keras.callbacks.Callback
    ) -> dict[str, Any]:
        before, now = self._begun[name], _attributes(callback)
        changed = {}
        for key, value in now.items():
            if key in before and before[key] == value:
                continue
            if _UNKNOWN not in value:
                changed[key] = getattr(callback, key)
            elif (name, key) not in self._told:
                self._told.add((name, key))
                warnings.warn(
                    f"`{key}` of the callback {name} has changed, and is a "
                    f"{type(getattr(callback, key)).__name__}, which is not "
                    "saved: a training that is taken up again may differ. Give "
                    "the callback `get_state` and `set_state`, see "
                    "`keras_vicregl.training.Stateful`.",
                    RuntimeWarning,
                    stacklevel=2,
                )
        return changed


def keep_rows(callbacks: Sequence[keras.callbacks.Callback]) -> None:
    """Has `CSVLogger` go on with its file where training goes on."""
    for callback in callbacks:
        if isinstance(callback, keras.callbacks.CSVLogger):
            callback.append = True


def _refuse(callback: keras.callbacks.Callback) -> None:
    if isinstance(callback, keras.callbacks.BackupAndRestore):
        raise ValueError(
            f"{type(callback).__name__} goes back to an epoch of its own. "
            "Leave it out: checkpoints are saved, and training goes on there."
        )
    if isinstance(callback, keras.callbacks.SwapEMAWeights) and (
        callback.swap_on_epoch
    ):
        raise ValueError(
            f"{type(callback).__name__}(swap_on_epoch=True) is not supported: "
            "at the end of an epoch, where it is saved, the model would have "
            "the averages of its weights, and lose those that are trained. "
            "Leave it out: with `use_ema=True` in the optimizer the model has "
            "the averages when training ends."
        )


def _has_state(callback: keras.callbacks.Callback) -> bool:
    return all(hasattr(callback, name) for name in ("get_state", "set_state"))


def _attributes(callback: keras.callbacks.Callback) -> dict[str, tuple]:
    """Attributes in a form that shows whether they change."""
    if isinstance(callback, _STATELESS):
        return {}
    return {
        name: _frozen(value)
        for name, value in vars(callback).items()
        if name not in _NOT_STATE
    }


def _frozen(value: Any) -> tuple:
    try:
        return (repr(encode(value, {})),)
    except TypeError:
        return _UNKNOWN, id(value)
