"""Pretraining that can be interrupted at any time."""

from __future__ import annotations

import contextlib
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from keras_vicregl.distribution.processes import end_together, process_index
from keras_vicregl.models.guards import StopOnNonFinite, WarnOnCollapse
from keras_vicregl.storage.files import check_writable
from keras_vicregl.storage.history import EPOCHS, read_history
from keras_vicregl.training._callbacks import Curves, TensorBoardSink
from keras_vicregl.training.checkpoint import TrainingCheckpoint
from keras_vicregl.training.evaluation import Evaluation
from keras_vicregl.training.interruption import StopSignals, TrainingInterrupted
from keras_vicregl.training.log import TrainingLog


def pretrain(
    model: keras.Model,
    make_batches: Callable[..., Any],
    *,
    epochs: int,
    output: str | os.PathLike,
    steps_per_epoch: int | None = None,
    save_freq: str | int = "epoch",
    log_every: int = 50,
    evaluate: Callable[[keras.Model], Mapping[str, float]] | None = None,
    evaluate_every: int = 1,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    verbose: str | int = "auto",
) -> dict[str, list[float]]:
    """Trains to the last epoch, from wherever `output` says training is.

    Called again in the same way after an interruption of any kind, it continues
    from the last checkpoint, exactly: weights and logs become those of an
    uninterrupted training (see `TrainingCheckpoint`). Called after the end, it
    gives the model its final weights.

    Ctrl-C and SIGTERM stop it at the next step, with a checkpoint saved; a
    second one stops it at once.

    On several devices (`keras_vicregl.distribution`), call it in every process
    with the same `output`, a folder they share, into which the first writes.

    `output` gets:

    - `checkpoints/`: the last two, see `TrainingCheckpoint`;
    - `epochs.jsonl`, `steps.jsonl`, `events.jsonl`: see `TrainingLog`;
    - `curves.png`, where matplotlib is installed;
    - `tensorboard/`, where TensorBoard is installed.

    Args:
        model: a compiled model. Its weights and optimizer are as they are
            where there is no checkpoint yet.
        make_batches: takes `start=(epoch, step)` and returns batches for `fit`
            that begin there, such as `view_batches` with its other arguments
            bound. Each iteration is one epoch further; the first is cut short
            by `step` batches.
        epochs: of the whole training.
        output: a folder for this training alone.
        steps_per_epoch: batches in a whole epoch. `None`: the length of
            `make_batches(start=(0, 0))`, which are made only for it where
            training goes on elsewhere.
        save_freq: `"epoch"`, or a number of batches after which it is saved
            within epochs as well.
        log_every: steps between rows of `steps.jsonl`.
        evaluate: takes the model and returns figures for the logs of an
            epoch, such as `{"knn_top1": 0.4}`: what `feature_evaluation`
            returns.
        evaluate_every: epochs between evaluations. The last is evaluated too.
        callbacks: further callbacks of `fit`. What they need to continue must
            be in the model or derive from the epoch.
        verbose: of `fit`.

    Returns:
        By name a value an epoch, from the first on, as in `epochs.jsonl`.

    Raises:
        OSError: before training, if `output` is read-only or too full.
        ValueError: if the model is not compiled, the batches have no length but
            need it, or `output` holds another training.
        FloatingPointError: when the loss is not finite.
        TrainingInterrupted: after Ctrl-C or SIGTERM; its `exit_code` is what a
            script should exit with.

    Example:

    ```python
    batches = functools.partial(
        view_batches, images, views, batch_size=256, seed=0
    )
    model.compile(keras_vicregl.optimizers.LARS(0.3))
    pretrain(model, batches, epochs=100, output="run", save_freq=1000)
    ```
    """
    if getattr(model, "optimizer", None) is None:
        raise ValueError("Compile the model before `pretrain`.")
    output = pathlib.Path(output)
    is_chief = process_index(model) == 0
    if is_chief:
        check_writable(output)
    if steps_per_epoch is None:
        steps_per_epoch = _length(make_batches(start=(0, 0)))
    log = TrainingLog(
        output,
        steps_per_epoch=steps_per_epoch,
        every=log_every,
        sinks=[TensorBoardSink(output / "tensorboard")]
        if is_chief and TensorBoardSink.installed()
        else [],
        writes=is_chief,
    )
    collapse = WarnOnCollapse()
    stop = StopSignals()
    checkpoint = TrainingCheckpoint(
        output / "checkpoints",
        steps_per_epoch=steps_per_epoch,
        save_freq=save_freq,
        stateful={"log": log, "collapse": collapse},
        stop=stop,
    )
    _check_no_other_training(output, checkpoint)
    ours = [*callbacks]
    if evaluate is not None:
        ours.append(Evaluation(evaluate, evaluate_every, epochs))
    # The checkpoint comes last: it holds what the others have done.
    ours += [collapse, log]
    if is_chief:
        ours.append(Curves(output))
    ours.append(checkpoint)

    log.event(
        "resumed" if checkpoint.path else "started",
        epoch=checkpoint.position.epoch,
        step=checkpoint.position.step,
        backend=keras.backend.backend(),
        keras=keras.__version__,
    )
    try:
        with stop:
            _fit(model, make_batches, epochs, checkpoint, ours, verbose)
            # A signal that came after the last step.
            checkpoint.leave_if_interrupted()
    except TrainingInterrupted as interruption:
        log.event("stopped", reason=str(interruption))
        raise
    except Exception as error:
        log.event("failed", reason=f"{type(error).__name__}: {error}")
        raise
    log.event("finished")
    # What the first process has written is there.
    end_together(model)
    return read_history(output)


def _fit(
    model: keras.Model,
    make_batches: Callable[..., Any],
    epochs: int,
    checkpoint: TrainingCheckpoint,
    callbacks: list[keras.callbacks.Callback],
    verbose: str | int,
) -> None:
    """Trains to the end, or restores it.

    An epoch that is begun in its middle has a `fit` of its own, for Keras takes
    the length of the first epoch for that of all. The next one goes back to the
    checkpoint that it leaves, since the end of `fit` may change weights: it
    replaces them by their averages, where the optimizer keeps any.
    """
    if checkpoint.position.epoch >= epochs:
        strategy = getattr(model, "distribute_strategy", None)
        with strategy.scope() if strategy else contextlib.nullcontext():
            checkpoint.restore(model)
            model.optimizer.finalize_variable_values(model.trainable_variables)
    while checkpoint.position.epoch < epochs:
        epoch, step = checkpoint.position
        model.fit(
            make_batches(start=(epoch, step)),
            initial_epoch=epoch,
            epochs=epoch + 1 if step else epochs,
            steps_per_epoch=checkpoint.steps_per_epoch - step if step else None,
            callbacks=[StopOnNonFinite(first_batch=step), *callbacks],
            verbose=verbose,
        )


def _length(batches: Any) -> int:
    """Batches in an epoch."""
    # Data sets of a strategy of TensorFlow have no `len`.
    cardinality = getattr(batches, "cardinality", None)
    if isinstance(cardinality, np.integer) and cardinality > 0:
        return int(cardinality)
    try:
        return len(batches)
    except TypeError as error:
        raise ValueError(
            "The number of batches in an epoch is not known. Pass "
            "`steps_per_epoch`, or let `make_batches(start=(0, 0))` return "
            "batches with a length."
        ) from error


def _check_no_other_training(
    output: pathlib.Path, checkpoint: TrainingCheckpoint
) -> None:
    log = output / EPOCHS
    if checkpoint.path is None and log.exists() and log.stat().st_size:
        raise ValueError(
            f"{output} holds logs of a training but no checkpoint to continue "
            "from. Use another folder, or remove the logs."
        )
