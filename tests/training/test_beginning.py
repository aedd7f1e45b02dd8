"""A folder in which nothing was trained is free, and any other is not."""

import functools
import json

import keras
import numpy as np
import pytest
import tiny
from tiny import no_pictures  # noqa: F401

from keras_vicregl.commands.pretraining import beginning
from keras_vicregl.commands.problems import UsageError
from keras_vicregl.training import has_trained

SGD = keras.optimizers.SGD


class Failing(tiny.Batches):
    """Batches that cannot be made."""

    def __init__(self, start, error):
        super().__init__(start)
        self.error = error

    def __getitem__(self, index):
        raise self.error


def try_once(folder, error):
    # Ctrl-C is no `Exception`.
    with pytest.raises(type(error)):
        tiny.train(
            tiny.model(),
            functools.partial(Failing, error=error),
            epochs=1,
            output=folder,
        )


ERRORS = [
    ValueError("an image"),
    ModuleNotFoundError("a package"),
    MemoryError("of a GPU"),
    KeyboardInterrupt(),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda e: type(e).__name__)
def test_what_failed_before_its_first_step_does_not_bind(
    error, tmp_path, capsys
):
    """Another network, optimizer and length of an epoch, in its folder."""
    folder = tmp_path / "run"
    try_once(folder, error)
    assert folder.exists() and not has_trained(folder)

    def train(output, **arguments):
        keras.utils.set_random_seed(1)
        model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        model.compile(SGD(0.1), "mse")
        batches = lambda start: tiny.Batches(start, steps=3)  # noqa: E731
        tiny.train(model, batches, epochs=2, output=output, **arguments)
        return model

    model = train(folder, verbose=2)
    assert "begun anew" in capsys.readouterr().out
    tiny.assert_same(model, train(tmp_path / "fresh"))
    for name in ("steps.jsonl", "epochs.jsonl"):
        expected = (tmp_path / "fresh" / name).read_bytes()
        assert (folder / name).read_bytes() == expected
    assert has_trained(folder)
    (first,) = tiny.events(folder, "first step")
    assert first["seconds"] > 0


class FailsInAStep(keras.callbacks.Callback):
    """As where memory does not suffice for it."""

    def on_train_batch_begin(self, batch, logs=None):
        raise MemoryError("of a GPU")


def test_the_checkpoint_of_the_beginning_does_not_bind(tmp_path):
    def train(optimizer, callbacks=()):
        model = tiny.model(optimizer)
        arguments = {"epochs": 1, "output": tmp_path, "callbacks": callbacks}
        tiny.train(model, tiny.Batches, **arguments)
        return model

    with pytest.raises(MemoryError):
        train("adam", [FailsInAStep()])
    name = "epoch-0000-step-00000000.npz"
    assert (tmp_path / "checkpoints" / name).exists()
    assert not has_trained(tmp_path)
    assert tiny.steps_of(train(SGD(0.1))) == tiny.STEPS
    assert tiny.logged(tmp_path) == [1, 2, 3, 4]
    with pytest.raises(ValueError, match=r"began with optimizer\.class='SGD'"):
        train("adam")


class FailsAfterAStep(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        raise RuntimeError("of a callback")


def train_one_step(folder):
    with pytest.raises(RuntimeError, match="of a callback"):
        tiny.train(
            tiny.model(),
            tiny.Batches,
            epochs=1,
            output=folder,
            log_every=50,
            callbacks=[FailsAfterAStep()],
        )


def test_with_a_step_it_is_protected(tmp_path):
    train_one_step(tmp_path)
    # No row, and no checkpoint after the beginning.
    assert tiny.logged(tmp_path) == []
    assert has_trained(tmp_path)
    with pytest.raises(ValueError, match=r"began with optimizer\.class='Adam'"):
        tiny.train(
            tiny.model(SGD(0.1)), tiny.Batches, epochs=1, output=tmp_path
        )
    with pytest.raises(ValueError, match=r"of 4 batches an epoch; now .* 3"):
        tiny.train(
            tiny.model(),
            lambda start: tiny.Batches(start, steps=3),
            epochs=1,
            output=tmp_path,
        )


def test_the_weights_it_began_with_are_those_it_goes_on_with(tmp_path):
    """After one step and no checkpoint: those of the first call."""
    tiny.train(
        first := tiny.model(), tiny.Batches, epochs=1, output=tmp_path / "whole"
    )
    train_one_step(tmp_path / "cut")
    model = tiny.model()
    model.set_weights([np.zeros_like(w) for w in model.get_weights()])
    tiny.train(model, tiny.Batches, epochs=1, output=tmp_path / "cut")
    tiny.assert_same(model, first)


def test_rows_without_a_checkpoint_are_a_training(tmp_path):
    (tmp_path / "steps.jsonl").write_text('{"epoch": 1, "step": 50}\n')
    with pytest.raises(ValueError, match="logs of a training but no check"):
        tiny.train(tiny.model(), tiny.Batches, epochs=1, output=tmp_path)


def test_settings_that_a_run_cannot_have_are_not_kept(tmp_path):
    """Or it could go on neither with these nor with its own."""
    tiny.train(
        tiny.model(),
        tiny.Batches,
        epochs=2,
        output=tmp_path,
        save_freq=1,
        callbacks=[tiny.StopAt(1, 1)],
    )
    begun = {"data": "a", "batch_size": 4}
    (tmp_path / "config.json").write_text(json.dumps(begun))
    now = {**begun, "batch_size": 6}
    with pytest.raises(UsageError, match="4 batches an epoch, in the middle"):
        beginning.keep(tmp_path, now, begun, True, 3)
    assert json.loads((tmp_path / "config.json").read_text()) == begun
    tiny.train(
        tiny.model(),
        tiny.Batches,
        epochs=3,
        output=tmp_path,
        continue_stopped=True,
    )
    assert beginning.keep(tmp_path, now, begun, True, 3) is True
    assert json.loads((tmp_path / "config.json").read_text()) == now
