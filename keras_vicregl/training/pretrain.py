"""Pretraining that can be interrupted at any time."""

from __future__ import annotations

import contextlib
import os
import pathlib
import signal
import sys
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import keras

from keras_vicregl.distribution.processes import (
    end_together,
    gather_from_processes,
    process_index,
)
from keras_vicregl.models.arguments import check_counts, check_epochs
from keras_vicregl.models.guards import NonFiniteStepError, StopOnNonFinite
from keras_vicregl.models.warning_callbacks import (
    WarnOnCollapse,
    WarnOnSlowNorms,
)
from keras_vicregl.storage.files import check_writable
from keras_vicregl.storage.history import (
    EPOCHS,
    EVENTS,
    STEPS,
    read_history,
)
from keras_vicregl.training._batches import (
    batches_for_fit,
    check_validation,
    left_out_of,
    steps_of,
)
from keras_vicregl.training._beginning import (
    CHECKPOINTS,
    FirstStep,
    has_trained,
)
from keras_vicregl.training._callbacks import (
    Curves,
    TensorBoardSink,
    check_modes,
    listed,
    monitors_see_evaluations,
)
from keras_vicregl.training._ending import (
    EndOfTraining,
    SaveSteps,
    finish_epoch,
    scope_of,
    who_stops,
)
from keras_vicregl.training._leaving_out import (
    BatchLeftOutError,
    LeaveOut,
    check_skipping,
)
from keras_vicregl.training.environment import surroundings
from keras_vicregl.training.evaluation import Evaluation
from keras_vicregl.training.interruption import StopSignals, TrainingInterrupted
from keras_vicregl.training.log import TrainingLog
from keras_vicregl.training.progress.callback import Line, check_verbose
from keras_vicregl.training.progress.speed import Speed
from keras_vicregl.training.saving.callback_states import (
    CallbackStates,
    keep_rows,
)
from keras_vicregl.training.saving.checkpoint import TrainingCheckpoint
from keras_vicregl.training.saving.facts import (
    batches_facts,
    configuration_facts,
)
from keras_vicregl.training.saving.state import Stateful


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
    validation_data: Any = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    continue_stopped: bool = False,
    allow_changes: bool | Collection[str] = False,
    skip_nonfinite: int = 0,
    verbose: str | int = "auto",
) -> dict[str, list[float]]:
    """Trains to the last epoch, from wherever `output` says training is.

    Called again in the same way after an interruption of any kind, it continues
    from the last checkpoint: weights and logs become those of an uninterrupted
    training, as alike as two of these are, which is bit for bit after
    `keras_vicregl.distribution.deterministic` (see `TrainingCheckpoint`).
    Called after the end, it gives the model its final weights.

    Ctrl-C and SIGTERM stop it at the next step, with a checkpoint saved; a
    second one stops it at once. That the first was heard is said at once, on
    stderr, by the first process.

    A callback that sets `stop_training` ends it, at the end of an epoch or
    in its middle: with a checkpoint of what was trained, and the event
    "stopped". Called again, it says so, gives the model the weights it ended
    with - the best ones, if a callback went back to them - and trains no
    further, unless `continue_stopped` asks for it.

    What training began with is what it goes on with: class and configuration
    of the optimizer, with its learning rate or schedule; those of the model -
    coefficients of the objective, drop path, precision - and of the `MultiView`
    of its batches; and what else is known of the batches - the source's name,
    number of examples and checksum of contents, seed, batch size and order of
    `view_batches` and `ArrayBatches`, or else a `seed` that is bound to
    `make_batches` by `functools.partial`. A difference is an error that names
    both values. With `allow_changes=True` it is taken, and each is an event
    "changed": another number of batches an epoch where the last epoch is
    complete. An optimizer of another class, or with other variables, then
    begins without moments, at the step that was reached. What callbacks have
    done to the learning rate is no difference. `epochs`, `save_freq`,
    `log_every`, `evaluate` and `callbacks` may change, and what has no part in
    what is learnt, such as `remat`.

    A step after which loss or weights are not finite is an error, for which
    `skip_nonfinite=n` is the way on: training goes back to the last checkpoint
    and leaves that batch out, n of them in the whole training. Each is an event
    "left out", with epoch and batch from 1, and the numbers of its examples in
    the source where `view_batches` or `ArrayBatches` tell them. Steps that loss
    scaling has skipped (mixed_float16) are no errors: `skipped_steps` in the
    logs of an epoch is their number, see `StopOnNonFinite`.

    What ended before its first step was done - batches that cannot be made, a
    package that is missing, memory that does not suffice, Ctrl-C - is no
    training: another call may use the folder, with whatever settings, and
    begins anew. With a step or a checkpoint after it the folder is that
    training's alone.

    On several devices (`keras_vicregl.distribution`), call it in every process
    with the same `output`, a folder they share, into which the first writes.

    `output` gets:

    - `checkpoints/`: the last two, see `TrainingCheckpoint`;
    - `epochs.jsonl`, `steps.jsonl`, `events.jsonl`: see `TrainingLog`; the last
      begins with versions, devices, the commit of the present folder, if it is
      in a repository, and the command, each time that training begins or goes
      on; and has an event "first step" with its `seconds`, compilation
      included;
    - `curves.png`, where matplotlib is installed;
    - `tensorboard/`, where TensorBoard is installed.

    How fast it goes is in the event "epoch" of each epoch, and in no other
    file: `images_per_second`, of the source and over all processes, where the
    batches tell how many they hold, as those of `view_batches` and
    `ArrayBatches` do; `waited`, the share of the time in which nothing was
    computed for want of data; `peak_memory` in bytes, where the backend tells
    (`keras_vicregl.distribution.peak_memory`); and `seconds_left`, until the
    last epoch is over. Time is that of steps, with checkpoints in the middle of
    an epoch, without the first step, in which backends compile, and without
    what comes after the last: validation, evaluation, callbacks, checkpoint.
    Those are in `seconds` and `steps_per_second`, which are of the whole epoch,
    and in `seconds_left`. A step waits from when it could begin until its batch
    has come to the first process. That is known of `view_batches` on each
    backend, but where a strategy of TensorFlow takes batches ahead, or with
    `steps_per_execution` above 1; and of `ArrayBatches` under JAX and PyTorch
    with one of its `workers`. Elsewhere there is no `waited`.

    Args:
        model: a compiled model. Its weights and optimizer are as they are
            where there is no checkpoint yet.
        make_batches: takes `start=(epoch, step)` and returns batches for `fit`
            that begin there, such as `view_batches` with its other arguments
            bound. Each iteration is one epoch further; the first is cut short
            by `step` batches. Batches without an end go on where the epoch
            before has left them. Where training goes on from a checkpoint, and
            they are not of `view_batches` or `ArrayBatches`, their first batch
            is compared with that of another step, in three more calls: a
            `RuntimeWarning` says if it is the same, or another each time.
        epochs: of the whole training, 1 or more.
        output: a folder for this training alone.
        steps_per_epoch: batches in a whole epoch. `None`: the length of
            `make_batches(start=(0, 0))`, which are made only for it where
            training goes on elsewhere. Batches with a length must have this
            one; of endless ones, and those that do not know theirs, an epoch
            is so many, whether they end in between or not.
        save_freq: `"epoch"`, or a number of batches after which it is saved
            within epochs as well.
        log_every: steps between rows of `steps.jsonl`.
        evaluate: takes the model and returns figures for the logs of an
            epoch, such as `{"knn_top1": 0.4}`: what `feature_evaluation`
            returns. It comes before `callbacks`, whose `monitor` may be one of
            them.
        evaluate_every: epochs between evaluations. The last is evaluated too.
            Callbacks that monitor a figure are not told of the end of other
            epochs: `patience` is a number of evaluations.
        validation_data: batches whose objective is logged after each epoch, as
            `val_loss` and so on. Make them with `fixed=True`
            (`view_batches`, `ArrayBatches`), or each evaluation, and the
            first after an interruption, is of other crops than the one before.
        callbacks: further callbacks of `fit`, one or several. Their state is
            in the checkpoints, see `CallbackStates`. A `CSVLogger` goes on with
            its file where training goes on.
        continue_stopped: whether a training that a callback has stopped goes
            on.
        allow_changes: whether optimizer and batches may be others than those
            that training began with, see above; or names of what may, as the
            error has them: `["optimizer.learning_rate"]` stands for a rate and
            for all of a schedule.
        skip_nonfinite: how many batches may be left out, see above.
        verbose: `"auto"` or 1: how long it will take is said after the first
            steps, if that is a minute or more, and a line of at most 100
            characters is kept up to date in a terminal, see `ProgressLine`;
            elsewhere - in files, in notebooks - there is one an epoch, as with
            2 everywhere. 0: none. The first process prints. Where training goes
            on from a checkpoint, "resumed after 6 epochs and 7 batches" comes
            first.

    Returns:
        By name a value an epoch, from the first on, as in `epochs.jsonl`.

    Raises:
        OSError: before training, if `output` is read-only or too full.
        ValueError: if the model is not compiled, an argument is outside what it
            may be, the batches have no length but need it, or another than
            `steps_per_epoch`, `output` holds another training, or one with
            another optimizer or other batches, or none can go on exactly with
            one of `callbacks`.
        NonFiniteStepError: when the loss or a weight is not finite, and
            `skip_nonfinite` batches are left out already; a
            `FloatingPointError`.
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
    check_epochs(epochs)
    check_skipping(skip_nonfinite, model)
    check_counts(
        steps_per_epoch=steps_per_epoch,
        log_every=log_every,
        evaluate_every=evaluate_every,
    )
    callbacks = listed(callbacks)
    check_modes(callbacks, model)
    check_validation(validation_data)
    check_verbose(verbose)
    if not callable(make_batches):
        raise ValueError(
            "`make_batches` must be a function of `start`, so that batches can "
            "begin where training goes on: functools.partial(view_batches, "
            "images, views, batch_size=256, seed=0); received "
            f"{make_batches!r}."
        )
    output = pathlib.Path(output)
    is_chief = process_index(model) == 0
    whole = None
    if steps_per_epoch is None:
        whole = make_batches(start=(0, 0))
        steps_per_epoch = steps_of(whole)
    # All processes take the word of the first, which writes.
    begun = int(is_chief and has_trained(output))
    begun = any(gather_from_processes(begun, model))
    was_tried = (output / EVENTS).exists()
    speed = Speed(steps_per_epoch)
    line = Line(speed, verbose if is_chief else 0)
    log = TrainingLog(
        output,
        steps_per_epoch=steps_per_epoch,
        every=log_every,
        speed=speed.figures,
        sinks=[TensorBoardSink(output / "tensorboard")]
        if is_chief and TensorBoardSink.installed()
        else [],
        writes=is_chief,
    )
    collapse = WarnOnCollapse()
    states = CallbackStates(callbacks, log.event)
    stop = StopSignals(tell=_heard if is_chief else None)
    guard = StopOnNonFinite(on_reset=log.begin_means)
    if skip_nonfinite:
        # What another thread has read of a batch that was left out would come
        # when training has gone back already.
        guard.async_safe = False
    kept: dict[str, Stateful] = {
        "log": log,
        "collapse": collapse,
        "callbacks": states,
        "guard": guard,
    }
    checkpoint = TrainingCheckpoint(
        output / CHECKPOINTS,
        steps_per_epoch=steps_per_epoch,
        save_freq=save_freq,
        stateful=kept,
        stop=stop,
        allow_changes=allow_changes,
        tell=log.event,
        anew=not begun,
    )
    leave_out = LeaveOut(skip_nonfinite, checkpoint, log)
    checkpoint.keep_state_of("left out", leave_out)
    _check_no_other_training(output, checkpoint)
    end = EndOfTraining(epochs)
    # Figures come first, for callbacks to see them.
    ours = [guard, end, *callbacks]
    monitoring: contextlib.AbstractContextManager[None]
    monitoring = contextlib.nullcontext()
    if evaluate is not None:
        evaluation = Evaluation(evaluate, evaluate_every, epochs)
        ours.insert(2, evaluation)
        monitoring = monitors_see_evaluations(callbacks, evaluation)
    # In all processes or none, for they save together.
    if any(gather_from_processes(int(len(ours) > 2), model)):
        ours.insert(1, SaveSteps(checkpoint))
    first = FirstStep(log.event, begun)
    # Whatever the others do after the step.
    ours[:0] = [speed, first, log.weights]
    # The checkpoint comes last: it holds what the others have done.
    slow = WarnOnSlowNorms(epochs * steps_per_epoch)
    ours += [slow, states, collapse, log]
    if is_chief:
        ours.append(Curves(output))
    ours += [line, checkpoint, leave_out, speed.last]

    is_over = _is_over(checkpoint, epochs, continue_stopped)
    batches = None
    if not is_over and checkpoint.position.step < steps_per_epoch:
        # What they lack is known before anything is written.
        batches = batches_for_fit(
            make_batches,
            checkpoint.position,
            steps_per_epoch,
            look=True,
            made=whole,
        )
    if is_chief:
        check_writable(output)
    if batches is not None and (
        rest := left_out_of(batches[0], steps_per_epoch)
    ):
        line.say(rest)
    if checkpoint.path:
        done = checkpoint.position.epoch >= epochs
        line.say(
            f"resumed after {checkpoint.position.words}"
            + ": nothing is left to train" * done
        )
    elif was_tried:
        line.say("begun anew: no step had been trained in this folder")
    log.event(
        "resumed" if checkpoint.path else "started",
        epoch=checkpoint.position.epoch,
        step=checkpoint.position.step,
        **surroundings(),
    )
    reason = "as before"
    try:
        with stop, monitoring, contextlib.ExitStack() as at_end:
            at_end.callback(first.settle)
            if is_over:
                with scope_of(model):
                    checkpoint.restore_end(model)
            else:
                _fit(
                    model,
                    make_batches,
                    batches,
                    epochs,
                    checkpoint,
                    guard,
                    leave_out,
                    speed,
                    callbacks=ours,
                    validation_data=validation_data,
                )
                reason = f"`stop_training`, set by {who_stops(callbacks)}"
                if end.changed_weights(model):
                    checkpoint.keep_end(model)
            # A signal that came after the last step.
            checkpoint.leave_if_interrupted()
    except TrainingInterrupted as interruption:
        log.event("stopped", reason=str(interruption))
        raise
    except Exception as error:
        log.event("failed", reason=f"{type(error).__name__}: {error}")
        raise
    finally:
        line.close()
    epoch, step = checkpoint.position
    if epoch < epochs:
        log.event("stopped", reason=reason, epoch=epoch, step=step)
    else:
        log.event("finished")
    # What the first process has written is there.
    end_together(model)
    return read_history(output)


def _heard(number: signal.Signals) -> None:
    # A line of progress may be there already.
    start = "\n" if sys.stderr.isatty() else ""
    print(
        f"{start}{number.name} was heard: training stops at the next step, "
        "when a checkpoint is saved. A second one stops it at once.",
        file=sys.stderr,
        flush=True,
    )


def _is_over(
    checkpoint: TrainingCheckpoint, epochs: int, continue_stopped: bool
) -> bool:
    """Whether nothing is left to train; says so where something would be."""
    epoch, step = checkpoint.position
    if epoch >= epochs:
        return True
    if continue_stopped or not checkpoint.was_stopped:
        return False
    warnings.warn(
        f"A callback has stopped this training after {epoch} of {epochs} "
        f"epochs and {step} batches: nothing is trained, and the model has the "
        "weights it ended with. Pass `continue_stopped=True` to go on.",
        RuntimeWarning,
        stacklevel=3,
    )
    return True


def _fit(
    model: keras.Model,
    make_batches: Callable[..., Any],
    made: tuple[Any, int | None] | None,
    epochs: int,
    checkpoint: TrainingCheckpoint,
    guard: StopOnNonFinite,
    leave_out: LeaveOut,
    speed: Speed,
    *,
    callbacks: list[keras.callbacks.Callback],
    **settings: Any,
) -> None:
    """Trains to the end, or until a callback ends it.

    With the batches that are made already, and then with others.

    An epoch that is begun in its middle has a `fit` of its own, for Keras takes
    the length of the first epoch for that of all. The next one goes back to the
    checkpoint that it leaves, since the end of `fit` may change weights: it
    replaces them by their averages, where the optimizer keeps any.
    """
    while checkpoint.position.epoch < epochs:
        begun = checkpoint.position
        epoch, step = begun
        guard.begin_at(step)
        speed.begin_at(step)
        if begun != (0, 0):
            keep_rows(callbacks)
        try:
            if step == checkpoint.steps_per_epoch:
                finish_epoch(
                    model, callbacks, epoch, settings.get("validation_data")
                )
            else:
                batches, steps = made or batches_for_fit(
                    make_batches, begun, checkpoint.steps_per_epoch
                )
                made = None
                facts = batches_facts(make_batches, batches)
                checkpoint.facts["batches"] = facts
                views = getattr(batches, "multi_view", None)
                checkpoint.facts["views"] = configuration_facts(views)
                leave_out.examples = getattr(batches, "examples", None)
                speed.begin_at(step, batches)
                model.fit(
                    batches,
                    initial_epoch=epoch,
                    epochs=epoch + 1 if step else epochs,
                    steps_per_epoch=steps,
                    callbacks=callbacks,
                    # Keras would, without a seed, what is not a
                    # `tf.data.Dataset`.
                    shuffle=False,
                    verbose=0,
                    **settings,
                )
        except BatchLeftOutError:
            continue
        except NonFiniteStepError as error:
            if not leave_out.accepts(error):
                raise
            continue
        if model.stop_training:
            break
        if checkpoint.position == begun:
            raise ValueError(
                f"`fit` trains no further than epoch {epoch} of {epochs}: "
                "Keras limits it to `keras.config.max_epochs()`, "
                f"{keras.config.max_epochs()}."
            )


def _check_no_other_training(
    output: pathlib.Path, checkpoint: TrainingCheckpoint
) -> None:
    rows = [output / name for name in (EPOCHS, STEPS)]
    if checkpoint.path is None and any(
        log.exists() and log.stat().st_size for log in rows
    ):
        raise ValueError(
            f"{output} holds logs of a training but no checkpoint to continue "
            "from. Use another folder, or remove the logs."
        )
