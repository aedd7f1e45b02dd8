"""Runs that go wrong are stopped, or warned of, at the right moment."""

import re
import threading
import warnings

import keras
import numpy as np
import pytest
import small

from keras_vicregl import VICRegL
from keras_vicregl.models import StopOnNonFinite, WarnOnCollapse


def linear(optimizer):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    # Eager under TensorFlow, where tracing costs more than the steps.
    return small.compiled(model, optimizer)


class LinearLoss(keras.losses.Loss):
    """The mean prediction: finite, whatever the weights."""

    def call(self, y_true, y_pred):
        return keras.ops.mean(y_pred, axis=-1)


def broken_fit(bad_batch, **kwargs):
    """Fits 3 epochs of 6 batches, one of which is infinite."""
    schedule = keras.optimizers.schedules.ExponentialDecay(0.5, 1, 0.5)
    model = linear(keras.optimizers.SGD(schedule))
    model.compile(model.optimizer, LinearLoss(), run_eagerly=model.run_eagerly)
    x = np.zeros((12, 1), "float32")
    x[2 * bad_batch] = np.inf
    model.fit(x, x, 2, shuffle=False, verbose=0, **kwargs)


@pytest.mark.parametrize("bad_batch", [0, 5])
def test_the_first_batch_that_is_not_finite_is_named(bad_batch):
    with pytest.raises(FloatingPointError) as caught:
        broken_fit(bad_batch, callbacks=[StopOnNonFinite()])
    message = str(caught.value)
    assert "loss not finite in epoch 1" in message
    assert f"batch {bad_batch + 1} " in message


def test_the_learning_rate_is_that_of_the_schedule():
    with pytest.raises(FloatingPointError) as caught:
        broken_fit(5, callbacks=[StopOnNonFinite()])
    # The last batch of the epoch: 6 steps are done, and none can follow.
    assert "(learning rate 0.0078125)" in str(caught.value)


def test_a_resumed_epoch_counts_from_where_it_began():
    with pytest.raises(FloatingPointError, match="epoch 5, batch 43 "):
        broken_fit(
            2, initial_epoch=4, epochs=6, callbacks=[StopOnNonFinite(40)]
        )


def test_the_epochs_after_a_resumed_one_count_from_their_beginning():
    guard = StopOnNonFinite(first_batch=40)
    guard.set_model(linear("sgd"))
    guard.on_epoch_begin(4)
    guard.on_epoch_end(4)
    guard.on_epoch_begin(5)
    guard.on_train_batch_end(2, {"loss": 1.0, "inv": np.nan, "var": np.inf})
    with pytest.raises(FloatingPointError, match=r"inv, var .* 6, batch 3 "):
        guard.on_train_batch_begin(3)


def test_a_step_that_is_read_after_the_next_is_named_all_the_same():
    """Threads in which Keras has logs read do not come in order."""
    guard = StopOnNonFinite()
    guard.set_model(linear("sgd"))
    guard.on_epoch_begin(0)
    for batch in range(3):
        guard.on_train_batch_begin(batch)
    guard.on_train_batch_end(0, {"loss": 1.0})
    guard.on_train_batch_end(2, {"loss": np.inf})
    late = threading.Timer(0.1, guard.on_train_batch_end, (1, {"loss": np.inf}))
    late.start()
    with pytest.raises(FloatingPointError, match="epoch 1, batch 2 "):
        guard.on_train_batch_begin(3)


@pytest.mark.skipif(
    keras.backend.backend() == "tensorflow", reason="Keras waits there anyway."
)
def test_keras_need_not_wait_for_the_numbers_of_each_step():
    callbacks = keras.callbacks.CallbackList(
        [StopOnNonFinite()], model=linear("sgd")
    )
    assert callbacks._async_train


@pytest.fixture(scope="module")
def model():
    """16 channels of features, 4 of embeddings."""
    return VICRegL(small.backbone(), alpha=1, expander_units=(4,))


def test_fit_adds_the_guard_where_there_is_none(model, monkeypatch):
    fits = []
    monkeypatch.setattr(
        keras.Model,
        "fit",
        lambda self, x, callbacks, **kwargs: fits.append(callbacks),
    )
    other, own = keras.callbacks.Callback(), StopOnNonFinite(first_batch=3)
    model.fit({"views": ()}, callbacks=other)
    model.fit({"views": ()}, callbacks=[other, own])
    assert isinstance(fits[0][0], StopOnNonFinite)
    assert fits[0][1:] == [other]
    assert fits[1] == [other, own]


HEALTHY = {
    "repr_std": 0.15,
    "emb_std": 0.4,
    "repr_corr": 0.2,
    "emb_corr": 0.0,
}


def judged(model, *epochs):
    """Texts of the warnings after epochs with some logs changed."""
    guard = WarnOnCollapse()
    guard.set_model(model)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for number, changed in enumerate(epochs):
            guard.on_epoch_end(number, {**HEALTHY, **changed})
    return [str(warning.message) for warning in caught]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"emb_std": 0.04}, "emb_std is 0.08 of"),
        ({"repr_std": 0.02}, "repr_std is 0.08 of"),
        ({"repr_corr": 0.9}, "repr_corr is 0.9 "),
        ({"emb_corr": 0.6, "emb_std": 0.0}, "emb_std is 0 of .* emb_corr is"),
    ],
)
def test_collapse_is_told_once(model, bad, message):
    (text,) = judged(model, {}, bad, bad, bad, bad)
    assert "epoch 3" in text
    assert re.search(message, text), text


def test_random_networks_and_single_epochs_are_forgiven(model):
    bad = {"emb_std": 0.0}
    assert not judged(model, bad, bad, {}, bad, {}, bad)


def test_a_second_collapse_is_told_again(model):
    bad = {"emb_std": 0.0}
    assert len(judged(model, {}, bad, bad, {}, bad, bad)) == 2


def test_what_is_not_logged_is_not_judged():
    guard = WarnOnCollapse(grace=0)
    for epoch in range(3):
        guard.on_epoch_end(epoch, {"loss": 1.0})
    assert guard.get_state() == {"bad_epochs": 0}


def test_bad_epochs_are_counted_over_an_interruption(model):
    guard = WarnOnCollapse()
    guard.set_model(model)
    guard.set_state({"bad_epochs": 1})
    with pytest.warns(RuntimeWarning, match="seems to collapse"):
        guard.on_epoch_end(7, {**HEALTHY, "emb_std": 0.0})


@pytest.mark.parametrize(
    "arguments", [{"min_spread": 0}, {"max_correlation": 1}, {"grace": -1}]
)
def test_arguments_of_the_warning(arguments):
    with pytest.raises(ValueError, match="between 0 and 1"):
        WarnOnCollapse(**arguments)


def test_of_an_optimizer_of_several_rates_none_is_told():
    kind = getattr(keras.optimizers, "MultiOptimizer", None)
    if kind is None:
        pytest.skip("not in this Keras")
    optimizers = keras.optimizers.OptimizerMap(keras.optimizers.SGD(1e30))
    model = VICRegL(small.backbone(), alpha=1, expander_units=(4,))
    small.compiled(model, kind(optimizers))
    told = r"not finite in epoch 1, batch \d\. The weights"
    with pytest.raises(FloatingPointError, match=told):
        model.fit(small.batch()[0], batch_size=2, verbose=0)


def test_evaluation_needs_a_compiled_model():
    model = VICRegL(small.backbone(), alpha=1, expander_units=(4,))
    with pytest.raises(ValueError, match=r"call `compile\(\)` before"):
        model.evaluate(small.batch()[0], verbose=0)
