"""What a training began with may change when that is wanted, and not else."""

import functools
import json

import keras
import numpy as np
import pytest
import small
import tiny
from tiny import no_pictures  # noqa: F401

from keras_vicregl import VICRegL, optimizers
from keras_vicregl.data import ArrayBatches
from keras_vicregl.data.batches.identity import examples_of, identity_of
from keras_vicregl.data.sources.arrays import from_arrays
from keras_vicregl.data.streams.epochs import Plan
from keras_vicregl.training import check_steps, read_rows
from keras_vicregl.training.saving.facts import (
    configuration_facts,
    optimizer_facts,
)
from keras_vicregl.views import MultiView

SGD, Adam = keras.optimizers.SGD, keras.optimizers.Adam


def decay(rate=1e-2, steps=8):
    return keras.optimizers.schedules.CosineDecay(rate, steps)


def go_on(folder, optimizer, make_batches=tiny.Batches, **kwargs):
    """One epoch more than there is; returns the model."""
    checkpoints = list((folder / "checkpoints").glob("epoch-*"))
    model = tiny.model(optimizer)
    epochs = 2 if checkpoints else 1
    tiny.train(model, make_batches, epochs=epochs, output=folder, **kwargs)
    return model


CHANGES = {
    "rate": (Adam(1e-3), Adam(1e-4), "learning_rate", [1e-3, 1e-4]),
    "schedule": (
        Adam(decay(1e-2)),
        Adam(decay(1e-3)),
        "learning_rate.initial_learning_rate",
        [1e-2, 1e-3],
    ),
    "schedule for number": (
        Adam(1e-3),
        Adam(decay()),
        "learning_rate.class",
        [None, "CosineDecay"],
    ),
    "number for schedule": (
        Adam(decay()),
        Adam(1e-3),
        "learning_rate.class",
        ["CosineDecay", None],
    ),
    "decay": (
        optimizers.AdamW(1e-3, weight_decay=0.1),
        optimizers.AdamW(1e-3, weight_decay=0.2),
        "weight_decay",
        [0.1, 0.2],
    ),
    # With the same variables, and of the same shapes.
    "class": (
        keras.optimizers.RMSprop(1e-3),
        SGD(1e-3, momentum=0.9),
        "class",
        ["RMSprop", "SGD"],
    ),
    "momentum": (SGD(1e-3), SGD(1e-3, 0.9), "momentum", [0.0, 0.9]),
    "averages": (
        Adam(1e-3),
        Adam(1e-3, use_ema=True),
        "use_ema",
        [False, True],
    ),
    "inside": (
        keras.optimizers.LossScaleOptimizer(SGD(1e-3)),
        keras.optimizers.LossScaleOptimizer(SGD(1e-4)),
        "inner_optimizer.learning_rate",
        [1e-3, 1e-4],
    ),
}


def copy(optimizer):
    return type(optimizer).from_config(optimizer.get_config())


@pytest.mark.parametrize("kind", CHANGES)
def test_another_optimizer_is_an_error_or_an_event(kind, tmp_path):
    begun, changed, what, values = CHANGES[kind]
    before = tiny.weights(go_on(tmp_path, copy(begun)))
    with pytest.raises(ValueError, match=f"began with .*optimizer.{what}="):
        go_on(tmp_path, copy(changed))
    model = go_on(tmp_path, copy(changed), allow_changes=True)
    (event,) = (
        row
        for row in tiny.events(tmp_path, "changed")
        if row["what"] == f"optimizer.{what}"
    )
    found = [event["before"], event["now"]]
    assert found == (
        pytest.approx(values) if isinstance(values[0], float) else values
    )
    assert tiny.steps_of(model) == 2 * tiny.STEPS
    expected = copy(changed)
    expected.build([])
    expected.iterations.assign(2 * tiny.STEPS)
    np.testing.assert_allclose(
        float(model.optimizer.learning_rate), float(expected.learning_rate)
    )
    # It went on from the weights, in steps of its size.
    after = tiny.weights(model)
    assert all(np.isfinite(w).all() for w in after)
    assert np.abs(after[0] - before[0]).max() < 0.02
    # From now on it is what the training has.
    tiny.train(
        tiny.model(copy(changed)), tiny.Batches, epochs=3, output=tmp_path
    )


def test_gradients_may_be_accumulated_from_now_on(tmp_path):
    go_on(tmp_path, Adam(1e-3))
    accumulating = Adam(1e-3, gradient_accumulation_steps=2)
    model = go_on(tmp_path, accumulating, allow_changes=True)
    # Of 8 batches, pairs.
    assert tiny.steps_of(model) == tiny.STEPS


def test_another_scale_of_the_loss_is_taken(tmp_path):
    def scaled(**kwargs):
        return keras.optimizers.LossScaleOptimizer(SGD(1e-3), **kwargs)

    go_on(tmp_path, scaled())
    other = scaled(initial_scale=64.0, dynamic_growth_steps=6)
    model = go_on(tmp_path, other, allow_changes=True)
    assert float(model.optimizer.dynamic_scale) == 64
    # Of 6 steps after which it grows, 4 are done.
    assert int(model.optimizer.step_counter) == tiny.STEPS


def test_the_same_optimizer_is_no_change(tmp_path):
    """Layers have other names in each process, and so do paths."""
    for _ in range(2):
        go_on(tmp_path, optimizers.LARS(decay()))
    assert not tiny.events(tmp_path, "changed")


def test_a_rate_that_training_has_changed_is_no_change(tmp_path):
    def slower():
        return keras.callbacks.LearningRateScheduler(
            lambda epoch, rate: rate / 2
        )

    model = tiny.model(Adam(1e-2))
    for epochs in (1, 2):
        tiny.train(
            model,
            tiny.Batches,
            epochs=epochs,
            output=tmp_path / "same",
            callbacks=[slower()],
        )
        go_on(tmp_path / "anew", Adam(1e-2), callbacks=[slower()])
    np.testing.assert_allclose(float(model.optimizer.learning_rate), 2.5e-3)


def test_a_function_as_rate_is_of_unknown_contents():
    one = optimizer_facts(Adam(lambda: 1e-3))
    assert one == optimizer_facts(Adam(lambda: 1e-4))
    assert one["learning_rate.class"] == "__lambda__"


class Seeded(tiny.Batches):
    def __init__(self, start, seed):
        super().__init__(start)


def test_another_seed_is_an_error_or_an_event(tmp_path):
    go_on(tmp_path, "adam", functools.partial(Seeded, seed=0))
    other = functools.partial(Seeded, seed=1)
    with pytest.raises(
        ValueError, match=r"batches\.seed=0, now batches\.seed=1"
    ):
        go_on(tmp_path, "adam", other)
    go_on(tmp_path, "adam", other, allow_changes=True)
    (event,) = tiny.events(tmp_path, "changed")
    assert event["what"] == "batches.seed"


IMAGES = np.random.default_rng(0).integers(0, 255, (8, 16, 16, 3), "uint8")


def go_on_with_views(folder, epochs, grayscale=0.2, allow=False, **kwargs):
    """A `VICRegL`, up to an epoch."""
    multi_view = MultiView.scenes(size=16, on="device", grayscale=grayscale)
    model = VICRegL(
        small.backbone(),
        expander_units=(4,),
        local_expander_units=(4,),
        num_matches=2,
        views=multi_view,
        **kwargs,
    )
    tiny.train(
        small.compiled(model, SGD(1e-3)),
        functools.partial(
            ArrayBatches, IMAGES, multi_view, batch_size=4, seed=0
        ),
        epochs=epochs,
        output=folder,
        allow_changes=allow,
    )


@pytest.mark.filterwarnings("ignore:.* batch normalisations? of")
def test_another_objective_or_view_is_an_error_or_an_event(tmp_path):
    go_on_with_views(tmp_path, 1)
    # What does not bear upon what is learnt may change.
    go_on_with_views(tmp_path, 2, remat=True)
    for changed, message in (
        ({"alpha": 0.9}, r"model\.alpha=0\.75, now model\.alpha=0\.9\."),
        ({"dtype": "mixed_bfloat16"}, "dtype='float32', now .*bfloat16"),
        ({"grayscale": 0.0}, r"views\.grayscale=0\.2, now views\.gray.*=0\.0"),
    ):
        with pytest.raises(ValueError, match=message):
            go_on_with_views(tmp_path, 3, **changed)
    go_on_with_views(tmp_path, 3, allow=True, alpha=0.9)
    (event,) = tiny.events(tmp_path, "changed")
    assert (event["what"], event["now"]) == ("model.alpha", 0.9)


def test_what_a_configuration_tells():
    facts = configuration_facts(MultiView.scenes(size=16))
    assert (facts["class"], facts["flip"]) == ("MultiView", 0.5)
    assert "name" not in facts
    assert configuration_facts(lambda batch: batch) == {}
    # Layers have the names of a process.
    facts = configuration_facts(small.backbone())
    assert facts == {"class": "Functional"}


def identity(images, seed=0, **changed):
    plan = Plan(4, True, True, (0, 1))._replace(**changed)
    return identity_of(from_arrays(images), plan, seed)


def test_other_batches_have_another_identity():
    images = np.zeros((12, 8, 8, 3), "uint8")
    other = images.copy()
    other[-1, 0, 0, 0] = 1
    known = identity(images)
    assert identity(images.copy()) == known
    # Another process' share of the same batches.
    assert identity(images, shard=(1, 2)) == known
    for changed in (
        identity(other),
        identity({"images": images, "labels": np.zeros(12, "int32")}),
        identity(images, seed=1),
        identity(images, batch_size=2),
        identity(images, shuffle=False),
    ):
        assert changed != known
    assert json.loads(json.dumps(known)) == known


def test_batches_tell_their_examples():
    plan = Plan(4, True, False, (0, 1))
    np.testing.assert_array_equal(examples_of(12, plan, 0)(3, 1), [4, 5, 6, 7])
    shuffled = examples_of(12, plan._replace(shuffle=True), 0)
    epoch = [shuffled(3, step) for step in range(3)]
    assert sorted(np.concatenate(epoch)) == list(range(12))
    assert examples_of(12, plan._replace(shuffle=100), 0) is None


def of_steps(steps):
    return lambda start: tiny.Batches(start, steps=steps)


@pytest.mark.parametrize("allow", [True, ["batches"]])
def test_an_epoch_of_another_length(tmp_path, allow):
    """Whoever has more images, or other batches, goes on from its end."""
    tiny.train(tiny.model(), of_steps(3), epochs=2, output=tmp_path)
    arguments = {"epochs": 3, "output": tmp_path}
    told = r"of 3 batches an epoch; now they are 2.*pass `allow_changes=True`"
    with pytest.raises(ValueError, match=told):
        tiny.train(tiny.model(), of_steps(2), **arguments)
    model = tiny.model()
    tiny.train(model, of_steps(2), **arguments, allow_changes=allow)
    assert tiny.steps_of(model) == 8
    # What steps are counted by goes on.
    assert tiny.logged(tmp_path) == [*range(1, 9)]
    assert tiny.logged(tmp_path, "epochs.jsonl") == [3, 6, 8]
    (event,) = tiny.events(tmp_path, "changed")
    facts = event["what"], event["before"], event["now"]
    assert facts == ("steps_per_epoch", 3, 2)
    # From then on it is what it began with.
    arguments["epochs"] = 4
    tiny.train(tiny.model(), of_steps(2), **arguments)
    assert tiny.logged(tmp_path) == [*range(1, 11)]
    tiny.train(
        tiny.model(),
        of_steps(4),
        output=tmp_path,
        epochs=5,
        allow_changes=allow,
    )
    assert tiny.logged(tmp_path) == [*range(1, 15)]


def test_not_in_the_middle_of_an_epoch(tmp_path):
    tiny.train(
        tiny.model(),
        of_steps(3),
        epochs=2,
        output=tmp_path,
        save_freq=1,
        callbacks=[tiny.StopAt(1, 0)],
    )
    told = r"in the middle of one \(1 epoch and 1 batch\); now they are 2"
    with pytest.raises(ValueError, match=told):
        check_steps(tmp_path, 2, True)
    check_steps(tmp_path, 3)
    with pytest.raises(ValueError, match=told):
        tiny.train(
            tiny.model(),
            of_steps(2),
            epochs=2,
            output=tmp_path,
            allow_changes=True,
        )


def test_names_that_may_change_are_a_list(tmp_path):
    with pytest.raises(TypeError, match=r"pass \['optimizer.learning_rate'\]"):
        go_on(tmp_path, Adam(), allow_changes="optimizer.learning_rate")


def test_what_begins_as_a_copy_of_the_weights(tmp_path):
    """Else a rate of nothing would take them back to where they began."""
    kind = getattr(keras.optimizers, "ScheduleFreeAdamW", None)
    if kind is None:
        pytest.skip("not in this Keras")
    before = go_on(tmp_path, Adam(0.1))
    trained = tiny.weights(before)
    after = go_on(tmp_path, kind(1e-9), allow_changes=True)
    # But for what batch normalisation sees, and a rate's own steps.
    for variable, one, two in zip(
        after.weights, trained, tiny.weights(after), strict=True
    ):
        if variable.trainable:
            np.testing.assert_allclose(one, two, atol=1e-6)


def test_variables_that_keras_does_not_list(tmp_path):
    def make():
        inside = keras.optimizers.Nadam(0.1)
        return tiny.model(keras.optimizers.LossScaleOptimizer(inside))

    if keras.backend.backend() == "jax":
        pytest.skip("Keras does not carry what it does not list")
    whole, first, second = make(), make(), make()
    tiny.train(whole, tiny.Batches, epochs=2, output=tmp_path / "whole")
    for model, epochs in ((first, 1), (second, 2)):
        tiny.train(model, tiny.Batches, epochs=epochs, output=tmp_path / "two")
    tiny.assert_same(second, whole)


def test_an_optimizer_of_several(tmp_path):
    kind = getattr(keras.optimizers, "MultiOptimizer", None)
    if kind is None:
        pytest.skip("not in this Keras")
    made = kind(
        keras.optimizers.OptimizerMap(Adam(1e-3), {".*kernel": SGD(1e-2)})
    )
    tiny.train(tiny.model(made), tiny.Batches, epochs=1, output=tmp_path)
    (row,) = read_rows(tmp_path / "epochs.jsonl")
    assert row["step"] == tiny.STEPS
    assert "learning_rate" not in row
