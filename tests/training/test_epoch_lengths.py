"""An epoch is the number of steps that was asked for, or an error before."""

import math

import keras
import numpy as np
import pytest
import tiny
from tiny import no_pictures  # noqa: F401

from keras_vicregl.training import TrainingCheckpoint, TrainingLog
from keras_vicregl.training._batches import count_batches


def generator(steps, start=(0, 0)):
    """Batches of one epoch, one after the other."""
    epoch, first = start
    for step in range(first, steps):
        yield tiny.batch(epoch * steps + step)


def endless(steps, start=(0, 0)):
    number = start[0] * steps + start[1]
    while True:
        yield tiny.batch(number)
        number += 1


class Endless(keras.utils.PyDataset):
    num_batches = None

    def __init__(self, steps, start):
        super().__init__()
        self.first = start[0] * steps + start[1]

    def __getitem__(self, index):
        return tiny.batch(self.first + index)


def dataset(steps, start):
    """As `generator`, of unknown length, for tf.data: one epoch further each
    time."""
    import tensorflow as tf

    epoch, first = start
    state = {"epoch": epoch, "first": first}

    def one_epoch():
        here = state["epoch"], state["first"]
        yield from generator(steps, here)
        state.update(epoch=here[0] + 1, first=0)

    spec = tf.TensorSpec((2, 1), tf.float32)
    return tf.data.Dataset.from_generator(
        one_epoch, output_signature=(spec, spec)
    )


def repeated(steps, start):
    import tensorflow as tf

    x, y = (
        np.stack(part)
        for part in zip(*map(tiny.batch, range(3 * steps)), strict=True)
    )
    batches = tf.data.Dataset.from_tensor_slices((x, y))
    return batches.skip(start[0] * steps + start[1]).repeat()


KINDS = {
    "generator": generator,
    "endless generator": endless,
    "endless": Endless,
    "unknown": dataset,
    "repeated": repeated,
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Three epochs of three steps, of batches with a length."""
    folder = tmp_path_factory.mktemp("whole")
    model = tiny.model()
    tiny.train(
        model,
        lambda start: tiny.Batches(start, steps=3),
        epochs=3,
        output=folder,
    )
    return folder, model


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("at", [None, (0, 2), (1, 1)])
def test_an_epoch_has_the_steps_asked_for(kind, at, tmp_path, whole):
    arguments = {"epochs": 3, "output": tmp_path, "steps_per_epoch": 3}

    def batches(start):
        return KINDS[kind](3, start)

    if at:
        tiny.train(
            tiny.model(),
            batches,
            callbacks=[tiny.StopAt(*at)],
            **arguments,
        )
    model = tiny.model()
    tiny.train(model, batches, continue_stopped=True, **arguments)
    assert tiny.steps_of(model) == 9
    tiny.assert_same(model, whole[1])
    for name in ("steps.jsonl", "epochs.jsonl"):
        assert (tmp_path / name).read_bytes() == (whole[0] / name).read_bytes()


@pytest.mark.parametrize("steps", [2, 6])
def test_another_length_is_an_error_before_training(steps, tmp_path):
    model = tiny.model()
    with pytest.raises(ValueError, match=f"has 4 .* but {steps} steps are"):
        tiny.train(
            model,
            tiny.Batches,
            epochs=2,
            output=tmp_path,
            steps_per_epoch=steps,
        )
    assert tiny.steps_of(model) == 0


@pytest.mark.parametrize("steps", [2, 6])
@pytest.mark.parametrize("kind", [TrainingCheckpoint, TrainingLog])
def test_another_length_of_fit_is_an_error_too(kind, steps, tmp_path):
    model = tiny.model()
    with pytest.raises(ValueError, match=f"train 4 steps .* {steps} are left"):
        model.fit(
            tiny.Batches(),
            epochs=2,
            verbose=0,
            callbacks=[kind(tmp_path, steps_per_epoch=steps)],
        )
    assert tiny.steps_of(model) == 0


def test_batches_that_ignore_where_to_start_are_told(tmp_path):
    arguments = {"epochs": 1, "output": tmp_path, "steps_per_epoch": 4}

    def batches(start):
        return tiny.Batches()

    tiny.train(
        tiny.model(), batches, callbacks=[tiny.StopAt(0, 1)], **arguments
    )
    model = tiny.model()
    with pytest.warns(RuntimeWarning, match="seems to ignore `start`"):
        tiny.train(model, batches, continue_stopped=True, **arguments)
    assert tiny.steps_of(model) == 4


@pytest.mark.filterwarnings("ignore:Your input ran out of data")
def test_batches_that_end_too_soon_are_an_error(tmp_path):
    def batches(start):
        return generator(4 if start == (0, 0) else 0)

    with pytest.raises(ValueError, match="after 4 of 5 steps of epoch 1"):
        tiny.train(
            tiny.model(),
            batches,
            epochs=1,
            output=tmp_path,
            steps_per_epoch=5,
        )
    assert tiny.logged(tmp_path, "epochs.jsonl") == []


class Nothing(tiny.Batches):
    def __len__(self):
        return 0


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (lambda: Endless(3, (0, 0)), "batches without an end"),
        (lambda: generator(3), "a generator, which can be read only once"),
        (Nothing, "no batches"),
    ],
)
def test_what_cannot_be_validated_on_after_each_epoch(data, found, tmp_path):
    model = tiny.model()
    with pytest.raises(ValueError, match=f"`validation_data` .*{found}"):
        tiny.train(
            model,
            tiny.Batches,
            epochs=2,
            output=tmp_path,
            validation_data=data(),
        )
    assert tiny.steps_of(model) == 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda start: generator(3), "no known length"),
        (lambda start: Endless(3, start), "no end"),
    ],
)
def test_no_length_and_no_steps(make, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        tiny.train(tiny.model(), make, epochs=1, output=tmp_path)


def test_a_limit_of_keras_is_no_endless_loop(tmp_path, monkeypatch):
    monkeypatch.setattr(keras.src.backend.config, "max_epochs", lambda: 1)
    with (
        pytest.warns(UserWarning, match="Limiting epochs"),
        pytest.raises(ValueError, match="no further than epoch 1 of 2"),
    ):
        tiny.train(tiny.model(), tiny.Batches, epochs=2, output=tmp_path)


def test_counts():
    assert count_batches(tiny.Batches()) == 4
    assert count_batches(Endless(3, (0, 0))) == math.inf
    assert count_batches(generator(3)) is None
