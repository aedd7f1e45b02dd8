"""`fit` on files that cannot be read: what each backend makes of it."""

import keras
import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")

from image_files import encoded, picture  # noqa: E402

from keras_vicregl.data import load, view_batches  # noqa: E402


@pytest.fixture
def folder(tmp_path):
    for i in range(6):
        whole = encoded(picture(20, 30, i), "JPEG")
        cut = i in (1, 4)
        (tmp_path / f"{i}.jpg").write_bytes(whole[:-40] if cut else whole)
    return tmp_path


def mean_colours(example):
    """Stands for a layer of views, made image by image."""
    image = tf.cast(example["images"], tf.float32)
    return {
        "views": (tf.reduce_mean(image, (0, 1)),) * 2,
        "view_to_source": (tf.zeros((2, 3)),) * 2,
        "source_size": tf.shape(example["images"])[:2],
        "labels": tf.constant([1.0]),
    }


class Linear(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(1)

    def call(self, inputs):
        return self.dense(inputs["views"][0] / 255.0)


def fit(source, epochs):
    model = Linear()
    model.compile("sgd", "mse")
    batches = view_batches(source, mean_colours, batch_size=3, seed=3)
    return model.fit(batches, epochs=epochs, verbose=0).history["loss"]


def test_it_goes_through_files_that_are_skipped(folder):
    with pytest.warns(UserWarning, match="2 of 6"):
        losses = fit(load(folder, on_error="skip"), epochs=2)
    assert np.all(np.isfinite(losses))


def test_it_stops_where_a_file_cannot_be_read(folder):
    with pytest.raises(tf.errors.InvalidArgumentError, match="Could not read"):
        fit(load(folder), epochs=1)
