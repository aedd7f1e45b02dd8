"""Checkpoints hold everything, in pairs, or nothing is trained."""

import errno
import json
import os
import pathlib
import shutil

import keras
import numpy as np
import pytest

from keras_vicregl.storage import files
from keras_vicregl.training import Position, TrainingCheckpoint

STEPS = 4
X = np.linspace(-1, 1, 16, dtype="float32").reshape(8, 2)


def build(optimizer=None, units=3):
    model = keras.Sequential(
        [
            keras.Input((2,)),
            keras.layers.Dense(units, kernel_initializer="ones"),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.5, seed=1),
            keras.layers.Dense(2, kernel_initializer="ones"),
        ]
    )
    # Eager under TensorFlow, where tracing costs more than the steps.
    eager = keras.backend.backend() == "tensorflow"
    model.compile(optimizer or "adam", "mse", run_eagerly=eager)
    return model


def checkpoint_in(folder, **kwargs):
    return TrainingCheckpoint(folder, steps_per_epoch=STEPS, **kwargs)


def fit(model, *callbacks, epochs=2, **kwargs):
    return model.fit(
        X,
        X,
        len(X) // STEPS,
        epochs=epochs,
        shuffle=False,
        verbose=0,
        callbacks=[*callbacks],
        **kwargs,
    )


def values(model):
    return [
        np.array(keras.ops.convert_to_numpy(v))
        for v in model.variables + model.optimizer.variables
    ]


def assert_equal(model, expected):
    for actual, value in zip(values(model), expected, strict=True):
        np.testing.assert_array_equal(actual, value)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Folder and variables after two epochs, saved in their middle too."""
    folder = tmp_path_factory.mktemp("trained")
    model = build()
    fit(model, checkpoint_in(folder, save_freq=2))
    return folder, values(model)


@pytest.fixture
def copied(trained, tmp_path):
    for path in trained[0].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def test_the_last_two_stay(trained):
    assert sorted(path.name for path in trained[0].iterdir()) == [
        "epoch-0001-step-00000002.npz",
        "epoch-0002-step-00000000.npz",
    ]


def test_it_restores_weights_seeds_and_optimizer(trained):
    folder, expected = trained
    model = build()
    checkpoint = checkpoint_in(folder)
    assert checkpoint.position == (2, 0)
    checkpoint.restore(model)
    assert_equal(model, expected)
    paths = [v.path for v in model.variables + model.optimizer.variables]
    for part in ("moving_mean", "seed_generator_state", "iteration"):
        assert any(part in path for path in paths)


def test_a_file_says_what_it_holds(trained):
    with np.load(trained[0] / "epoch-0001-step-00000002.npz") as file:
        description = json.loads(file["checkpoint.json"])
        assert {
            key: description[key]
            for key in ("epoch", "step", "steps_per_epoch", "backend")
        } == {
            "epoch": 1,
            "step": 2,
            "steps_per_epoch": 4,
            "backend": keras.backend.backend(),
        }
        name = description["arrays"][0]
        assert name.startswith("model/0000/")
        assert name.endswith("/kernel")
        assert file[name].shape == (2, 3)
        assert description["dtypes"][name] == "float32"


def test_a_damaged_checkpoint_gives_way_to_the_one_before(copied):
    newest = copied / "epoch-0002-step-00000000.npz"
    damaged = bytearray(newest.read_bytes())
    # Longer than what an archive has between arrays, part of which is not read.
    for byte in range(len(damaged) // 3, len(damaged) // 3 + 512):
        damaged[byte] ^= 1
    newest.write_bytes(damaged)
    with pytest.warns(RuntimeWarning, match=r"damaged.*step-00000002\.npz"):
        checkpoint = checkpoint_in(copied)
    assert checkpoint.position == (1, 2)
    # The damaged one is not among the two that are kept.
    model = build()
    checkpoint.set_model(model)
    checkpoint.restore(model)
    checkpoint.save(Position(1, 3))
    assert sorted(path.name for path in copied.iterdir()) == [
        "epoch-0001-step-00000002.npz",
        "epoch-0001-step-00000003.npz",
    ]


@pytest.mark.filterwarnings("ignore:A checkpoint is damaged")
def test_without_a_sound_checkpoint_nothing_begins_anew(copied):
    for path in copied.iterdir():
        path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="None of the 2 checkpoints"):
        checkpoint_in(copied)


def test_what_was_killed_while_writing_is_removed(copied):
    partial = copied / ".partial-epoch-0002-step-00000002.npz"
    partial.write_bytes(b"half")
    fit(build(), checkpoint_in(copied), epochs=3, initial_epoch=2)
    assert not partial.exists()


def test_another_model_is_an_error(trained):
    message = r"another model .*kernel of shape \(2, 3\), not .*\(2, 4\)"
    with pytest.raises(ValueError, match=message):
        checkpoint_in(trained[0]).restore(build(units=4))


def test_another_optimizer_of_an_older_checkpoint_is_an_error(tmp_path):
    """Which does not say what it was of."""
    name = "epoch-0001-step-00000000.npz"
    source = pathlib.Path(__file__).parent / "saved" / "torch" / name
    shutil.copy(source, tmp_path / name)
    with pytest.raises(ValueError, match=r"another model or .* variables, not"):
        checkpoint_in(tmp_path).restore(build("sgd"))


def test_another_number_of_batches_is_an_error(trained):
    with pytest.raises(ValueError, match="4 batches an epoch; now they are 5"):
        TrainingCheckpoint(trained[0], steps_per_epoch=5)


def test_another_beginning_of_fit_is_an_error(copied):
    with pytest.raises(ValueError, match="pass `initial_epoch=2`"):
        fit(build(), checkpoint_in(copied))


def test_too_little_room_is_an_error_before_training(tmp_path, monkeypatch):
    usage = type(shutil.disk_usage(tmp_path))(1000, 900, 100)
    monkeypatch.setattr(files.shutil, "disk_usage", lambda path: usage)
    begun = []
    counter = keras.callbacks.LambdaCallback(
        on_train_batch_begin=lambda batch, logs: begun.append(batch)
    )
    with pytest.raises(OSError, match="only 100 B are free"):
        fit(build(), checkpoint_in(tmp_path), counter)
    assert not begun
    assert not list(tmp_path.iterdir())


def test_a_disk_that_fills_up_leaves_the_checkpoint_before(copied, monkeypatch):
    model = build()
    checkpoint = checkpoint_in(copied)
    checkpoint.set_model(model)
    checkpoint.restore(model)
    before = sorted(os.listdir(copied))

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(
        OSError, match=r"can continue from .*0002-step"
    ) as error:
        checkpoint.save(Position(2, 2))
    assert error.value.errno == errno.ENOSPC
    assert sorted(os.listdir(copied)) == before
    assert checkpoint.position == (2, 0)


def test_weights_that_are_not_finite_are_not_saved(copied):
    model = build()
    checkpoint = checkpoint_in(copied)
    checkpoint.set_model(model)
    checkpoint.restore(model)
    bias = np.full(3, np.nan, "float32")
    model.layers[0].bias.assign(bias)
    with pytest.raises(FloatingPointError, match="bias is not finite"):
        checkpoint.save(Position(2, 2))
    assert checkpoint_in(copied).position == (2, 0)


def test_bfloat16_variables_are_kept_bit_by_bit(tmp_path):
    def model_of(value):
        layer = keras.layers.Dense(3, dtype="bfloat16")
        model = keras.Sequential([keras.Input((2,)), layer])
        model.compile("sgd", "mse")
        layer.kernel.assign(np.full((2, 3), value))
        return model

    checkpoint = checkpoint_in(tmp_path)
    checkpoint.set_model(model_of(1 / 3))
    checkpoint.model.optimizer.build(checkpoint.model.trainable_variables)
    checkpoint.save(Position(0, 1))
    other = model_of(0.0)
    checkpoint_in(tmp_path).restore(other)
    kernel = other.layers[0].kernel
    assert keras.backend.standardize_dtype(kernel.dtype) == "bfloat16"
    # 1/3 rounded to the 8 bits of a bfloat16.
    expected = np.full((2, 3), 0.333984375)
    actual = keras.ops.convert_to_numpy(keras.ops.cast(kernel, "float32"))
    np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"steps_per_epoch": 0}, "`steps_per_epoch` must be 1"),
        ({"save_freq": 0}, "`save_freq` must be 'epoch'"),
        ({"save_freq": "batch"}, "`save_freq` must be 'epoch'"),
        ({"keep": 1}, "`keep` must be 2"),
    ],
)
def test_bad_arguments(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        TrainingCheckpoint(tmp_path, **{"steps_per_epoch": 2, **arguments})


@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_a_checkpoint_of_another_backend_continues(backend, tmp_path):
    """The files are those of `fit(build(), ..., epochs=1)` on each backend."""
    name = "epoch-0001-step-00000000.npz"
    source = pathlib.Path(__file__).parent / "saved" / backend / name
    (tmp_path / name).write_bytes(source.read_bytes())
    checkpoint = checkpoint_in(tmp_path)
    model = build()
    checkpoint.restore(model)
    with np.load(source) as file:
        assert json.loads(file["checkpoint.json"])["backend"] == backend
        saved = {n: file[n] for n in file.files if n.split("/")[0] != "metrics"}
    saved.pop("checkpoint.json")
    # Integers differ in their dtypes.
    for actual, expected in zip(values(model), saved.values(), strict=True):
        np.testing.assert_array_equal(actual, expected)
    fit(model, checkpoint, epochs=2, initial_epoch=1)
    assert checkpoint.position == (2, 0)
    assert int(model.optimizer.iterations) == 2 * STEPS
