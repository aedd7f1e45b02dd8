"""What `stop_training` ends is ended, where it was, until asked for more."""

import keras
import numpy as np
import pytest
import tiny
from tiny import no_pictures  # noqa: F401

from keras_vicregl.training import TrainingCheckpoint, TrainingLog, read_history

STOPPED = "stopped this training after"


def impatient(**kwargs):
    """Nothing ever improves by so much."""
    return keras.callbacks.EarlyStopping(
        "loss", patience=1, min_delta=1e9, mode="min", **kwargs
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    model = tiny.model()
    tiny.train(model, tiny.Batches, epochs=3, output=folder)
    return folder, model


def test_early_stopping_ends_the_training(tmp_path):
    model = tiny.model()
    history = tiny.train(
        model,
        tiny.Batches,
        epochs=6,
        output=tmp_path,
        callbacks=[impatient()],
    )
    assert tiny.steps_of(model) == 2 * tiny.STEPS
    assert len(history["loss"]) == 2
    (event,) = tiny.events(tmp_path, "stopped")
    assert "EarlyStopping" in event["reason"]
    assert (event["epoch"], event["step"]) == (2, 0)
    assert not tiny.events(tmp_path, "finished")


def test_a_second_call_says_so_and_goes_on_when_asked(tmp_path, whole):
    model = tiny.model()
    tiny.train(
        model,
        tiny.Batches,
        epochs=3,
        output=tmp_path,
        callbacks=[impatient()],
    )
    again = tiny.model()
    with pytest.warns(RuntimeWarning, match=f"{STOPPED} 2 of 3 epochs"):
        tiny.train(again, tiny.Batches, epochs=3, output=tmp_path)
    tiny.assert_same(again, model)
    tiny.train(
        again, tiny.Batches, epochs=3, output=tmp_path, continue_stopped=True
    )
    tiny.assert_same(again, whole[1])
    assert tiny.logged(tmp_path) == tiny.logged(whole[0])


def test_best_weights_that_a_callback_restores_are_those_of_the_end(tmp_path):
    first = tiny.model()
    tiny.train(first, tiny.Batches, epochs=1, output=tmp_path / "one")
    model = tiny.model()
    arguments = {"epochs": 6, "output": tmp_path / "run"}
    tiny.train(
        model,
        tiny.Batches,
        callbacks=[impatient(restore_best_weights=True)],
        **arguments,
    )
    again = tiny.model()
    with pytest.warns(RuntimeWarning, match=STOPPED):
        tiny.train(again, tiny.Batches, **arguments)
    for found in (model, again):
        for a, b in zip(tiny.weights(found), tiny.weights(first), strict=True):
            np.testing.assert_array_equal(a, b)


def test_best_weights_of_a_finished_training_too(tmp_path):
    def best():
        return keras.callbacks.EarlyStopping(
            "loss", 9, 1e9, mode="min", restore_best_weights=True
        )

    model, again = tiny.model(), tiny.model()
    for each in (model, again):
        tiny.train(
            each,
            tiny.Batches,
            epochs=2,
            output=tmp_path,
            callbacks=[best()],
        )
    tiny.assert_same(again, model)
    # It can be prolonged nevertheless, from what was trained last.
    longer, expected = tiny.model(), tiny.model()
    tiny.train(longer, tiny.Batches, epochs=3, output=tmp_path)
    tiny.train(expected, tiny.Batches, epochs=3, output=tmp_path / "whole")
    tiny.assert_same(longer, expected)


@pytest.mark.parametrize("at", [(0, 1), (1, 0), (1, 2)])
def test_a_stop_in_an_epoch_is_where_it_was(at, tmp_path, whole):
    epoch, batch = at
    model = tiny.model()
    tiny.train(
        model,
        tiny.Batches,
        epochs=3,
        output=tmp_path,
        callbacks=[tiny.StopAt(*at)],
    )
    (event,) = tiny.events(tmp_path, "stopped")
    assert (event["epoch"], event["step"]) == (epoch, batch + 1)
    trained = epoch * tiny.STEPS + batch + 1
    assert tiny.steps_of(model) == trained
    assert tiny.logged(tmp_path) == list(range(1, trained + 1))
    assert tiny.logged(tmp_path, "epochs.jsonl")[-1] == trained
    with pytest.warns(RuntimeWarning, match=f"and {batch + 1} batches"):
        tiny.train(tiny.model(), tiny.Batches, epochs=3, output=tmp_path)
    assert tiny.logged(tmp_path, "epochs.jsonl")[-1] == trained
    again = tiny.model()
    tiny.train(
        again, tiny.Batches, epochs=3, output=tmp_path, continue_stopped=True
    )
    tiny.assert_same(again, whole[1])
    for name in ("steps.jsonl", "epochs.jsonl"):
        assert (tmp_path / name).read_bytes() == (whole[0] / name).read_bytes()


@pytest.mark.parametrize("validated", [False, True])
def test_a_stop_in_an_epoch_of_fit(validated, tmp_path, whole):
    def callbacks():
        log = TrainingLog(tmp_path, steps_per_epoch=tiny.STEPS, every=1)
        return log, TrainingCheckpoint(
            tmp_path / "checkpoints",
            steps_per_epoch=tiny.STEPS,
            stateful={"log": log},
        )

    validation = {}
    if validated:
        validation["validation_data"] = tuple(map(abs, tiny.batch(0)))
    log, checkpoint = callbacks()
    tiny.model().fit(
        tiny.Batches(),
        epochs=3,
        shuffle=False,
        verbose=0,
        callbacks=[tiny.StopAt(1, 1), log, checkpoint],
        **validation,
    )
    assert checkpoint.position == (1, 2)
    assert tiny.logged(tmp_path) == list(range(1, 7))
    model = tiny.model()
    for _ in range(2):
        log, checkpoint = callbacks()
        epoch, step = checkpoint.position
        model.fit(
            tiny.Batches((epoch, step)),
            initial_epoch=epoch,
            epochs=epoch + 1,
            shuffle=False,
            verbose=0,
            callbacks=[log, checkpoint],
        )
    tiny.assert_same(model, whole[1])
    losses = read_history(tmp_path)["loss"]
    assert losses == read_history(whole[0])["loss"]
