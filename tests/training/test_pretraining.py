"""What `pretrain` does around `fit`; `test_resume.py` has what it is for."""

import functools

import keras
import numpy as np
import pytest
import small
from tiny import no_pictures  # noqa: F401

from keras_vicregl.data import ArrayBatches
from keras_vicregl.training import pretrain, read_rows
from keras_vicregl.views import MultiView, ViewGroup


class Batches(keras.utils.PyDataset):
    """Three batches an epoch, of ones."""

    def __init__(self, start):
        super().__init__()
        self.start = start

    def __len__(self):
        return 3

    def __getitem__(self, index):
        x = np.ones((2, 1), "float32")
        return x, x


@pytest.fixture
def model():
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    # Eager under TensorFlow, where tracing costs more than the steps.
    eager = keras.backend.backend() == "tensorflow"
    model.compile("sgd", "mse", run_eagerly=eager)
    return model


def test_evaluation_is_in_the_logs_every_few_epochs_and_at_the_end(
    model, tmp_path
):
    seen = []
    history = pretrain(
        model,
        Batches,
        epochs=5,
        output=tmp_path,
        evaluate=lambda trained: seen.append(trained) or {"knn": len(seen)},
        evaluate_every=2,
        verbose=0,
    )
    assert seen == [model] * 3
    np.testing.assert_array_equal(history["knn"], [np.nan, 1, np.nan, 2, 3])
    assert len(history["loss"]) == 5


def scores(*values):
    """An evaluation that gives one score after the other."""
    left = list(values)
    return lambda trained: {"score": left.pop(0)}


def test_callbacks_see_the_score_where_there_is_one(model, tmp_path):
    best = keras.callbacks.ModelCheckpoint(
        tmp_path / "best-{epoch}.weights.h5",
        "score",
        mode="max",
        save_best_only=True,
        save_weights_only=True,
    )
    history = pretrain(
        model,
        Batches,
        epochs=6,
        output=tmp_path / "run",
        evaluate=scores(0.9, 0.5, 0.1),
        evaluate_every=2,
        callbacks=[best],
        verbose=0,
    )
    # Neither before the first evaluation nor between them.
    saved = [path.name for path in tmp_path.glob("best*")]
    assert saved == ["best-2.weights.h5"]
    assert best.best == 0.9
    expected = [np.nan, 0.9, np.nan, 0.5, np.nan, 0.1]
    np.testing.assert_array_equal(history["score"], expected)
    assert "on_epoch_end" not in vars(best)


@pytest.mark.parametrize(("every", "epochs"), [(1, 3), (2, 6)])
def test_patience_is_in_evaluations(every, epochs, model, tmp_path):
    stopping = keras.callbacks.EarlyStopping("score", patience=2, mode="max")
    history = pretrain(
        model,
        Batches,
        epochs=9,
        output=tmp_path,
        evaluate=scores(0.5, 0.4, 0.3, 0.2),
        evaluate_every=every,
        callbacks=[stopping],
        verbose=0,
    )
    assert len(history["loss"]) == epochs


def test_callbacks_may_be_one_or_none(model, tmp_path):
    stopping = keras.callbacks.EarlyStopping("loss", 1e9, patience=1)
    arguments = {"epochs": 9, "verbose": 0}
    for callbacks, epochs in ((stopping, 2), (None, 9)):
        history = pretrain(
            model,
            Batches,
            output=tmp_path / str(epochs),
            callbacks=callbacks,
            save_freq=np.int64(2),
            **arguments,
        )
        assert len(history["loss"]) == epochs


def test_what_monitors_the_loss_sees_every_epoch(model, tmp_path):
    seen = []

    class Monitor(keras.callbacks.Callback):
        monitor = "loss"

        def on_epoch_end(self, epoch, logs=None):
            seen.append((epoch, "score" in logs))

    pretrain(
        model,
        Batches,
        epochs=3,
        output=tmp_path,
        evaluate=scores(0.5, 0.4),
        evaluate_every=2,
        callbacks=[Monitor()],
        verbose=0,
    )
    assert seen == [(0, False), (1, True), (2, True)]


def test_validation_is_of_the_same_crops_in_a_resumed_training_too(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (6, 9, 7, 3), "uint8")
    batches = functools.partial(
        ArrayBatches,
        images,
        MultiView([ViewGroup(8, 2)], on="device"),
        batch_size=3,
        seed=0,
    )
    model = small.Fingerprint()
    model.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
    for epochs in (1, 3):
        history = pretrain(
            model,
            batches,
            epochs=epochs,
            output=tmp_path,
            validation_data=batches(fixed=True),
            verbose=0,
        )
    assert len(set(history["loss"])) == 3
    expected = history["loss"][:1] * 3
    np.testing.assert_allclose(history["val_loss"], expected, rtol=1e-5)


def test_a_finished_training_gives_its_weights_and_averages_them(
    model, tmp_path
):
    optimizer = keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.5)
    model.compile(optimizer, "mse", run_eagerly=model.run_eagerly)
    pretrain(model, Batches, epochs=1, output=tmp_path, verbose=0)
    expected = [np.array(w) for w in model.get_weights()]
    model.set_weights([0 * weight for weight in expected])

    def no_batches(start):
        raise AssertionError("There is nothing to train.")

    pretrain(
        model,
        no_batches,
        epochs=1,
        output=tmp_path,
        steps_per_epoch=3,
        verbose=0,
    )
    for weight, value in zip(model.get_weights(), expected, strict=True):
        np.testing.assert_array_equal(weight, value)


def test_an_evaluation_is_checked_before_training(model, tmp_path):
    class Evaluate:
        def __call__(self, trained):
            raise AssertionError("Nothing is trained.")

        def check(self, trained):
            assert trained is model
            raise ValueError("of no use")

    before = [np.array(w) for w in model.get_weights()]
    with pytest.raises(ValueError, match="of no use"):
        pretrain(
            model,
            Batches,
            epochs=1,
            output=tmp_path,
            evaluate=Evaluate(),
            verbose=0,
        )
    for weight, value in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, value)
    *_, event = read_rows(tmp_path / "events.jsonl")
    assert event["reason"] == "ValueError: of no use"
    # Mended, it begins.
    pretrain(model, Batches, epochs=1, output=tmp_path, verbose=0)


def test_an_error_is_an_event(model, tmp_path):
    class Broken(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            raise RuntimeError("of a callback")

    with pytest.raises(RuntimeError):
        pretrain(
            model,
            Batches,
            epochs=1,
            output=tmp_path,
            callbacks=[Broken()],
            verbose=0,
        )
    *_, event = read_rows(tmp_path / "events.jsonl")
    assert event["event"] == "failed"
    assert event["reason"] == "RuntimeError: of a callback"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"make_batches": lambda start: iter([])}, "Pass `steps_per_epoch`"),
        ({"model": keras.Sequential()}, "Compile the model"),
        ({"epochs": 0}, "`epochs` must be an integer of at least 1.*epochs=0"),
        ({"epochs": -1}, "`epochs` must be .*epochs=-1"),
        ({"epochs": 2.5}, r"`epochs` must be .*epochs=2\.5"),
        ({"steps_per_epoch": 0}, "`steps_per_epoch` must be .*at least 1"),
        ({"log_every": 0}, "`log_every` must be .*at least 1"),
        ({"evaluate_every": 0}, "`evaluate_every` must be .*at least 1"),
        ({"make_batches": Batches((0, 0))}, r"`make_batches` .*partial\("),
        ({"save_freq": True}, "`save_freq` must be 'epoch' or a number"),
        ({"callbacks": [print]}, "`callbacks` must be .*built-in .* print"),
        (
            {"callbacks": [keras.callbacks.EarlyStopping]},
            "`callbacks` must be .* objects; .*class .*EarlyStopping",
        ),
        (
            {"callbacks": keras.callbacks.CallbackList([])},
            "`callbacks` must be .*CallbackList object",
        ),
        (
            {"callbacks": keras.callbacks.EarlyStopping("knn_top1")},
            r"EarlyStopping\(monitor='knn_top1'\) .*mode='max'",
        ),
    ],
)
def test_bad_arguments(model, tmp_path, change, message):
    arguments = {"model": model, "make_batches": Batches, "epochs": 1}
    with pytest.raises(ValueError, match=message):
        pretrain(output=tmp_path, **{**arguments, **change})
    assert not [*tmp_path.iterdir()]


def test_logs_without_a_checkpoint_are_not_overwritten(model, tmp_path):
    (tmp_path / "epochs.jsonl").write_text('{"epoch": 1}\n')
    with pytest.raises(ValueError, match="logs of a training but no check"):
        pretrain(model, Batches, epochs=1, output=tmp_path)


def test_a_folder_that_is_a_file_is_an_error_before_training(model, tmp_path):
    (tmp_path / "run").write_text("a file")
    with pytest.raises(OSError, match="Nothing can be written"):
        pretrain(model, Batches, epochs=1, output=tmp_path / "run")
