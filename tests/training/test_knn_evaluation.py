"""kNN on sources of images, of one size or of several."""

import keras
import numpy as np
import pytest

from keras_vicregl.data import load
from keras_vicregl.training import knn_evaluation
from keras_vicregl.training.knn import _Batches, _cut


class Holder:
    """Its backbone gives the colours of images."""

    def __init__(self):
        inputs = keras.Input((None, None, 3))
        pooled = keras.layers.AveragePooling2D(2)(inputs)
        self.backbone = keras.Model(inputs, pooled)


def colored(count, seed):
    """Images of one colour each, which is their class."""
    labels = np.arange(count) % 3
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 40, (count, 8, 8, 3))
    images += 200 * np.eye(3, dtype=int)[labels][:, None, None]
    return load(
        {"images": images.astype("uint8"), "labels": labels.astype("int32")}
    )


def test_colors_tell_their_class():
    evaluate = knn_evaluation(colored(12, 0), colored(6, 1), k=3)
    assert evaluate(Holder()) == {"knn_top1": 1.0}


def test_images_are_evenly_spread():
    batches = list(_Batches(colored(12, 0), None, 4, batch_size=3))
    assert [len(images) for images, _ in batches] == [3, 1]
    labels = np.concatenate([labels for _, labels in batches])
    np.testing.assert_array_equal(labels, [0, 0, 0, 0])  # 0, 3, 6, 9


@pytest.mark.parametrize("shape", [(14, 30), (30, 14), (16, 16)])
def test_the_middle_is_cut_out(shape):
    image = np.zeros((*shape, 3), "float32")
    image[shape[0] // 2 - 1 : shape[0] // 2 + 1] = 90.0
    image[:, shape[1] // 2 - 1 : shape[1] // 2 + 1] += 90.0
    cut = _cut(image, 7).numpy()
    assert cut.shape == (7, 7, 3)
    # The cross is in the middle: as bright to the left as to the right.
    for axis in (0, 1):
        profile = cut.mean(axis=(1 - axis, 2))
        assert abs(np.average(np.arange(7), weights=profile) - 3) < 0.51


def test_labels_are_needed():
    images = load({"images": np.zeros((4, 8, 8, 3), "uint8")})
    with pytest.raises(ValueError, match="kNN needs labels"):
        knn_evaluation(images, images)
