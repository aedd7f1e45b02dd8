"""Masked arrays of NumPy, as readers of rasters give: no mask is lost."""

import numpy as np
import pytest

from keras_vicregl import backbone
from keras_vicregl.data import ImageSource, channel_statistics, load
from keras_vicregl.evaluation import extract_features
from keras_vicregl.views import MultiView

SAID = r"must have no masked values, and 1 of \d+ are: fill them"


def of(shape, dtype="float32", masked=1):
    """Ones, of which the first may be masked."""
    mask = np.zeros(shape, bool)
    mask.flat[:masked] = True
    return np.ma.masked_array(np.ones(shape, dtype), mask)


def images(**options):
    return of((3, 8, 8, 2), **options)


@pytest.mark.parametrize("name", ["images", "labels", "segmentation_masks"])
def test_arrays(name):
    arrays = {
        "images": np.ones((3, 8, 8, 2), "float32"),
        "labels": np.zeros(3, int),
        "segmentation_masks": np.zeros((3, 8, 8, 1), "uint8"),
    }
    arrays[name] = of(arrays[name].shape, arrays[name].dtype)
    with pytest.raises(ValueError, match=f"^{name} {SAID}"):
        load(arrays)


def test_views_by_hand():
    views = MultiView.for_channels(2, value_range=(0, 2), on="device")
    seeds = np.zeros((3, 2), int)
    for array in (images(), list(images())):
        with pytest.raises(ValueError, match=f"^images {SAID}"):
            views.inputs(array, seeds)
    pytest.importorskip("tensorflow")
    by_keras_cv = MultiView.for_channels(2, value_range=(0, 2))
    for given in (images(), {"images": images()}):
        with pytest.raises(ValueError, match=f"^images {SAID}"):
            by_keras_cv(given)
    empty = np.full((3, 8, 8, 2), np.nan, "float32")
    for array in (empty, list(empty)):
        with pytest.raises(
            ValueError, match=r"(128 of 128|384 of 384) values are NaN"
        ):
            views.inputs(array, seeds)


def test_nothing_is_masked():
    """As where a raster has no missing values."""
    source = load(images(masked=0))
    assert len(source) == 3
    np.testing.assert_array_equal(source.example(0)["images"], 1)


def test_what_a_function_reads(tmp_path):
    for number in range(3):
        (tmp_path / f"{number}.tif").touch()
    with pytest.raises(ValueError, match=f"`read` returns {SAID}"):
        load(tmp_path, read=lambda path: of((8, 8, 2)))


def test_a_source_of_ones_own():
    class Rasters(ImageSource):
        def example(self, index):
            return {"images": of((8, 8, 2))}

    source = Rasters("rasters", 3)
    with pytest.raises(ValueError, match=f"'images' of `example` {SAID}"):
        next(source.examples_in_python())


def test_statistics():
    with pytest.raises(ValueError, match=f"^images {SAID}"):
        channel_statistics(images())


@pytest.mark.parametrize("form", [dict, list])
def test_features(form):
    network = backbone(
        "small_resnet", widths=(2, 2, 2, 2), input_shape=(None, None, 2)
    )
    data = {"images": images()}
    with pytest.raises(ValueError, match=f"^images {SAID}"):
        extract_features(
            network, data if form is dict else [data], preprocess=None
        )
