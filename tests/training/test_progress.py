"""What people see of a training, in a terminal and elsewhere."""

import functools
import io
import itertools
import signal
import sys

import keras
import numpy as np
import pytest
import tiny
from tiny import STEPS, Batches

from keras_vicregl.data import ArrayBatches
from keras_vicregl.training import (
    ProgressLine,
    TrainingInterrupted,
    pretrain,
    read_rows,
)
from keras_vicregl.training.progress import callback
from keras_vicregl.training.progress.line import LONGEST
from keras_vicregl.views import MultiView, ViewGroup

no_pictures = tiny.no_pictures
train = functools.partial(pretrain, make_batches=Batches, log_every=1)


class Terminal(io.StringIO):
    def isatty(self):
        return True


class InterruptAt(tiny.At):
    """Sends a signal before a batch of an epoch."""

    def on_train_batch_begin(self, batch, logs=None):
        if self.is_there(batch):
            signal.raise_signal(signal.SIGTERM)


@pytest.fixture
def terminal(monkeypatch):
    """What is printed to is a terminal, and each step is worth a text."""
    made = Terminal()
    monkeypatch.setattr(callback.Line, "_file", made)
    monkeypatch.setattr(callback, "_PAUSE", -1.0)
    return made


@pytest.fixture
def model():
    return tiny.model()


class Known(Batches):
    """Of examples whose number is known, as those of this package."""

    def __init__(self, examples, **options):
        super().__init__(**options)
        self.identity = {
            "examples": examples,
            "batch_size": 16,
            "shuffle": True,
        }


@pytest.mark.parametrize(
    ("examples", "said"),
    [
        (16 * STEPS + 11, "11 of 75 images are left out of each epoch, others"),
        (16 * STEPS + 1, "1 of 65 images is left out of each epoch, others"),
        (16 * STEPS, None),
        # The last batch is a smaller one.
        (16 * STEPS - 3, None),
    ],
)
def test_what_does_not_fill_a_batch_is_said_once(
    model, tmp_path, capsys, examples, said
):
    make = functools.partial(Known, examples)
    train(model, make_batches=make, epochs=2, output=tmp_path)
    text = capsys.readouterr().out
    assert text.count("left out of each epoch") == (said is not None)
    assert said is None or f"{said} in each, for batches are of 16\n" in text


def test_elsewhere_there_is_a_line_an_epoch(model, tmp_path, capsys):
    train(model, epochs=2, output=tmp_path)
    text = capsys.readouterr().out
    assert "\r" not in text
    first, second = text.splitlines()
    assert first.startswith("epoch 1/2 loss ")
    assert second.startswith("epoch 2/2 loss ")
    assert " steps/s" in first
    assert second.endswith(" 0s left")


def test_a_terminal_has_a_line_that_is_rewritten(model, tmp_path, terminal):
    train(model, epochs=2, output=tmp_path)
    lines = terminal.getvalue().split("\n")
    assert lines.pop() == ""
    assert len(lines) == 2
    for epoch, line in enumerate(lines, 1):
        nothing, *texts = line.split("\r")
        assert nothing == ""
        # One a step, and what came of the epoch.
        for step, text in enumerate(texts[:STEPS]):
            assert text.startswith(f"epoch {epoch}/2 step {step}/{STEPS}")
        assert texts[-1].startswith(f"epoch {epoch}/2 loss ")
        assert len(texts) == STEPS + 1
        assert max(map(len, texts)) <= LONGEST
        # Each covers the one before.
        for before, text in itertools.pairwise(texts):
            assert len(text) >= len(before.rstrip())


@pytest.mark.parametrize(("verbose", "lines"), [(2, 2), (0, 0)])
def test_less_can_be_said(verbose, lines, model, tmp_path, terminal):
    train(model, epochs=2, output=tmp_path, verbose=verbose)
    text = terminal.getvalue()
    assert "\r" not in text
    assert text.count("\n") == lines


def test_a_bad_verbose_is_an_error_before_training(model, tmp_path):
    with pytest.raises(ValueError, match=r"`verbose` must be .* verbose=7"):
        train(model, epochs=2, output=tmp_path / "run", verbose=7)
    assert not (tmp_path / "run").exists()


def test_a_resumed_run_says_where_it_is_and_counts_from_there(
    model, tmp_path, terminal
):
    with pytest.raises(TrainingInterrupted):
        train(model, epochs=3, output=tmp_path, callbacks=[InterruptAt(1, 1)])
    # The line that was there is left.
    assert terminal.getvalue().endswith("\n")
    terminal.seek(0)
    terminal.truncate()
    train(tiny.model(), epochs=3, output=tmp_path)
    said, rest = terminal.getvalue().split("\n", 1)
    assert said == "resumed after 1 epoch and 1 batch"
    steps = [text for text in rest.split("\r") if " step " in text]
    assert steps[0].startswith(f"epoch 2/3 step 1/{STEPS}")
    assert steps[1].startswith(f"epoch 2/3 step 2/{STEPS}")


def test_a_stop_is_answered(model, tmp_path, capsys):
    arguments = {"output": tmp_path, "callbacks": InterruptAt(0, 1)}
    with pytest.raises(TrainingInterrupted):
        train(model, epochs=1, verbose=0, **arguments)
    error = capsys.readouterr().err
    assert error.count("SIGTERM was heard: training stops at the next") == 1


def test_other_processes_print_nothing(model, tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(sys.modules[pretrain.__module__], "process_index", one)
    monkeypatch.setattr(callback, "process_index", one)
    train(model, epochs=1, output=tmp_path)
    shown = ProgressLine()
    model.fit(Batches(), callbacks=[shown], verbose=0, shuffle=False)
    assert capfd.readouterr().out == ""


def one(model=None):
    return 1


def test_figures_of_evaluations_are_seen(model, tmp_path, capsys):
    train(
        model,
        epochs=1,
        output=tmp_path,
        evaluate=lambda model: {"knn_top1": 0.41234},
        validation_data=tiny.batch(0),
    )
    (line,) = capsys.readouterr().out.splitlines()
    assert " val_loss " in line
    assert " knn_top1 0.4123" in line


def test_speed_is_in_events_alone(model, tmp_path, monkeypatch):
    module = sys.modules["keras_vicregl.training.progress.speed"]
    monkeypatch.setattr(module, "peak_memory", lambda: 12345)
    history = train(model, epochs=2, output=tmp_path, verbose=0)
    assert list(history) == ["loss", "learning_rate"]
    first, second = tiny.events(tmp_path, "epoch")
    assert first["peak_memory"] == 12345
    assert second["seconds_left"] == 0
    # These batches tell neither how many they hold nor when they come.
    assert not {"images_per_second", "waited"} & set(second)
    for name in ("epochs.jsonl", "steps.jsonl"):
        names = {name for row in read_rows(tmp_path / name) for name in row}
        assert names == {"epoch", "step", "loss", "learning_rate"}


def test_what_fit_takes_is_seen_on_each_backend():
    """Of batches in memory, which TensorFlow has read by another thread."""
    batches = ArrayBatches(
        np.zeros((12, 4, 4, 3), "uint8"),
        MultiView([ViewGroup(4, 2)], on="device"),
        batch_size=4,
        seed=0,
    )
    inputs = keras.Input((4, 4, 3), name="images")
    outputs = keras.layers.Dense(1)(inputs)
    model = keras.Model({"images": inputs}, outputs)
    model.compile(loss=lambda y, y_pred: y_pred, optimizer="sgd")

    class Images(keras.utils.PyDataset):
        """The images of batches, and what these tell."""

        identity, last_taken = batches.identity, batches.last_taken

        def __len__(self):
            return len(batches)

        def __getitem__(self, index):
            (inputs,) = batches[index]
            return {"images": inputs["images"]}, inputs["images"]

        def on_epoch_begin(self):
            batches.on_epoch_begin()

        def on_epoch_end(self):
            batches.on_epoch_end()

    shown = io.StringIO()
    line = ProgressLine(Images(), file=shown)
    model.fit(Images(), epochs=2, callbacks=[line], verbose=0, shuffle=False)
    _, second = shown.getvalue().splitlines()
    assert " images/s" in second
    told = keras.backend.backend() != "tensorflow"
    assert (" waited " in second) == told
    assert (batches.last_taken() is not None) == told
