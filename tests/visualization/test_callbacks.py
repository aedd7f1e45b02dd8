"""Pictures are drawn when they are due, as files and for TensorBoard."""

import pathlib

import keras
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from keras_vicregl.visualization import FigureCallback


def draw(model):
    """A square in the grey of the model's only weight."""
    figure = Figure(figsize=(1, 1), dpi=20)
    level = float(keras.ops.convert_to_numpy(model.weights[0])[0, 0])
    figure.set_facecolor((level, level, level))
    return figure


@pytest.fixture
def model():
    model = keras.Sequential(
        [keras.Input((1,)), keras.layers.Dense(1, use_bias=False)]
    )
    model.layers[0].set_weights([np.full((1, 1), 0.8)])
    return model


def train(model, callback, epochs):
    """Epochs without steps: each makes the weight smaller by 0.2."""
    callback.set_model(model)
    callback.on_train_begin()
    for epoch in range(*epochs):
        (weight,) = model.get_weights()
        model.set_weights([weight - 0.2])
        callback.on_epoch_end(epoch)
    callback.on_train_end()


def levels(folder):
    return {
        path.relative_to(folder).as_posix(): np.asarray(
            Image.open(path).convert("L")
        )[10, 10]
        for path in folder.rglob("*.png")
    }


def test_pictures_are_of_every_few_epochs_and_the_last(model, tmp_path):
    train(model, FigureCallback({"w": draw}, tmp_path, every=2), (0, 3))
    # 0.4 and 0.2 of 255.
    assert levels(tmp_path) == {
        "w/epoch_0002.png": 102,
        "w/epoch_0003.png": 51,
    }


def test_a_resumed_training_counts_on(model, tmp_path):
    callback = FigureCallback({"w": draw}, tmp_path, every=2)
    train(model, callback, (2, 4))
    assert list(levels(tmp_path)) == ["w/epoch_0004.png"]
    # A training that is over already draws nothing.
    (tmp_path / "w" / "epoch_0004.png").unlink()
    train(model, callback, (4, 4))
    assert not levels(tmp_path)


def test_functions_see_the_weights_of_their_epoch(model, tmp_path):
    seen = []

    def record(model):
        seen.append(model.get_weights()[0].item())
        return draw(model)

    model.compile("sgd", "mse")
    callback = FigureCallback({"w": record}, tmp_path)
    x = np.ones((4, 1))
    model.fit(x, 0 * x, epochs=2, callbacks=[callback], verbose=0)
    # Each step takes 0.01 * 2 * weight.
    np.testing.assert_allclose(seen, [0.8 * 0.98, 0.8 * 0.98**2], rtol=1e-6)
    pictures = sorted(path.name for path in tmp_path.rglob("*.png"))
    assert pictures == ["epoch_0001.png", "epoch_0002.png"]


@pytest.mark.parametrize("writer", [False, True])
def test_tensorboard_gets_images(model, tmp_path, writer):
    tf = pytest.importorskip("tensorflow")
    pytest.importorskip("tensorboard")
    where = tmp_path
    if writer:
        where = tf.summary.create_file_writer(str(tmp_path))
    train(model, FigureCallback({"w": draw}, tensorboard=where), (0, 2))
    (path,) = pathlib.Path(tmp_path).glob("events*")
    found = [
        (event.step, value.tag, value.tensor.string_val[2])
        for event in tf.compat.v1.train.summary_iterator(str(path))
        for value in event.summary.value
    ]
    assert [row[:2] for row in found] == [(1, "w"), (2, "w")]
    pixels = [tf.io.decode_png(row[2]).numpy()[10, 10, 0] for row in found]
    assert pixels == [153, 102]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"functions": {}}, "`functions` is empty"),
        ({"every": 0}, "`every` must be 1 or more"),
        ({"folder": None}, "nowhere to write"),
    ],
)
def test_bad_input(arguments, message):
    arguments = {"functions": {"w": draw}, "folder": "pictures", **arguments}
    with pytest.raises(ValueError, match=message):
        FigureCallback(**arguments)
