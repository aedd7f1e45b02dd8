"""A source as somebody adds it: images of many sizes that are no files."""

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")
pytest.importorskip("keras_cv")

from image_files import picture  # noqa: E402

from keras_vicregl.data import (  # noqa: E402
    ImageSource,
    labels_of,
    load,
    match_classes,
    subset,
    view_batches,
)
from keras_vicregl.evaluation import image_batches  # noqa: E402
from keras_vicregl.views import MultiView  # noqa: E402

IMAGES = [picture(40 + i, 50, i) for i in range(6)]
BROKEN = 2


class Pictures(ImageSource):
    """Decoded one by one, in any order."""

    _is_decoded = True

    def __init__(self, labels, broken=None, **facts):
        super().__init__("pictures", len(IMAGES), **facts)
        self._labels = labels
        self._broken = broken

    def _picture(self, index):
        if index == self._broken:
            raise ValueError("a hole in it")
        return IMAGES[index]

    def _reader(self):
        labels = tf.constant(self._labels)

        def read(index, element):
            image = tf.numpy_function(self._picture, [index], tf.uint8)
            image = tf.ensure_shape(image, (None, None, 3))
            return {"images": image, "labels": labels[index]}

        return read

    def _all_labels(self):
        return self._labels

    def _renumbered(self, table, class_names):
        other = self._with_class_names(class_names)
        other._labels = table[self._labels]
        return other


def pictures(**options):
    labels = np.array([0, 1, -1, 1, 0, 1], np.int32)
    return Pictures(labels, num_classes=2, class_names="ab", **options)


def test_examples_and_some_of_them():
    rows = np.array([1, 4])
    for source, expected in (
        (pictures(), range(6)),
        (subset(pictures(), rows), rows),
    ):
        found = list(source.dataset())
        assert labels_of(source).tolist() == [int(x["labels"]) for x in found]
        for example, index in zip(found, expected, strict=True):
            np.testing.assert_array_equal(example["images"], IMAGES[index])


def test_it_is_evaluated_on():
    (batch,) = image_batches(pictures(), size=32, limit=3)
    assert batch["images"].shape == (3, 32, 32, 3)
    assert batch["labels"].tolist() == [0, -1, 0]


def test_classes_are_matched():
    images = np.zeros((2, 8, 8, 3), np.uint8)
    first = load({"images": images, "labels": [0, 1]}, class_names="ba")
    _, source = match_classes(first, pictures())
    expected = [1, 0, -1, 0, 1, 0]
    assert labels_of(source).tolist() == expected
    assert [int(x["labels"]) for x in source.dataset()] == expected


class Bare(ImageSource):
    """Which does not say how it is numbered."""


def test_labels_are_not_left_as_they_were():
    bare = Bare("bare", 2, num_classes=2, class_names="ab")
    with pytest.raises(NotImplementedError):
        match_classes(pictures(), Bare("bare", 2, class_names="ba"))
    with pytest.raises(NotImplementedError):
        labels_of(bare)


def test_what_cannot_be_read():
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"pictures\[2\]"):
        list(pictures(broken=BROKEN).dataset())
    source = pictures(broken=BROKEN, on_error="skip")
    with pytest.warns(UserWarning, match=r"1 of 6 .*pictures\[2\] .*a hole"):
        assert len(list(source.dataset())) == 5


def batches_of(source):
    views = MultiView.scenes(size=32)
    return view_batches(
        source, views, batch_size=3, seed=0, shuffle=False
    ).as_numpy_iterator()


def test_views():
    whole = list(batches_of(pictures()))
    assert [inputs["views"][0].shape for inputs, _ in whole] == [
        (3, 32, 32, 3)
    ] * 2
    with pytest.warns(UserWarning, match="1 of 6"):
        found = list(batches_of(pictures(broken=BROKEN, on_error="skip")))
    for (inputs, labels), (others, _) in zip(found, whole, strict=True):
        assert len(labels) == 3
        # The one before takes its place, and no other is changed.
        for view, other in zip(inputs["views"], others["views"], strict=True):
            np.testing.assert_array_equal(view[:2], other[:2])
    np.testing.assert_array_equal(
        found[0][0]["views"][0][2], found[0][0]["views"][0][1]
    )


def test_without_example_it_is_for_tensorflow_alone():
    views = MultiView.scenes(size=32, on="device")
    for source in (pictures(), subset(pictures(), np.array([1, 4]))):
        with pytest.raises(ModuleNotFoundError, match=r"pictures, .* need Ten"):
            view_batches(source, views, batch_size=2, seed=0, engine="python")
        with pytest.raises(ModuleNotFoundError, match="need TensorFlow"):
            source.examples_in_python()
        with pytest.raises(ValueError, match="canvas must be given"):
            view_batches(source, views, batch_size=2, seed=0)
        batches = view_batches(source, views, batch_size=2, seed=0, canvas=50)
        assert next(iter(batches))[0]["images"].shape == (2, 50, 50, 3)
