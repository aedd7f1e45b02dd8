"""Rows of logs are what Keras computes, and are cut where training resumes."""

import json
import math

import keras
import numpy as np
import pytest
import small

from keras_vicregl import VICRegL
from keras_vicregl.training import TrainingLog, read_history, read_rows
from keras_vicregl.training._callbacks import Curves, TensorBoardSink

# What a batch adds to the metric: any numbers.
VALUES = np.array([3.0, -1.0, 4.0, 1.0, -5.0, 9.0, 2.0], "float32")
STEPS = len(VALUES)


class Model(keras.Model):
    """Its loss is its input, whatever its weight."""

    def __init__(self):
        super().__init__()
        self.weight = self.add_weight(shape=(), initializer="zeros")
        self.built = True

    def call(self, x):
        return x + 0.0 * self.weight


class Mean(keras.losses.Loss):
    def call(self, y_true, y_pred):
        return keras.ops.mean(y_pred, axis=-1)


def fit(*callbacks, epochs=2):
    model = Model()
    # Eager under TensorFlow, where tracing costs more than the steps.
    eager = keras.backend.backend() == "tensorflow"
    rate = keras.optimizers.schedules.ExponentialDecay(1.0, 1, 0.5)
    model.compile(keras.optimizers.SGD(rate), Mean(), run_eagerly=eager)
    x = VALUES[:, None]
    return model.fit(
        x,
        x,
        1,
        epochs=epochs,
        shuffle=False,
        verbose=0,
        callbacks=[*callbacks],
    )


@pytest.fixture(scope="module")
def logged(tmp_path_factory):
    folder = tmp_path_factory.mktemp("logged")
    rows = []
    log = TrainingLog(
        folder,
        steps_per_epoch=STEPS,
        every=3,
        sinks=[lambda name, row: rows.append((name, row))],
    )
    extra = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: logs.update(knn=epoch / 4)
    )
    return folder, fit(extra, log).history, rows


def test_rows_of_epochs_are_the_logs_of_keras(logged):
    folder, history, _ = logged
    rows = read_rows(folder / "epochs.jsonl")
    assert [row["loss"] for row in rows] == history["loss"]
    assert [(row["epoch"], row["step"]) for row in rows] == [(1, 7), (2, 14)]
    assert [row["knn"] for row in rows] == [0.0, 0.25]
    # After 7 and 14 steps of the schedule.
    rates = [row["learning_rate"] for row in rows]
    np.testing.assert_allclose(rates, [2**-7, 2**-14])


def test_rows_of_steps_are_means_since_the_row_before(logged):
    rows = read_rows(logged[0] / "steps.jsonl")
    assert [row["step"] for row in rows] == [3, 6, 7, 10, 13, 14]
    expected = [VALUES[:3].mean(), VALUES[3:6].mean(), VALUES[6]]
    np.testing.assert_allclose(
        [row["loss"] for row in rows], expected * 2, rtol=1e-6
    )
    assert all("knn" not in row for row in rows)
    np.testing.assert_allclose(rows[0]["learning_rate"], 2**-3)


def test_sinks_get_the_rows(logged):
    folder, _, rows = logged
    for name in ("epochs.jsonl", "steps.jsonl"):
        assert [row for kind, row in rows if kind == name] == read_rows(
            folder / name
        )


def test_events_tell_the_time(logged):
    events = read_rows(logged[0] / "events.jsonl")
    assert [event["event"] for event in events] == ["epoch", "epoch"]
    assert events[0]["steps"] == 7
    assert events[0]["seconds"] > 0
    assert events[0]["time"].endswith("+00:00")


def test_speed_is_in_the_events_and_for_sinks_alone(tmp_path):
    rows = []
    log = TrainingLog(
        tmp_path,
        steps_per_epoch=STEPS,
        sinks=[lambda name, row: rows.append((name, row))],
        speed=lambda: {"waited": 0.25},
    )
    fit(log, epochs=1)
    (event,) = read_rows(tmp_path / "events.jsonl")
    assert event["waited"] == 0.25
    assert [row for name, row in rows if name == "events.jsonl"] == [
        {"epoch": 1, "step": 7, "waited": 0.25}
    ]
    assert "waited" not in read_history(tmp_path)


def test_a_state_that_is_gone_back_to_cuts_the_rows_after_it(logged, tmp_path):
    for name in ("epochs.jsonl", "steps.jsonl"):
        (tmp_path / name).write_bytes((logged[0] / name).read_bytes())
    log = TrainingLog(tmp_path, steps_per_epoch=STEPS)
    state = json.loads(json.dumps(log.get_state()))
    whole = (tmp_path / "steps.jsonl").read_bytes()
    with open(tmp_path / "steps.jsonl", "ab") as file:
        file.write(b'{"a row": "after the checkp')
    log.set_state(state)
    assert (tmp_path / "steps.jsonl").read_bytes() == whole


def test_lost_rows_are_told(tmp_path):
    log = TrainingLog(tmp_path, steps_per_epoch=STEPS)
    state = log.get_state()
    state["lengths"]["epochs.jsonl"] = 10
    with pytest.warns(RuntimeWarning, match=r"epochs\.jsonl has lost rows"):
        log.set_state(state)


def test_history_has_a_value_an_epoch(tmp_path):
    rows = [
        {"epoch": 1, "step": 5, "loss": 2.0},
        {"epoch": 2, "step": 10, "loss": None, "knn": 0.5},
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "epochs.jsonl").write_text(text + '{"epoch": 3, "st')
    history = read_history(tmp_path)
    assert list(history) == ["loss", "knn"]
    assert history["loss"][0] == 2.0
    assert history["knn"][1] == 0.5
    assert math.isnan(history["loss"][1])
    assert math.isnan(history["knn"][0])
    assert read_history(tmp_path / "none") == {}


def test_what_is_not_finite_is_null(tmp_path):
    log = TrainingLog(tmp_path, steps_per_epoch=STEPS)
    log._append("epochs.jsonl", {"loss": math.nan, "inv": -math.inf, "var": 1})
    text = (tmp_path / "epochs.jsonl").read_text()
    assert text == '{"loss": null, "inv": null, "var": 1}\n'


def test_curves_are_drawn_from_the_rows(logged, tmp_path):
    pytest.importorskip("matplotlib")
    (tmp_path / "epochs.jsonl").write_bytes(
        (logged[0] / "epochs.jsonl").read_bytes()
    )
    curves = Curves(tmp_path)
    curves.on_epoch_end(0)
    picture = tmp_path / "curves.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
    picture.unlink()
    curves.on_epoch_end(1)
    assert not picture.exists()  # too soon
    curves.on_train_end()
    assert picture.exists()


@pytest.mark.skipif(
    not TensorBoardSink.installed(), reason="TensorBoard is not installed."
)
def test_tensorboard_gets_scalars_over_steps(tmp_path):
    import tensorflow as tf

    sink = TensorBoardSink(tmp_path)
    sink("epochs.jsonl", {"epoch": 1, "step": 7, "loss": 2.5})
    (path,) = tmp_path.iterdir()
    found = [
        (event.step, value.tag, float(tf.make_ndarray(value.tensor)))
        for event in tf.compat.v1.train.summary_iterator(str(path))
        for value in event.summary.value
    ]
    assert found == [(7, "epochs/loss", 2.5)]


def test_rows_need_a_distance(tmp_path):
    with pytest.raises(ValueError, match="`every` must be 1"):
        TrainingLog(tmp_path, steps_per_epoch=STEPS, every=0)


def test_accuracies_of_steps_are_of_their_images_with_labels(tmp_path):
    labels = np.array([0, 1, 0, -1, 1, -1, -1, -1, -1, -1, -1, -1, 1, 1, 0, 0])
    x, _ = small.batch(len(labels))
    model = VICRegL(
        small.backbone(), alpha=1, expander_units=(4,), num_classes=2
    )
    small.compiled(small.seeded(model), keras.optimizers.SGD(1e-3))
    log = TrainingLog(tmp_path, steps_per_epoch=4, every=1)
    validation = (x, np.abs(labels))
    model.fit(
        x,
        labels,
        4,
        epochs=2,
        shuffle=False,
        verbose=0,
        callbacks=[log],
        validation_data=validation,
    )
    counts = np.array([3, 1, 0, 4])
    rows = read_rows(tmp_path / "steps.jsonl")
    for epoch, row in enumerate(read_rows(tmp_path / "epochs.jsonl")):
        found = rows[4 * epoch : 4 * epoch + 4]
        for name in ("top1", "classifier_loss"):
            values = [each[name] for each in found]
            assert values[2] is None
            values[2] = 0.0
            # Differences of sums of float32.
            assert np.dot(values, counts) / 8 == pytest.approx(
                row[name], abs=1e-5
            )
        for each, count in zip(found, counts, strict=True):
            right = (each["top1"] or 0) * count
            assert right == pytest.approx(round(right), abs=1e-5)
            assert -1e-5 <= right <= count + 1e-5
        for name in ("inv", "loss"):
            mean = np.mean([each[name] for each in found])
            if name == "inv":
                assert mean == pytest.approx(row[name], rel=1e-5)
