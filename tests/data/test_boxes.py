"""Boxes of arrays and of TFDS, and batches of images with boxes."""

import pathlib

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")
tfds = pytest.importorskip("tensorflow_datasets")

from image_files import picture  # noqa: E402

from keras_vicregl.data import (  # noqa: E402
    CLASS_NAMES,
    ArrayBatches,
    detection_batches,
    digit_scenes,
    load,
    view_batches,
)
from keras_vicregl.views import MultiView  # noqa: E402

# Top, left, bottom, right as fractions of height and width.
OBJECTS = [
    [],
    [([0.25, 0.5, 1.0, 0.75], 2, False, 11)],
    [
        ([0.0, 0.0, 0.5, 1.0], 0, True, 33),
        ([0.5, 0.5, 0.5, 0.75], 1, False, 0),  # without an area
        ([0.5, 0.25, 0.75, 0.5], 1, False, 22),
    ],
]
SIZES = [(20, 24), (32, 16), (24, 40)]


class Things(tfds.core.GeneratorBasedBuilder):
    """Three images with objects as in COCO."""

    VERSION = tfds.core.Version("1.0.0")
    pkg_dir_path = pathlib.Path(__file__).parent  # tests are no package

    def _info(self):
        objects = {
            "bbox": tfds.features.BBoxFeature(),
            "label": tfds.features.ClassLabel(names=["cup", "dog", "car"]),
            "is_crowd": np.bool_,
            "area": np.int64,
        }
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(None, None, 3)),
                    "objects": tfds.features.Sequence(objects),
                }
            ),
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for i, (objects, size) in enumerate(zip(OBJECTS, SIZES, strict=True)):
            yield (
                i,
                {
                    "image": picture(*size, seed=i),
                    "objects": [
                        {
                            "bbox": tfds.features.BBox(*box),
                            "label": label,
                            "is_crowd": is_crowd,
                            "area": area,
                        }
                        for box, label, is_crowd, area in objects
                    ],
                },
            )


@pytest.fixture(scope="module")
def things(tmp_path_factory):
    builder = Things(data_dir=tmp_path_factory.mktemp("tfds"))
    builder.download_and_prepare()
    return builder


def by_height(examples):
    """In the order of `SIZES`: TFDS shuffles when it writes."""
    order = {height: i for i, (height, _) in enumerate(SIZES)}
    return sorted(examples, key=lambda each: order[each["images"].shape[0]])


def test_boxes_of_tfds(things):
    source = load(things, boxes=True)
    assert source.has_boxes and source.box_class_names == ("cup", "dog", "car")
    assert source.num_classes is None and repr(source).endswith("boxes>")
    first, second, third = by_height(source.dataset())
    assert first["boxes"].shape == (0, 4)
    assert first["box_classes"].shape == (0,)
    # Fractions of 32 x 16 and 24 x 40 pixels that floats hold exactly.
    assert second["boxes"].numpy().tolist() == [[8, 8, 12, 32]]
    assert second["box_classes"].numpy().tolist() == [2]
    assert third["boxes"].numpy().tolist() == [[0, 0, 40, 12], [10, 12, 20, 18]]
    assert third["box_classes"].numpy().tolist() == [0, 1]
    assert third["box_is_crowd"].numpy().tolist() == [True, False]
    assert not third["box_is_difficult"].numpy().any()
    assert third["box_areas"].numpy().tolist() == [33, 22]
    assert third["boxes"].dtype == tf.float32
    assert third["box_classes"].dtype == tf.int32


def test_boxes_of_tfds_are_read_on_demand(things):
    assert "boxes" not in next(iter(load(things).dataset()))
    assert "boxes" in next(iter(load(things, boxes="objects").dataset()))
    with pytest.raises(ValueError, match=r"boxes must be one of.*'objects'"):
        load(things, boxes="image")


def test_difficult_boxes_of_a_name():
    """Of which only the features are at hand here."""

    def one_object(self, split, decoders=None, **options):
        inner = dict(self.info.features["objects"].feature.items())
        values = {
            "bbox": tf.constant([[[0.0, 0.25, 0.5, 1.0]]]),
            "label": tf.constant([[4]], tf.int64),
            "is_difficult": tf.constant([[True]]),
        }
        assert set(values) <= set(inner)
        image = tf.io.encode_png(picture(16, 32)).numpy()
        return tf.data.Dataset.from_tensor_slices(
            {"image": [image], "objects": values}
        )

    with tfds.testing.mock_data(as_dataset_fn=one_object):
        source = load("voc/2007", boxes=True)
    assert source.box_class_names[4] == "bottle"
    (example,) = source.dataset()
    assert example["boxes"].numpy().tolist() == [[8, 0, 32, 8]]
    assert example["box_areas"].numpy().tolist() == [24 * 8]
    assert example["box_is_difficult"].numpy().tolist() == [True]
    assert example["box_is_crowd"].numpy().tolist() == [False]


def test_tfds_without_boxes():
    with (
        tfds.testing.mock_data(num_examples=1),
        pytest.raises(ValueError, match="no features that could be boxes"),
    ):
        load("cifar10", boxes=True)


def test_boxes_of_scenes():
    source = load("digit_scenes", count=3, boxes=True)
    assert source.has_boxes and source.box_class_names == CLASS_NAMES
    expected = digit_scenes("train", 3, boxes=True)
    for i, example in enumerate(source.dataset()):
        assert example.keys() == expected.keys()
        for key, value in example.items():
            np.testing.assert_array_equal(value, expected[key][i])
    without = load("digit_scenes", count=3)
    assert not without.has_boxes and without.box_class_names is None


def arrays(**changes):
    return {
        "images": np.zeros((2, 8, 8, 3), np.uint8),
        "boxes": np.zeros((2, 3, 4)),
        "box_classes": np.full((2, 3), -1),
        **changes,
    }


def test_boxes_of_arrays():
    source = load(arrays())
    assert source.has_boxes
    example = next(iter(source.dataset()))
    assert example["boxes"].dtype == tf.float32
    assert example["box_classes"].dtype == tf.int32
    assert "boxes" not in next(iter(load(arrays(), boxes=False).dataset()))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"boxes": np.zeros((2, 4))}, r"boxes of shape \(2, 4\)"),
        ({"boxes": np.zeros((2, 3, 5))}, r"boxes of shape \(2, 3, 5\)"),
        ({"box_classes": np.zeros((2, 2), int)}, r"box_classes of shape"),
        ({"box_classes": np.zeros((2, 3))}, "must be integers.*float64"),
        ({"box_is_crowd": np.zeros((2, 4), bool)}, "box_is_crowd of shape"),
    ],
)
def test_arrays_of_boxes_that_do_not_fit(changes, message):
    with pytest.raises(ValueError, match=message):
        load(arrays(**changes))


def test_classes_without_boxes():
    incomplete = arrays()
    del incomplete["boxes"]
    with pytest.raises(ValueError, match="must come together"):
        load(incomplete)
    with pytest.raises(ValueError, match="these arrays have no 'boxes'"):
        load({"images": incomplete["images"]}, boxes=True)


def test_files_have_no_boxes(tmp_path):
    with pytest.raises(TypeError, match="boxes: not for a folder"):
        load(tmp_path, boxes=True)


def as_one_view(example):
    """A view that is the image, and no sign of boxes."""
    assert not any("box" in key for key in example)
    images = tf.image.resize(example["images"], (8, 8))
    count = tf.shape(example["seeds"])[:-1]
    return {
        "views": (images,),
        "view_to_source": (tf.zeros(tf.concat([count, (2, 3)], 0)),),
        "source_size": tf.zeros(tf.concat([count, (2,)], 0)),
    }


@pytest.mark.parametrize("kind", ["arrays", "load", "tfds"])
def test_views_do_without_boxes(things, kind):
    data = {
        "arrays": arrays,
        "load": lambda: load(arrays()),
        "tfds": lambda: load(things, boxes=True),
    }[kind]()
    ((inputs,),) = view_batches(data, as_one_view, batch_size=2, seed=0)
    assert inputs["views"][0].shape == (2, 8, 8, 3)


def test_views_on_the_device_do_without_boxes():
    views = MultiView.scenes(size=8, on="device")
    (inputs,) = ArrayBatches(load(arrays()), views, batch_size=2, seed=0)[0]
    assert not any("box" in key for key in inputs)


def test_batches_of_one_size(things):
    batches = detection_batches(load(things, boxes=True), (48, 48), 3)
    (batch,) = (tf.nest.map_structure(np.asarray, each) for each in batches)
    assert batch["images"].dtype == np.uint8
    assert batch["images"].shape == (3, 48, 48, 3)
    assert batch["boxes"].shape == (3, 2, 4)
    counts = (batch["box_classes"] >= 0).sum(axis=1)
    assert sorted(counts) == [0, 1, 2]
    assert np.all(batch["box_classes"][counts == 0] == -1)
    one, two = (int(np.flatnonzero(counts == n)[0]) for n in (1, 2))
    # 32 x 16 becomes 48 x 24, 24 x 40 becomes 28.8 x 48, that is 29 x 48.
    assert batch["boxes"][one, 0].tolist() == [12, 12, 18, 48]
    height = 29 / 24
    np.testing.assert_allclose(
        batch["boxes"][two],
        np.array([[0, 0, 40, 12], [10, 12, 20, 18]])
        * [1.2, height, 1.2, height],
        rtol=1e-6,
    )
    np.testing.assert_allclose(
        batch["box_areas"][two], np.array([33, 22]) * 1.2 * height, rtol=1e-6
    )
    mean = picture(*SIZES[2], seed=2).mean(axis=(0, 1))
    assert np.abs(batch["images"][two, 29:] - mean).max() <= 0.51
    mean = picture(*SIZES[1], seed=1).mean(axis=(0, 1))
    assert np.abs(batch["images"][one, :, 24:] - mean).max() <= 0.51


def test_images_of_that_size_stay_as_they_are():
    scenes = digit_scenes("test", 5, boxes=True)
    batches = list(detection_batches(load(scenes), (64, 64), 2))
    assert [len(batch["images"]) for batch in batches] == [2, 2, 1]
    for key in ("images", "boxes", "box_classes"):
        found = np.concatenate([batch[key] for batch in batches])
        np.testing.assert_array_equal(found, scenes[key])


def test_batches_in_another_order_in_each_epoch():
    scenes = digit_scenes("test", 8, boxes=True)
    options = {"shuffle": 8, "seed": 1}
    batches = detection_batches(load(scenes), (64, 64), 8, **options)
    first, second = (next(iter(batches))["images"] for _ in range(2))
    assert np.any(first != second)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 64}, "size must be a pair"),
        ({"size": (0, 64)}, "size must be positive"),
        ({"batch_size": 0}, "batch_size must be an integer of at least 1"),
        ({"shuffle": -1}, "shuffle must be an integer of at least 0"),
        ({"boxes": False}, "source must have boxes"),
    ],
)
def test_bad_arguments_for_batches(options, message):
    options = {"size": (64, 64), "batch_size": 2, "boxes": True, **options}
    source = load("digit_scenes", count=2, boxes=options.pop("boxes"))
    with pytest.raises(ValueError, match=message):
        detection_batches(source, **options)
