"""Callbacks go on as if training had not been interrupted."""

import collections
import csv

import keras
import numpy as np
import pytest
import tiny
from tiny import no_pictures  # noqa: F401

from keras_vicregl.training import CallbackStates, TrainingCheckpoint
from keras_vicregl.training.saving.encoding import decode, encode

EPOCHS = 5


def slower():
    """At every second epoch, as if the loss never improved."""
    return keras.callbacks.ReduceLROnPlateau(
        "loss", 0.1, patience=2, mode="min", min_delta=1e9
    )


def patient():
    return keras.callbacks.EarlyStopping(
        "loss", 1e9, patience=4, mode="min", restore_best_weights=True
    )


class Averages(keras.callbacks.Callback):
    """Swaps weights between epochs, and slows down by what it remembers."""

    def __init__(self):
        super().__init__()
        self.trained = None
        self.losses = collections.deque(maxlen=2)

    def on_epoch_begin(self, epoch, logs=None):
        if self.trained is not None:
            self.model.set_weights(self.trained)

    def on_epoch_end(self, epoch, logs=None):
        self.trained = self.model.get_weights()
        self.model.set_weights([0.5 * w for w in self.trained])
        self.losses.append(logs["loss"])
        self.model.optimizer.learning_rate = 1e-3 * sum(self.losses)


class Decays(keras.callbacks.Callback):
    """Says itself what its state is."""

    def __init__(self):
        super().__init__()
        self.set_state({"used": 0})

    def on_epoch_begin(self, epoch, logs=None):
        self.used += 1
        self.model.optimizer.learning_rate = next(self.rates)

    def get_state(self):
        return {"used": self.used}

    def set_state(self, state):
        self.used = state["used"]
        self.rates = iter(np.geomspace(1e-2, 1e-4, EPOCHS)[self.used :])


class Interruption(tiny.At):
    """As a killed process: not even the end of training is told."""

    def on_train_batch_begin(self, batch, logs=None):
        if self.is_there(batch):
            raise KeyboardInterrupt


def train(model, output, *callbacks):
    return tiny.train(
        model,
        tiny.Batches,
        epochs=EPOCHS,
        output=output,
        save_freq=2,
        callbacks=list(callbacks),
    )


@pytest.fixture(scope="module", params=[slower, patient, Averages, Decays])
def uninterrupted(request, tmp_path_factory):
    """What makes a callback; a model trained with it, and what it logged."""
    make, model = request.param, tiny.model()
    logs = train(model, tmp_path_factory.mktemp("whole"), make())
    return make, model, logs


@pytest.mark.parametrize("batch", [0, 3])
def test_a_training_with_callbacks_goes_on_exactly(
    uninterrupted, batch, tmp_path
):
    make, whole, expected = uninterrupted
    with pytest.raises(KeyboardInterrupt):
        train(tiny.model(), tmp_path, make(), Interruption(3, batch))
    cut = tiny.model()
    assert train(cut, tmp_path, make()) == expected
    tiny.assert_same(cut, whole)


def test_what_callbacks_are_made_with_may_change(tmp_path):
    states = {}
    for patience in (5, 9):
        stopping = keras.callbacks.EarlyStopping("loss", 1e9, patience)
        states = CallbackStates([stopping])
        tiny.model().fit(
            tiny.Batches(),
            epochs=3 if patience == 5 else 4,
            initial_epoch=0 if patience == 5 else 3,
            shuffle=False,
            verbose=0,
            callbacks=[
                stopping,
                states,
                TrainingCheckpoint(
                    tmp_path,
                    steps_per_epoch=tiny.STEPS,
                    stateful={"callbacks": states},
                ),
            ],
        )
    assert stopping.patience == 9
    assert stopping.wait == 3  # the first epoch is the best one


@pytest.mark.parametrize(
    "callback",
    [
        lambda folder: keras.callbacks.SwapEMAWeights(swap_on_epoch=True),
        lambda folder: keras.callbacks.BackupAndRestore(folder),
    ],
)
def test_some_are_refused_before_training(callback, tmp_path):
    callback = callback(tmp_path / "backup")
    model = tiny.model(keras.optimizers.Adam(use_ema=True))
    with pytest.raises(ValueError, match=type(callback).__name__):
        tiny.train(
            model,
            tiny.Batches,
            epochs=1,
            output=tmp_path / "run",
            callbacks=[callback],
        )
    assert tiny.steps_of(model) == 0


def test_a_state_that_cannot_be_saved_is_told_once(tmp_path):
    class Opaque(keras.callbacks.Callback):
        thing = None

        def on_epoch_end(self, epoch, logs=None):
            self.thing = object()

    with pytest.warns(RuntimeWarning, match="`thing` of .* Opaque") as caught:
        tiny.train(
            tiny.model(),
            tiny.Batches,
            epochs=2,
            output=tmp_path,
            callbacks=[Opaque()],
        )
    assert sum("Opaque" in str(w.message) for w in caught) == 1


def test_a_state_without_its_callback_is_an_event(tmp_path):
    arguments = {"make_batches": tiny.Batches, "output": tmp_path}
    tiny.train(tiny.model(), epochs=1, callbacks=[slower()], **arguments)
    tiny.train(tiny.model(), epochs=2, **arguments)
    (event,) = tiny.events(tmp_path, "dropped")
    assert event["callbacks"] == ["ReduceLROnPlateau"]


def test_a_csv_file_has_all_epochs(tmp_path):
    for epochs in (1, 2, 3):
        tiny.train(
            tiny.model(),
            tiny.Batches,
            epochs=epochs,
            output=tmp_path / "run",
            callbacks=[keras.callbacks.CSVLogger(tmp_path / "log.csv")],
        )
    with open(tmp_path / "log.csv") as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["0", "1", "2"]


def test_callbacks_know_of_all_epochs(tmp_path):
    seen = []

    class Last(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            seen.append(self.params["epochs"])

    arguments = {"make_batches": tiny.Batches, "output": tmp_path}
    stop = tiny.StopAt(0, 1)
    tiny.train(tiny.model(), epochs=2, callbacks=[stop, Last()], **arguments)
    tiny.train(
        tiny.model(),
        epochs=2,
        callbacks=[Last()],
        continue_stopped=True,
        **arguments,
    )
    assert seen == [2, 2, 2]


VALUE = {
    "numbers": [1, 2.5, True, None, float("inf")],
    "tuple": (1, ("a",)),
    "by number": {3: {"x"}, (1, 2): frozenset([4])},
    "deque": collections.deque([1, 2], maxlen=5),
    "$dollar": {"$tuple": [1]},
}


def test_values_come_back_as_they_were():
    arrays = {}
    value = {**VALUE, "array": np.arange(4.0), "again": [np.arange(4.0)]}
    encoded = encode(value, arrays)
    assert len(arrays) == 1
    back = decode(encoded, arrays.__getitem__)
    np.testing.assert_array_equal(back.pop("array"), np.arange(4.0))
    np.testing.assert_array_equal(back.pop("again")[0], np.arange(4.0))
    assert back == VALUE
    assert back["deque"].maxlen == 5
    assert type(back["tuple"][1]) is tuple
    with pytest.raises(TypeError, match="object cannot be saved"):
        encode([object()], {})
