"""A model of one unit, batches of numbers, and what is left of a training."""

import functools

import keras
import numpy as np
import pytest

from keras_vicregl.training import _callbacks, pretrain, read_rows

STEPS = 4  # an epoch


@pytest.fixture(autouse=True, scope="module")
def no_pictures():
    """Curves and TensorBoard take seconds, and have tests of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_callbacks.Curves, "draw", lambda curves: None)
        patch.setattr(_callbacks.TensorBoardSink, "installed", lambda: False)
        yield


class Batches(keras.utils.PyDataset):
    """Batches that differ from each other, and from epoch to epoch."""

    def __init__(self, start=(0, 0), steps=STEPS):
        super().__init__()
        self.steps = steps
        self.epoch, self.first = start

    def __len__(self):
        return self.steps - self.first

    def __getitem__(self, index):
        return batch(self.epoch * self.steps + self.first + index)

    def on_epoch_end(self):
        # Keras calls it before the first epoch too.
        if self.begun:
            self.epoch, self.first = self.epoch + 1, 0
        self.begun = False

    def on_epoch_begin(self):
        self.begun = True

    begun = False


def batch(number):
    """Inputs and targets of a step of a training."""
    x = np.array([[np.sin(number)], [np.cos(3 * number)]], "float32")
    return x, 2 * x + 1


def model(optimizer=None):
    """With state besides its weights: batch norm, dropout, and Adam's."""
    layers = [
        keras.Input((1,)),
        keras.layers.Dense(3, kernel_initializer="ones"),
        keras.layers.BatchNormalization(momentum=0.5),
        keras.layers.Dropout(0.2, seed=1),
        keras.layers.Dense(1, kernel_initializer="ones"),
    ]
    made = keras.Sequential(layers)
    # Eager under TensorFlow, where tracing costs more than the steps.
    eager = keras.backend.backend() == "tensorflow"
    made.compile(optimizer or "adam", "mse", run_eagerly=eager)
    # Or `fit` looks at a batch, after which no batches know where they are.
    made.test_on_batch(*batch(0))
    return made


train = functools.partial(pretrain, verbose=0, log_every=1)


def weights(trained):
    return [np.array(w) for w in trained.get_weights()]


def assert_same(actual, expected):
    """Two models have the same weights and steps behind them."""
    for a, b in zip(weights(actual), weights(expected), strict=True):
        np.testing.assert_array_equal(a, b)
    assert steps_of(actual) == steps_of(expected)


def steps_of(trained):
    return int(trained.optimizer.iterations)


def events(folder, kind=None):
    rows = read_rows(folder / "events.jsonl")
    return [row for row in rows if kind in (None, row["event"])]


def logged(folder, name="steps.jsonl"):
    """The steps that rows are of."""
    return [row["step"] for row in read_rows(folder / name)]


class At(keras.callbacks.Callback):
    """Knows when a batch of an epoch is there."""

    def __init__(self, epoch, batch):
        super().__init__()
        self.at = epoch, batch

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def is_there(self, batch):
        return (self.epoch, batch) == self.at


class StopAt(At):
    """Sets `stop_training` at the end of a batch of an epoch."""

    def on_train_batch_end(self, batch, logs=None):
        if self.is_there(batch):
            self.model.stop_training = True
