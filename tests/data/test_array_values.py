"""What arrays may hold, and what is said of those that are hardly meant so."""

import types

import numpy as np
import pytest

from keras_vicregl.data import ImageSource, channel_statistics, load
from keras_vicregl.data.decoding.forms import as_image
from keras_vicregl.views import MultiView, ViewGroup

IMAGES = np.arange(4 * 16 * 16 * 3).reshape(4, 16, 16, 3).astype("uint8")
MASKS = np.zeros((4, 16, 16, 1), "uint8")
# Each would be another label as uint8: 44, 255, 1.
WRONG = [(300, "int64"), (-1, "int32"), (1.7, "float32")]


@pytest.mark.parametrize(("label", "dtype"), WRONG)
def test_labels_of_masks_do_not_wrap(label, dtype):
    masks = np.full(MASKS.shape, label, dtype)
    told = r"segmentation_masks must be labels of 0 to 255"
    with pytest.raises(ValueError, match=told):
        load({"images": IMAGES, "segmentation_masks": masks})

    class Own(ImageSource):
        def __init__(self):
            super().__init__("own", 4, has_masks=True)

        def example(self, index):
            return {"images": IMAGES[index], "segmentation_masks": masks[index]}

    with pytest.raises(ValueError, match=r"'segmentation_masks' of `example`"):
        next(Own().examples_in_python())
    tf = pytest.importorskip("tensorflow")
    views = MultiView([ViewGroup(8, 2)], return_masks=True, seed=0)
    batch = {"images": IMAGES, "segmentation_masks": masks}
    with pytest.raises(ValueError, match="must be labels of 0 to 255"):
        views(batch)
    dataset = tf.data.Dataset.from_tensors(batch)
    errors = (ValueError, tf.errors.InvalidArgumentError)
    with pytest.raises(errors, match="must be labels of 0 to 255"):
        next(iter(dataset.map(views)))


@pytest.mark.parametrize("dtype", ["int64", "uint16", "bool"])
def test_labels_of_masks_that_fit_are_as_they_are(dtype):
    masks = np.full(MASKS.shape, 1, dtype)
    source = load({"images": IMAGES, "segmentation_masks": masks})
    found = source.example(0)["segmentation_masks"]
    np.testing.assert_array_equal(found, masks[0])
    pytest.importorskip("tensorflow")
    views = MultiView([ViewGroup(8, 2)], return_masks=True, seed=0)
    outputs = views({"images": IMAGES, "segmentation_masks": masks})
    for each in outputs["view_masks"]:
        assert np.asarray(each).dtype == "uint8"
        assert (np.asarray(each) == 1).all()


def test_labels_of_ones_own_source_are_integers():
    class Own(ImageSource):
        def __init__(self):
            super().__init__("own", 4, num_classes=2)

        def example(self, index):
            return {"images": IMAGES[index], "labels": 1.7}

    with pytest.raises(ValueError, match=r"'labels' of `example` must be an i"):
        next(Own().examples_in_python())


@pytest.mark.parametrize("shape", [(13, 32, 32), (200, 145, 145), (4, 12, 12)])
def test_axes_that_nothing_tells_are_told_of(shape):
    told = rf"taken for {shape[0]} rows of {shape[1]} pixels of {shape[2]} chan"
    with pytest.warns(UserWarning, match=told):
        assert load(np.zeros((2, *shape), "float32")).channels == shape[2]
    with pytest.warns(UserWarning, match=told):
        assert as_image(np.zeros(shape, "float32"), "it").shape == shape


@pytest.mark.parametrize("shape", [(32, 32, 32), (20, 3, 3), (32, 13, 32)])
def test_usual_axes_are_not(shape):
    assert load(np.zeros((2, *shape), "float32")).channels == shape[2]


@pytest.mark.parametrize(
    ("images", "told"),
    [
        (IMAGES[0], r"Of one image pass image\[None\]; of images of one"),
        (IMAGES[..., 0], r"\. Of images of one channel pass images\[\.\.\., N"),
        (IMAGES > 3, r"Pass images.astype\('uint8'\) \* 255"),
        (IMAGES.astype("object"), r"Pass np.stack\(images\)"),
    ],
    ids=["one", "grey", "bool", "objects"],
)
def test_the_way_to_images_is_said(images, told):
    with pytest.raises(ValueError, match=told):
        load(images)


def test_statistics_of_files_raise_what_they_say(tmp_path):
    """Where TensorFlow is installed, too."""
    for number in range(3):
        image = np.ones((8, 9), "float32")
        image[0] = np.nan if number == 1 else 0
        np.save(tmp_path / f"{number}.npy", image)
    with pytest.raises(ValueError, match=r"1\.npy.*9 of 72 values are NaN"):
        channel_statistics(load(tmp_path))
    with pytest.warns(UserWarning, match="1 of 3 images"):
        found = channel_statistics(load(tmp_path, on_error="skip"))
    assert found.examples == 2


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ([IMAGES[0], IMAGES[1]], r"pass np\.stack\(images\)"),
        (
            types.SimpleNamespace(shape=IMAGES.shape),
            r"np\.asarray",
        ),
        (object(), "derived from keras_vicregl.data.ImageSource"),
        (None, "Received: NoneType"),
    ],
    ids=["list", "tensor", "object", "none"],
)
def test_what_else_holds_images(source, told):
    with pytest.raises(TypeError, match=told):
        load(source)
