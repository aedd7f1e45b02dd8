"""What is excluded from decay and adaptation, also after a reload."""

import json

import keras
import numpy as np
import pytest
import steps
from keras import ops

from keras_vicregl.optimizers import LARS, AdamW

# One step with a gradient of zero shows who is decayed, and by how much.
MAKE = {
    "lars": lambda **kwargs: LARS(
        0.5, momentum=0.0, eta=0.5, weight_decay=0.1, **kwargs
    ),
    "adamw": lambda **kwargs: AdamW(0.5, weight_decay=0.1, **kwargs),
}


def variables():
    return [
        keras.Variable(np.full(shape, 2.0), name=name)
        for name, shape in (
            ("stem", (2, 2)),
            ("block", (2, 2)),
            ("head", (2, 2)),
            ("bias", (2,)),
        )
    ]


def factors(optimizer, variables):
    """What a step without gradients multiplies each variable by."""
    steps.apply(optimizer, variables, [[np.zeros(v.shape) for v in variables]])
    # All start at 2.
    return [
        np.unique(np.float64(ops.convert_to_numpy(v)).round(4)).item() / 2
        for v in variables
    ]


# AdamW: 1 - 0.5 * 0.1. LARS adapts: 1 - 0.5 * 0.5 whatever the decay; without
# adaptation 1 - 0.5 * 0.1 as well.
DECAYED = {"lars": 0.75, "adamw": 0.95}


@pytest.mark.parametrize("name", MAKE)
def test_variables_and_names_are_excluded_from_decay(name):
    chosen = variables()
    optimizer = MAKE[name]()
    optimizer.exclude_from_weight_decay([chosen[0]], var_names=["^bl.ck"])
    assert factors(optimizer, chosen) == [1, 1, DECAYED[name], 1]


@pytest.mark.parametrize("name", MAKE)
def test_vectors_are_decayed_if_asked_for(name):
    optimizer = MAKE[name](exclude_vectors=False)
    assert factors(optimizer, variables()) == 4 * [DECAYED[name]]


def test_nothing_is_decayed_where_all_is_excluded():
    optimizer = MAKE["adamw"]()
    optimizer.exclude_from_weight_decay(var_names=["."])
    assert factors(optimizer, variables()) == [1, 1, 1, 1]


def test_decay_and_adaptation_are_excluded_from_separately():
    chosen = variables()
    optimizer = MAKE["lars"]()
    optimizer.exclude_from_weight_decay(var_names=["block"])
    optimizer.exclude_from_adaptation([chosen[2]])
    assert factors(optimizer, chosen) == [0.75, 1, 0.95, 1]


@pytest.mark.parametrize("name", MAKE)
def test_the_configuration_holds_exclusions_before_and_after_building(name):
    chosen = variables()
    optimizer = MAKE[name]()
    optimizer.exclude_from_weight_decay([chosen[0]], var_names=["head"])
    before = json.loads(json.dumps(keras.optimizers.serialize(optimizer)))
    optimizer.build(chosen)
    after = json.loads(json.dumps(keras.optimizers.serialize(optimizer)))
    for config in (before, after):
        again = keras.optimizers.deserialize(config)
        assert type(again) is type(optimizer)
        assert again.exclude_vectors
        assert factors(again, variables()) == [1, DECAYED[name], 1, 1]
        # And once more, from a reloaded one.
        third = type(again).from_config(again.get_config())
        assert factors(third, variables()) == [1, DECAYED[name], 1, 1]


def test_exclusions_come_before_building():
    optimizer = MAKE["lars"]()
    optimizer.build(variables())
    for exclude in (
        optimizer.exclude_from_weight_decay,
        optimizer.exclude_from_adaptation,
    ):
        with pytest.raises(ValueError, match="before the optimizer is built"):
            exclude(var_names=["stem"])


def test_a_string_is_no_list_of_names():
    with pytest.raises(ValueError, match="list of strings; received 'bias'"):
        MAKE["lars"]().exclude_from_weight_decay(var_names="bias")


@pytest.mark.parametrize("built", [True, False])
def test_a_reloaded_optimizer_is_not_for_another_model(built):
    chosen = variables()
    optimizer = MAKE["lars"]()
    optimizer.exclude_from_weight_decay([chosen[2]])
    if built:
        optimizer.build(chosen)
    again = LARS.from_config(optimizer.get_config())
    with pytest.raises(ValueError, match=r"'head' of shape \(2, 2\).*among.*2"):
        again.build(chosen[:2])


# Whole models, compiled by XLA where the backend can

JIT = keras.backend.backend() != "torch"


def model():
    """Layers without names of their own: a reloaded one has other paths."""
    return keras.Sequential(
        [
            keras.Input((3,)),
            keras.layers.Dense(4, "relu"),
            keras.layers.Dense(2),
        ]
    )


def data():
    rng = np.random.default_rng(0)
    return rng.normal(size=(8, 3)), rng.normal(size=(8, 2))


@pytest.mark.parametrize(
    ("optimizer", "scaled"),
    [(LARS(0.5, eta=0.1), True), (AdamW(0.05), False)],
    ids=["lars", "adamw"],
)
def test_a_model_learns_and_once_saved_goes_on_as_if_it_had_not_been(
    optimizer, scaled, tmp_path
):
    keras.utils.set_random_seed(0)
    original = model()
    optimizer.exclude_from_weight_decay([original.layers[1].kernel])
    whole = keras.optimizers.LossScaleOptimizer(optimizer, 8.0)
    original.compile(whole if scaled else optimizer, "mse", jit_compile=JIT)
    history = original.fit(*data(), epochs=30, verbose=0).history
    assert history["loss"][-1] < 0.5 * history["loss"][0]
    original.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    inner = again.optimizer.inner_optimizer if scaled else again.optimizer
    assert type(inner) is type(optimizer)
    for a, b in zip(
        original.optimizer.variables, again.optimizer.variables, strict=True
    ):
        np.testing.assert_array_equal(
            ops.convert_to_numpy(a), ops.convert_to_numpy(b)
        )
    losses = [m.train_on_batch(*data()) for m in (original, again)]
    assert losses[0] == losses[1]
    for a, b in zip(original.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    used = [inner._use_weight_decay(v) for v in again.trainable_variables]
    assert used == [True, False, False, False]
