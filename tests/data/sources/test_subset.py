"""Some examples of sources of each kind."""

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")

from image_files import encoded, picture  # noqa: E402

from keras_vicregl.data import labels_of, load, subset  # noqa: E402
from keras_vicregl.data.sources.tfds_source import StreamSource  # noqa: E402

LABELS = np.array([2, 0, 1, 2, 0, 1, 1], np.int32)


def arrays():
    images = np.stack([picture(12, 14, seed=i) for i in range(7)])
    return {"images": images, "labels": LABELS}


def of_kind(kind, folder, broken=None):
    data = arrays()
    if kind == "arrays":
        return load(data)
    contents = [encoded(image) for image in data["images"]]
    if broken is not None:
        contents[broken] = contents[broken][:40]
    if kind == "stream":
        stream = tf.data.Dataset.from_tensor_slices(
            {"images": contents, "labels": LABELS.astype(np.int64)}
        )
        return StreamSource("stream", stream, 7, num_classes=3)
    paths = [folder / f"{index}.png" for index in range(7)]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    cache = {"files": False, "cached": True}[kind]
    return load(paths, labels=LABELS.tolist(), cache=cache)


KINDS = pytest.mark.parametrize("kind", ["arrays", "files", "cached", "stream"])


@KINDS
def test_examples_are_those_chosen(kind, tmp_path):
    source = of_kind(kind, tmp_path)
    np.testing.assert_array_equal(labels_of(source), LABELS)
    indices = np.array([1, 2, 6])
    some = subset(source, indices, cache=True)
    assert len(some) == 3 and some.num_classes == 3
    assert labels_of(some).dtype == np.int32
    np.testing.assert_array_equal(labels_of(some), LABELS[indices])
    for _ in range(2):
        found = list(some.dataset().as_numpy_iterator())
        for example, index in zip(found, indices, strict=True):
            assert example["labels"] == LABELS[index]
            np.testing.assert_array_equal(
                example["images"], arrays()["images"][index]
            )


@pytest.mark.parametrize("kind", ["arrays", "files", "stream"])
def test_a_subset_of_a_subset(kind, tmp_path):
    some = subset(of_kind(kind, tmp_path), np.array([1, 2, 4, 6]))
    fewer = subset(some, np.array([0, 3]))
    np.testing.assert_array_equal(labels_of(fewer), LABELS[[1, 6]])


@pytest.mark.parametrize("kind", ["files", "stream"])
def test_what_is_not_chosen_is_not_decoded(kind, tmp_path):
    source = of_kind(kind, tmp_path, broken=3)
    assert len(list(subset(source, np.array([0, 2, 4])).dataset())) == 3
    with pytest.raises(tf.errors.InvalidArgumentError) as error:
        list(subset(source, np.array([0, 3])).dataset())
    if kind == "files":
        assert "3.png" in str(error.value)


@pytest.mark.parametrize(
    "indices",
    [[], [0.5], [[0]], [-1, 0], [0, 7], [2, 1], [1, 1]],
)
def test_bad_indices(indices, tmp_path):
    with pytest.raises(ValueError, match="whole numbers of 0 to 6"):
        subset(of_kind("arrays", tmp_path), np.array(indices))


def test_labels_that_are_not_there():
    with pytest.raises(ValueError, match=r"Labels are needed, which <Image"):
        labels_of(load({"images": arrays()["images"]}))


def test_labels_of_masks_become_what_they_become_in_the_source(tmp_path):
    folders = {}
    for name, channels, value in (("images", 3, 9), ("masks", 1, 7)):
        picture_of_one = np.full((12, 14, channels), value, np.uint8)
        folders[name] = []
        for index in range(3):
            path = tmp_path / f"{name}{index}.png"
            path.write_bytes(tf.io.encode_png(picture_of_one).numpy())
            folders[name].append(path)
    source = load(folders["images"], masks=folders["masks"], mask_labels={7: 2})
    for each in (source, subset(source, np.array([0, 2]))):
        for example in each.dataset().as_numpy_iterator():
            assert (example["segmentation_masks"] == 2).all()


def test_names_of_boxes_stay():
    source = load("digit_scenes", count=4, boxes=True)
    some = subset(source, np.array([1, 3]))
    assert some.has_boxes
    assert some.box_class_names == source.box_class_names
