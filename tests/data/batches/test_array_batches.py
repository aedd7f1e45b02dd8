"""Batches for views on the device, beside those of tf.data."""

import subprocess
import sys
import threading

import keras
import numpy as np
import pytest
import small

from keras_vicregl.data import ArrayBatches, load, view_batches
from keras_vicregl.views import MultiView, ViewGroup

RNG = np.random.default_rng(0)
ARRAYS = {
    "images": RNG.integers(0, 256, (14, 6, 5, 3), dtype=np.uint8),
    "labels": np.arange(14, dtype="int32"),
}
VIEWS = MultiView([ViewGroup(4, 2)], on="device")


def make(**changes):
    arguments = {
        "arrays": ARRAYS,
        "multi_view": VIEWS,
        "batch_size": 4,
        "seed": 3,
        **changes,
    }
    return ArrayBatches(**arguments)


def flat(batch):
    return keras.tree.flatten(keras.tree.map_structure(np.asarray, batch))


def assert_same(ours, theirs):
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        keras.tree.assert_same_structure(one, other)
        for a, b in zip(flat(one), flat(other), strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)


def test_batches_are_those_of_tf_data():
    options = {"start": (1, 2), "shard": (1, 2)}
    ours = make(**options)
    theirs = view_batches(ARRAYS, VIEWS, batch_size=4, seed=3, **options)
    for _ in range(2):  # epochs, the first of one step
        for (x, y), (their_x, their_y) in zip(
            ours, theirs.as_numpy_iterator(), strict=True
        ):
            keras.tree.assert_same_structure(x, their_x)
            np.testing.assert_array_equal(y, their_y)
            for name in ("images", "source_size"):
                np.testing.assert_array_equal(x[name], their_x[name])
            (drawn,), (their_drawn,) = x["parameters"], their_x["parameters"]
            for name, values in drawn.items():
                # Sines and powers of two libraries differ.
                inexact = name in ("matrix", "from_mean", "sigma")
                np.testing.assert_allclose(
                    values,
                    their_drawn[name],
                    rtol=0,
                    atol=1e-6 if inexact else 0,
                    err_msg=name,
                )
    assert ours.position == (3, 0)


def test_every_epoch_has_each_example_once_in_an_order_of_its_own():
    batches = make(batch_size=7)
    orders = [
        np.concatenate([labels for _, labels in batches]) for _ in range(3)
    ]
    for order in orders:
        np.testing.assert_array_equal(np.sort(order), ARRAYS["labels"])
    assert len({tuple(order) for order in orders}) == 3
    assert batches.position == (3, 0)


def test_images_labels_and_views_stay_together():
    groups = [ViewGroup(4, 2), ViewGroup((2, 3), 1)]
    (x, labels), *_ = make(multi_view=MultiView(groups, on="device"))
    np.testing.assert_array_equal(x["images"], ARRAYS["images"][labels])
    np.testing.assert_array_equal(x["source_size"], [[6.0, 5.0]] * 4)
    assert [drawn["boxes"].shape for drawn in x["parameters"]] == [
        (4, 2, 4),
        (4, 1, 4),
    ]


def test_a_run_goes_on_where_it_stopped():
    whole = make()
    first, second, third = ([*whole] for _ in range(3))
    late = make(start=(1, 2))
    assert len(late) == 1
    assert_same([*late], second[2:])
    assert len(late) == 3
    assert_same([*late], third)
    assert_same([*make(start=(0, 3))], second)
    assert not np.array_equal(first[0][1], second[0][1])


def test_an_iteration_that_was_given_up_is_begun_again():
    batches = make()
    first, _ = [next(iter(batches)), next(iter(batches))]
    assert_same([*batches][:1], [first])
    assert batches.position == (1, 0)


def test_a_smaller_last_batch_is_kept_if_wanted():
    sizes = [len(labels) for _, labels in make(drop_remainder=False)]
    assert sizes == [4, 4, 4, 2]


def test_without_shuffling_the_order_is_kept():
    labels = [labels for _, labels in make(shuffle=False)]
    np.testing.assert_array_equal(np.concatenate(labels), np.arange(12))


def test_processes_share_what_one_process_gets():
    for whole, *parts in zip(
        make(), make(shard=(0, 2)), make(shard=(1, 2)), strict=True
    ):
        together = keras.tree.map_structure(
            lambda *arrays: np.concatenate(arrays), *parts
        )
        assert_same([together], [whole])


@pytest.mark.parametrize(("built", "workers"), [(False, 1), (True, 2)])
def test_fit_sees_the_epochs_in_turn_even_where_it_looks_at_a_batch(
    built, workers
):
    expected = make(start=(1, 0))
    losses = [
        np.mean(
            [
                np.mean(np.square(x["parameters"][0]["matrix"][:, 0, 0, 0]))
                for x, _ in expected
            ]
        )
        for _ in range(3)
    ]
    assert len(set(np.round(losses, 3))) == 3
    model = small.Fingerprint(built)
    model.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
    batches = make(start=(1, 0), workers=workers)
    history = model.fit(
        batches, initial_epoch=1, epochs=4, verbose=0, shuffle=False
    )
    np.testing.assert_allclose(history.history["loss"], losses, rtol=1e-5)
    assert batches.position == (4, 0)


def test_a_fixed_epoch_is_the_same_in_each_iteration():
    fixed = make(start=(1, 0), fixed=True)
    first = [*make(start=(1, 0))]
    for _ in range(2):
        assert_same([*fixed], first)
    assert fixed.position == (1, 0)


@pytest.mark.parametrize(
    ("fixed", "workers"), [(True, 1), (True, 2), (False, 1)]
)
def test_what_is_validated_on_is_fixed_if_wanted(fixed, workers):
    model = small.Fingerprint(True)
    model.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
    seen = make(fixed=fixed, workers=workers)
    history = model.fit(
        make(), epochs=3, validation_data=seen, shuffle=False, verbose=0
    ).history
    assert len(set(np.round(history["loss"], 3))) == 3
    numbers = history["loss"][:1] * 3 if fixed else history["loss"]
    np.testing.assert_allclose(history["val_loss"], numbers, rtol=1e-5)


def test_sources_of_arrays_and_plain_images_are_welcome():
    scenes = load("digit_scenes", "train", count=2)
    views = MultiView.scenes(size=32, on="device")
    ((x, labels),) = ArrayBatches(scenes, views, batch_size=2, seed=0)
    assert x["images"].shape == (2, 64, 64, 3)
    assert labels.shape == (2,)
    (x,) = make(arrays=ARRAYS["images"])[0]
    assert sorted(x) == ["images", "parameters", "source_size"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"multi_view": MultiView.scenes()}, "multi_view.*on='device'"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"batch_size": 15}, "14 examples do not fill a batch of"),
        ({"seed": -1}, "seed=-1"),
        ({"start": (0, 4)}, r"of 3 steps.*start=\(0, 4\)"),
        ({"start": (0, 1), "fixed": True}, "fixed=True .* step 1"),
        ({"shard": (2, 2)}, r"0 <= index < count.*\(2, 2\)"),
        ({"arrays": np.zeros((2, 4, 4, 3))}, "images must be uint8"),
    ],
)
def test_wrong_arguments_are_reported(arguments, message):
    with pytest.raises(ValueError, match=message):
        make(**arguments)


def test_there_is_no_batch_beyond_the_end_of_an_epoch():
    with pytest.raises(IndexError, match=r"0\.\.2. Received: 3"):
        make()[3]


@pytest.mark.skipif(
    keras.backend.backend() == "tensorflow", reason="needs TensorFlow"
)
def test_training_needs_neither_tensorflow_nor_keras_cv(tmp_path):
    code = f"""
import sys
import threading
sys.modules.update(dict.fromkeys(["tensorflow", "keras_cv"]))
import keras, numpy as np
from keras_vicregl import VICRegL
from keras_vicregl.data import ArrayBatches
from keras_vicregl.views import MultiView, ViewGroup
views = MultiView([ViewGroup(8, 2)], on="device")
images = np.random.default_rng(0).integers(0, 256, (8, 9, 7, 3), "uint8")
batches = ArrayBatches(images, views, batch_size=4, seed=0)
inputs = keras.Input((None, None, 3))
backbone = keras.Model(inputs, keras.layers.Conv2D(4, 4, 4)(inputs))
model = VICRegL(
    backbone, expander_units=(8,), local_expander_units=(4,), views=views
)
model.compile("sgd")
before = [w.copy() for w in model.get_weights()]
history = model.fit(batches, verbose=0).history
assert np.isfinite(history["loss"]).all() and model.optimizer.iterations == 2
for old, new in zip(before, model.get_weights()):
    assert not np.array_equal(old, new)
path = {str(tmp_path / "model.keras")!r}
model.save(path)
loaded = keras.saving.load_model(path)
assert loaded.views.groups == views.groups
for old, new in zip(loaded.get_weights(), model.get_weights()):
    assert np.array_equal(old, new)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_batches_tell_when_they_are_taken_by_the_thread_that_trains():
    batches = make()
    batches.on_epoch_begin()
    batches[0]
    assert batches.last_taken()[0] == 1
    thread = threading.Thread(target=batches.__getitem__, args=(1,))
    thread.start()
    thread.join()
    assert batches.last_taken() is None
    batches.on_epoch_end()
    batches.on_epoch_begin()
    batches[0]
    assert batches.last_taken()[0] == 3
