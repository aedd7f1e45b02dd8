"""Classes of sources that meet are matched by name."""

import warnings

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")

from image_files import encoded, picture  # noqa: E402

from keras_vicregl.data import labels_of, load, match_classes, subset  # noqa: E402
from keras_vicregl.data.sources.tfds_source import StreamSource  # noqa: E402

IMAGE = encoded(picture())
IMAGES = np.zeros((4, 8, 8, 3), np.uint8)


def folder(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(IMAGE)
    return root


def test_of_folders(tmp_path):
    folder(tmp_path, *(f"train/{name}/0.png" for name in ("ant", "bee", "cat")))
    folder(tmp_path, *(f"test/{name}/{i}.png" for name in "bc" for i in "01"))
    for letter, name in (("b", "bee"), ("c", "cat")):
        (tmp_path / "test" / letter).rename(tmp_path / "test" / name)
    names = ["ant", "bee", "cat"]
    train = load(tmp_path, "train", class_names=names)
    test = load(tmp_path, "test")
    assert labels_of(test).tolist() == [0, 0, 1, 1]
    with pytest.warns(UserWarning, match=r"test has no 'ant' \(1 of 3 classes"):
        one, other = match_classes(train, test)
    assert one is train
    assert other.class_names == ("ant", "bee", "cat")
    assert other.num_classes == 3
    assert labels_of(other).tolist() == [1, 1, 2, 2]
    found = [example["labels"].numpy() for example in other.dataset()]
    assert found == [1, 1, 2, 2]
    # What was given is as it was.
    assert labels_of(test).tolist() == [0, 0, 1, 1]


def of_kind(kind, tmp_path):
    """Labels 1, 0, -1, 0 of the classes "b" and "a"."""
    labels, names = [1, 0, -1, 0], ("b", "a")
    if kind == "arrays":
        return load({"images": IMAGES, "labels": labels}, class_names=names)
    if kind == "stream":
        stream = tf.data.Dataset.from_tensor_slices(
            {"images": [IMAGE] * 4, "labels": np.array(labels, np.int64)}
        )
        return StreamSource(
            "stream", stream, 4, num_classes=2, class_names=names
        )
    paths = [tmp_path / f"{i}.png" for i in range(4)]
    for path in paths:
        path.write_bytes(IMAGE)
    return load(paths, labels=labels, class_names=names)


@pytest.mark.parametrize("kind", ["arrays", "files", "stream"])
def test_of_any_kind(kind, tmp_path):
    first = load({"images": IMAGES, "labels": [0, 1, 2, 2]}, class_names="xab")
    second = of_kind(kind, tmp_path)
    parts = [second, subset(second, np.array([0, 2, 3]))]
    for part, expected in zip(parts, ([1, 2, -1, 2], [1, -1, 2]), strict=True):
        with pytest.warns(UserWarning, match="has no 'x'"):
            _, other = match_classes(first, part)
        assert labels_of(other).tolist() == expected
        found = [example["labels"].numpy() for example in other.dataset()]
        assert found == expected


def test_classes_of_the_second_alone_come_last():
    first = load({"images": IMAGES, "labels": [0, 1, 1, 0]}, class_names="bd")
    second = load({"images": IMAGES, "labels": [0, 1, 2, 1]}, class_names="abd")
    with pytest.warns(UserWarning, match=r"has no 'a' \(1 of 3 classes\)"):
        one, other = match_classes(first, second)
    assert one.class_names == other.class_names == ("b", "d", "a")
    assert labels_of(one).tolist() == [0, 1, 1, 0]
    assert labels_of(other).tolist() == [2, 0, 1, 0]


def test_without_names_nothing_is_done():
    first = load({"images": IMAGES, "labels": [0, 1, 1, 0]}, class_names="bd")
    second = load({"images": IMAGES, "labels": [0, 1, 2, 1]})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert match_classes(first, second) == (first, second)
        assert match_classes(first, first) == (first, first)


def test_no_class_in_common_is_an_error():
    first, second = (
        load({"images": IMAGES, "labels": [0, 1, 1, 0]}, class_names=names)
        for names in ("ab", "cd")
    )
    with pytest.raises(ValueError, match="'a', 'b' and 'c', 'd'"):
        match_classes(first, second)


def test_labels_out_of_range_stay_so():
    stream = tf.data.Dataset.from_tensor_slices(
        {"images": [IMAGE], "labels": np.array([7], np.int64)}
    )
    source = StreamSource("s", stream, 1, num_classes=2, class_names="ab")
    first = load({"images": IMAGES, "labels": [0, 1, 1, 0]}, class_names="ba")
    _, other = match_classes(first, source)
    with pytest.raises(tf.errors.InvalidArgumentError, match="is none of 2"):
        list(other.dataset())
