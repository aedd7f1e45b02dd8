"""What `pretrain` does around `fit`; `test_resume.py` has what it is for."""

import keras
import numpy as np
import pytest

from keras_vicregl.training import pretrain, read_rows


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
    ],
)
def test_bad_arguments(model, tmp_path, change, message):
    arguments = {"model": model, "make_batches": Batches, **change}
    with pytest.raises(ValueError, match=message):
        pretrain(epochs=1, output=tmp_path, **arguments)


def test_logs_without_a_checkpoint_are_not_overwritten(model, tmp_path):
    (tmp_path / "epochs.jsonl").write_text('{"epoch": 1}\n')
    with pytest.raises(ValueError, match="logs of a training but no check"):
        pretrain(model, Batches, epochs=1, output=tmp_path)


def test_a_folder_that_is_a_file_is_an_error_before_training(model, tmp_path):
    (tmp_path / "run").write_text("a file")
    with pytest.raises(OSError, match="Nothing can be written"):
        pretrain(model, Batches, epochs=1, output=tmp_path / "run")
