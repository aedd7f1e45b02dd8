"""One bad step is no end: there is a way on, and nothing is lost by it."""

import keras
import numpy as np
import pytest
import tiny
from tiny import no_pictures  # noqa: F401

from keras_vicregl import VICRegL, views
from keras_vicregl.data import ArrayBatches
from keras_vicregl.models import NonFiniteStepError
from keras_vicregl.training import read_history


def with_bad(*numbers, value=np.inf):
    """Batches, some of which have such a target."""

    class Batches(tiny.Batches):
        def __getitem__(self, index):
            x, y = super().__getitem__(index)
            number = self.epoch * self.steps + self.first + index
            return x, np.full_like(y, value) if number in numbers else y

    return Batches


def trained_without(numbers, steps, **kwargs):
    """A model that was given all other batches, one after the other."""
    model = tiny.model(**kwargs)
    good = [tiny.batch(n) for n in range(steps) if n not in numbers]
    batches = (each for each in good)
    model.fit(batches, steps_per_epoch=len(good), shuffle=False, verbose=0)
    return model


# First and last steps of epochs and of the training, and neighbours.
@pytest.mark.parametrize("bad", [(1,), (3,), (0, 7), (5, 6), (8, 11)])
def test_bad_batches_are_left_out(bad, tmp_path):
    model = tiny.model()
    history = tiny.train(
        model,
        with_bad(*bad),
        epochs=3,
        output=tmp_path,
        skip_nonfinite=len(bad),
    )
    tiny.assert_same(model, trained_without(bad, 12))
    events = tiny.events(tmp_path, "left out")
    places = [divmod(number, tiny.STEPS) for number in bad]
    assert [(e["epoch"], e["batch"]) for e in events] == [
        (epoch + 1, step + 1) for epoch, step in places
    ]
    assert np.isfinite(history["loss"]).all()
    # Rows of single steps, and of epochs, which are their means.
    assert tiny.logged(tmp_path) == list(range(1, 13))
    rows = tiny.read_rows(tmp_path / "steps.jsonl")
    lost = [row["step"] - 1 for row in rows if "loss" not in row]
    assert lost == list(bad)
    losses = np.reshape([row.get("loss", np.nan) for row in rows], (3, 4))
    np.testing.assert_allclose(
        history["loss"], np.nanmean(losses, axis=1), rtol=1e-4
    )


def test_more_bad_batches_than_may_be_left_out(tmp_path):
    arguments = {"epochs": 2, "output": tmp_path}
    batches = with_bad(1, 6)
    with pytest.raises(NonFiniteStepError, match=r"epoch 1, batch 2 .*skip_n"):
        tiny.train(tiny.model(), batches, **arguments)
    with pytest.raises(NonFiniteStepError, match="epoch 2, batch 3 "):
        tiny.train(tiny.model(), batches, skip_nonfinite=1, **arguments)
    assert tiny.events(tmp_path)[-1]["event"] == "failed"
    # Those of earlier runs count.
    with pytest.raises(NonFiniteStepError, match="epoch 2, batch 3 "):
        tiny.train(tiny.model(), batches, skip_nonfinite=1, **arguments)
    model = tiny.model()
    tiny.train(model, batches, skip_nonfinite=2, **arguments)
    tiny.assert_same(model, trained_without((1, 6), 8))
    assert len(tiny.events(tmp_path, "left out")) == 2


class Root(keras.losses.Loss):
    """Finite for a target of 7, where its gradient is not."""

    def call(self, y_true, y_pred):
        ops = keras.ops
        other = 1 - ops.cast(y_true == 7, y_pred.dtype)
        root = ops.sqrt(ops.abs(0 * y_pred) + other)
        return ops.mean((1 - y_pred) ** 2 + root, axis=-1)


def of_roots():
    model = tiny.model()
    model.compile("adam", Root(), run_eagerly=model.run_eagerly)
    model.test_on_batch(*tiny.batch(0))
    return model


def without_root(numbers, steps):
    model = of_roots()
    good = [tiny.batch(n) for n in range(steps) if n not in numbers]
    batches = (each for each in good)
    model.fit(batches, steps_per_epoch=len(good), shuffle=False, verbose=0)
    return model


@pytest.mark.parametrize("bad", [1, 3, 7])
def test_the_step_that_broke_the_weights_is_left_out(bad, tmp_path):
    """Not the one after it, whose loss shows it."""
    model = of_roots()
    tiny.train(
        model,
        with_bad(bad, value=7),
        epochs=2,
        output=tmp_path,
        skip_nonfinite=1,
    )
    tiny.assert_same(model, without_root((bad,), 8))
    (event,) = tiny.events(tmp_path, "left out")
    assert tiny.STEPS * (event["epoch"] - 1) + event["batch"] == bad + 1


def test_examples_of_a_batch_are_told(tmp_path):
    """Of those that know which they have."""

    class Batches(with_bad(2)):
        def examples(self, epoch, step):
            return np.arange(2) + 2 * step

    tiny.train(
        tiny.model(), Batches, epochs=1, output=tmp_path, skip_nonfinite=1
    )
    (event,) = tiny.events(tmp_path, "left out")
    assert event["examples"] == [4, 5]


@pytest.mark.parametrize("number", [-1, 1.5, True, None])
def test_what_is_no_number_of_batches_is_an_error(number, tmp_path):
    with pytest.raises(ValueError, match="skip_nonfinite` must be 0 or more"):
        tiny.train(
            tiny.model(),
            tiny.Batches,
            epochs=1,
            output=tmp_path,
            skip_nonfinite=number,
        )


def test_steps_that_are_not_seen_cannot_be_left_out(tmp_path):
    model = tiny.model()
    model.compile("adam", "mse", steps_per_execution=2)
    with pytest.raises(ValueError, match=r"skip_nonfinite=1` .*_execution=2"):
        tiny.train(
            model, tiny.Batches, epochs=1, output=tmp_path, skip_nonfinite=1
        )


def scaled(**kwargs):
    inner = keras.optimizers.Adam(1e-3)
    return keras.optimizers.LossScaleOptimizer(inner, **kwargs)


@pytest.mark.parametrize("bad", [(1,), (3,), (4, 6)])
def test_steps_that_loss_scaling_skips_are_counted(bad, tmp_path):
    model = tiny.model(scaled())
    history = tiny.train(model, with_bad(*bad), epochs=2, output=tmp_path)
    skipped = [sum(n // 4 == epoch for n in bad) for epoch in range(2)]
    assert history["skipped_steps"] == skipped
    assert tiny.steps_of(model) == 8 - len(bad)
    assert all(np.isfinite(w).all() for w in tiny.weights(model))
    scale = float(model.optimizer.dynamic_scale)
    assert scale == 2 ** (15 - len(bad))
    # Means after the step that spoilt them; none where there is no step after.
    rows = tiny.read_rows(tmp_path / "steps.jsonl")
    lost = [row["step"] - 1 for row in rows if row.get("loss") is None]
    assert set(bad) <= set(lost)
    if keras.backend.backend() == "tensorflow":  # others tell a step late
        assert lost == list(bad)
        finite = [n % 4 < 3 for n in bad]
        assert np.isfinite(history["loss"]).all() == all(finite)
    assert not tiny.events(tmp_path, "failed")


@pytest.mark.parametrize("accumulated", [2, 8])
def test_steps_that_accumulate_gradients_are_not_skipped(accumulated, tmp_path):
    """Even where an epoch has fewer than make a step of the optimizer."""
    inner = keras.optimizers.SGD(1e-3, gradient_accumulation_steps=accumulated)
    # A scale that no loss of this size overflows with.
    scaling = keras.optimizers.LossScaleOptimizer(inner, initial_scale=8.0)
    history = tiny.train(
        tiny.model(scaling), tiny.Batches, epochs=2, output=tmp_path
    )
    assert history["skipped_steps"] == [0, 0]


@pytest.mark.skipif(
    keras.backend.backend() == "torch", reason="Keras takes steps one by one."
)
@pytest.mark.parametrize("together", [3, 8])
def test_steps_that_an_execution_lacks_are_not_skipped(together, tmp_path):
    model = tiny.model()
    model.compile(scaled(), "mse", steps_per_execution=together)
    history = tiny.train(model, tiny.Batches, epochs=1, output=tmp_path)
    assert history["skipped_steps"] == [0]


def test_skipped_steps_of_an_interrupted_epoch_are_counted(tmp_path):
    arguments = {"make_batches": with_bad(1, 3), "output": tmp_path}
    tiny.train(
        tiny.model(scaled()),
        epochs=1,
        callbacks=[tiny.StopAt(0, 2)],
        **arguments,
    )
    history = tiny.train(
        tiny.model(scaled()), epochs=1, continue_stopped=True, **arguments
    )
    assert history["skipped_steps"] == [2]


def test_an_epoch_of_skipped_steps_is_an_error(tmp_path):
    with pytest.raises(NonFiniteStepError, match="all 4 steps of epoch 2"):
        tiny.train(
            tiny.model(scaled()),
            with_bad(4, 5, 6, 7),
            epochs=3,
            output=tmp_path,
        )


def test_weights_that_are_not_finite_are_an_error_with_scaling_too(tmp_path):
    class Broken(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 1:
                weight = self.model.trainable_variables[0]
                weight.assign(np.nan * np.ones(weight.shape))

    with pytest.raises(NonFiniteStepError, match="batch 3"):
        tiny.train(
            tiny.model(scaled()),
            tiny.Batches,
            epochs=1,
            output=tmp_path,
            callbacks=[Broken()],
        )


def test_what_fails_at_the_end_of_an_epoch_does_not_lose_it(tmp_path):
    whole = tiny.model()
    arguments = {
        "make_batches": tiny.Batches,
        "epochs": 3,
        "validation_data": tiny.batch(9),
    }

    def evaluate(trained):
        return {"score": float(trained.get_weights()[0][0, 0])}

    def broken(trained):
        raise RuntimeError("an evaluation")

    expected = tiny.train(
        whole, output=tmp_path / "whole", evaluate=evaluate, **arguments
    )
    run = tmp_path / "run"
    for _ in range(2):
        model = tiny.model()
        with pytest.raises(RuntimeError, match="an evaluation"):
            tiny.train(model, output=run, evaluate=broken, **arguments)
        assert tiny.steps_of(model) == tiny.STEPS
    assert [row["step"] for row in tiny.events(run, "resumed")] == [4]
    model = tiny.model()
    tiny.train(model, output=run, evaluate=evaluate, **arguments)
    tiny.assert_same(model, whole)
    assert len(expected["val_loss"]) == 3
    assert read_history(run) == expected
    assert tiny.logged(run) == tiny.logged(tmp_path / "whole")
    # Two moments, not one of them twice.
    names = sorted(path.name for path in (run / "checkpoints").iterdir())
    assert names == [f"epoch-{epoch:04d}-step-00000000.npz" for epoch in (2, 3)]


def test_array_batches_tell_the_examples_of_a_bad_batch(tmp_path):
    images = np.zeros((8, 16, 16, 3), "uint8")
    images += np.arange(8, dtype="uint8")[:, None, None, None] * 30
    multi_view = views.MultiView.scenes(size=8, on="device")

    class Broken(ArrayBatches):
        def _batch(self, epoch, step):
            batch = super()._batch(epoch, step)
            if (epoch, step) == (0, 1):
                for parameters in batch[0]["parameters"]:
                    for value in parameters.values():
                        if value.dtype.kind == "f":
                            value[:] = np.nan
            return batch

    def make(start=(0, 0)):
        return Broken(images, multi_view, batch_size=4, seed=0, start=start)

    backbone = keras.Sequential(
        [keras.Input((None, None, 3)), keras.layers.Conv2D(4, 4, 4)]
    )
    model = VICRegL(backbone, alpha=1.0, expander_units=(4,), views=multi_view)
    eager = keras.backend.backend() == "tensorflow"
    model.compile("sgd", run_eagerly=eager)
    tiny.train(model, make, epochs=1, output=tmp_path, skip_nonfinite=1)
    (event,) = tiny.events(tmp_path, "left out")
    (inputs,) = make()[0]
    first = set(inputs["images"][:, 0, 0, 0] // 30)
    assert set(event["examples"]) == set(range(8)) - first
