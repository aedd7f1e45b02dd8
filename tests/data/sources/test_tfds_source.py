import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")
tfds = pytest.importorskip("tensorflow_datasets")

from image_files import encoded, picture  # noqa: E402

from keras_vicregl.data import load, subset, view_batches  # noqa: E402

COUNT = 6


def pets(self, split, decoders=None, **options):
    """Stands for the files of a data set: 6 pictures with masks.

    The last one is damaged, and has a label that there is not.
    """
    images = [encoded(picture(20, 20 + i, seed=i)) for i in range(COUNT)]
    images[-1] = images[-1][:-30]
    masks = [encoded(np.full((20, 20 + i), i, np.uint8)) for i in range(COUNT)]
    elements = {
        "image": images,
        "segmentation_mask": masks,
        "label": np.arange(COUNT, dtype=np.int64) + 30,
        "tfds_id": [f"pets-{split}__{i}" for i in range(COUNT)],
    }
    wanted = decoders.extract_features(self.info.features)
    assert set(decoders.decoders) <= set(wanted) <= set(elements)
    kept = {k: v for k, v in elements.items() if k in (*wanted, "tfds_id")}
    return tf.data.Dataset.from_tensor_slices(kept)


@pytest.fixture
def mocked():
    with tfds.testing.mock_data(num_examples=5):
        yield


@pytest.fixture
def mocked_pets():
    with tfds.testing.mock_data(as_dataset_fn=pets):
        yield


def test_a_name_is_all_that_is_needed(mocked):
    source = load("cifar10")
    assert len(source) == 5 and source.num_classes == 10
    assert source.name.startswith("cifar10/") and not source.has_masks
    found = list(source.dataset())
    # The mock draws the features that are asked for, one after the other.
    decoders = tfds.decode.PartialDecoding(
        {"image": True, "label": True},
        decoders={"image": tfds.decode.SkipDecoding()},
    )
    expected = list(tfds.load("cifar10", split="train", decoders=decoders))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(
            one["images"], tf.io.decode_png(other["image"])
        )
        assert one["labels"] == int(other["label"])
        assert one["labels"].dtype == tf.int32


def test_one_channel(mocked):
    colors = [x["images"] for x in load("mnist").dataset()]
    grey = load("mnist", channels=1)
    assert (grey.channels, grey.dtype) == (1, "uint8")
    for source in (grey, subset(load("mnist")._of_channels(1), range(5))):
        for one, three in zip(source.dataset(), colors, strict=True):
            np.testing.assert_array_equal(one["images"], three[..., :1])
    with pytest.raises(TypeError, match="pages, read: not for TFDS"):
        load("mnist", pages="channels", read=np.load)
    with pytest.raises(ValueError, match="channels=2: pictures of TFDS"):
        load("mnist", channels=2)


@pytest.mark.parametrize(
    ("name", "options", "classes"),
    [
        ("imagenet2012", {"split": "validation"}, 1000),
        ("stl10", {"labels": False}, None),
        ("cifar100", {"labels": "coarse_label"}, 20),
        ("mnist", {}, 10),  # grey
    ],
)
def test_features_are_found_by_their_kind(mocked, name, options, classes):
    source = load(name, **options)
    assert source.num_classes == classes
    example = next(iter(source.dataset()))
    assert example["images"].dtype == tf.uint8
    assert example["images"].shape[2:] == (3,)
    assert ("labels" in example) == (classes is not None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"masks": True}, "no features that could be masks"),
        ({"labels": "id"}, "labels must be one of the features 'label' of"),
    ],
)
def test_features_that_there_are_not(mocked, options, message):
    with pytest.raises(ValueError, match=message):
        load("cifar10", **options)


def describe(example):
    image = tf.cast(example["images"], tf.float32)
    mask = tf.cast(example["segmentation_masks"], tf.float32)
    return {
        "views": (tf.reduce_mean(image, (0, 1)), example["seeds"]),
        "view_to_source": (tf.zeros((2, 3)), tf.reduce_mean(mask)),
        "source_size": tf.shape(example["images"])[:2],
        "labels": example["labels"],
    }


def test_masks_and_what_is_damaged(mocked_pets):
    source = load("oxford_iiit_pet", masks=True, on_error="skip")
    assert source.has_masks and source.num_classes == 37
    with pytest.warns(
        UserWarning, match=r"1 of 6.*pets-train__5 \(.*Invalid PNG"
    ):
        found = list(source.dataset())
    assert len(found) == 5
    for i, example in enumerate(found):
        np.testing.assert_array_equal(
            example["images"], picture(20, 20 + i, seed=i)
        )
        assert np.all(example["segmentation_masks"] == i)
        assert example["labels"] == i + 30


def test_batches_resume_in_the_middle_of_an_epoch(mocked_pets):
    source = load("oxford_iiit_pet", masks=True, on_error="skip", cache=True)
    options = {"batch_size": 3, "seed": 4}
    whole = view_batches(source, describe, **options)
    with pytest.warns(UserWarning, match="pets-train__5"):
        first, second = list(whole), list(whole)
    resumed = view_batches(source, describe, start=(1, 1), **options)
    tf.nest.map_structure(
        np.testing.assert_array_equal, next(iter(resumed)), second[1]
    )
    orders = []
    for epoch in (first, second):
        indices = np.concatenate([x["views"][1][:, 1] for x, _ in epoch])
        labels = np.concatenate([labels for _, labels in epoch])
        np.testing.assert_array_equal(labels, indices + 30)
        orders.append(tuple(indices))
    # All but the damaged one, in whose place is another one.
    assert all(set(order) == set(range(5)) for order in orders)
    assert orders[0] != orders[1]


def test_labels_out_of_range_are_told_of():
    def unlabelled(self, split, decoders=None, **options):
        elements = {"image": [encoded(picture())] * 2, "label": [-1, -2]}
        return tf.data.Dataset.from_tensor_slices(elements)

    with tfds.testing.mock_data(as_dataset_fn=unlabelled):
        source = load("stl10", "unlabelled")
    # Of -1 there is no label.
    assert next(iter(source.dataset()))["labels"] == -1
    message = r"unlabelled\[1\] \(label -2 is none of 10 classes.*labels=False"
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        list(source.dataset())


@pytest.fixture
def builder(tmp_path):
    for i, path in enumerate(["train/a/0.png", "train/b/1.png", "val/b/2.png"]):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(encoded(picture(seed=i)))
    return tfds.folder_dataset.ImageFolder(str(tmp_path))


def test_a_builder(builder):
    source = load(builder, "val")
    assert len(source) == 1 and source.class_names == ("a", "b")
    (example,) = source.dataset()
    np.testing.assert_array_equal(example["images"], picture(seed=2))
    assert example["labels"] == 1
    assert len(load(builder)) == 2
    with pytest.raises(ValueError, match=r"split='test'.*'train', 'val'"):
        load(builder, "test")


def test_a_name_that_is_none():
    with pytest.raises(ValueError, match=r"neither a folder.*Close.*cifar10"):
        load("cifar11")


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (
            AssertionError("Manual directory does not exist"),
            RuntimeError,
            r"imagenet2012/.* Manual directory.*tfds build imagenet2012.*"
            r"data_dir.*manual_dir",
        ),
        (
            ConnectionError("no route to host"),
            RuntimeError,
            r"no route to host.*Without access to the network",
        ),
        (
            ModuleNotFoundError("No module named 'cv2'", name="cv2"),
            ImportError,
            r"TFDS needs cv2.*pip install cv2",
        ),
    ],
)
def test_a_data_set_that_cannot_be_prepared(
    monkeypatch, tmp_path, error, kind, message
):
    def fail(self, *, download_config):
        assert str(download_config.manual_dir) == "/by/hand"
        raise error

    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", fail)
    with pytest.raises(kind, match=message):
        load("imagenet2012", data_dir=tmp_path, manual_dir="/by/hand")
