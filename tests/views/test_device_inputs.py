"""Batches of one's own images for views that a model makes."""

import pickle

import keras
import numpy as np
import pytest
from backend_tools import value

from keras_vicregl.views import MultiView, ViewGroup
from keras_vicregl.views.rendering.device import device_views

VIEWS = MultiView([ViewGroup(12, 2), ViewGroup((8, 10), 1)], on="device")
SIZES = [(20, 26), (24, 18), (20, 26), (9, 30)]
SEEDS = np.stack([np.full(4, 3), np.arange(4)], axis=-1)
CANVAS = (24, 30)


def images_of(sizes):
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (*size, 3), "uint8") for size in sizes]


def leaves(structure):
    return keras.tree.flatten(structure)


def assert_same(one, other):
    keras.tree.assert_same_structure(one, other)
    for a, b in zip(leaves(one), leaves(other), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def test_a_batch_of_one_size_has_the_parameters_of_its_seeds():
    images = np.stack(images_of([(20, 26)] * 4))
    x, labels = VIEWS.inputs(images, SEEDS, labels=[3, -1, 0, 2])
    assert labels.dtype == np.int32
    assert x["images"] is images
    assert_same(x["parameters"], VIEWS.parameters(SEEDS, (20, 26)))
    np.testing.assert_array_equal(x["source_size"], [[20, 26]] * 4)
    (listed,) = VIEWS.inputs(list(images), SEEDS)
    assert_same(listed, x)


def test_an_image_gets_what_it_gets_alone():
    images = images_of(SIZES)
    (x,) = VIEWS.inputs(images, SEEDS, canvas=CANVAS)
    np.testing.assert_array_equal(x["source_size"], SIZES)
    for row, image in enumerate(images):
        (alone,) = VIEWS.inputs(image[None], SEEDS[row : row + 1])
        height, width = image.shape[:2]
        np.testing.assert_array_equal(x["images"][row, :height, :width], image)
        mine = keras.tree.map_structure(
            lambda values, row=row: values[row : row + 1], x["parameters"]
        )
        assert_same(mine, alone["parameters"])


def rendered(x):
    def views_of(images, *flat):
        drawn = keras.tree.pack_sequence_as(x["parameters"], flat)
        return device_views(VIEWS, images, drawn)[0]

    return value(views_of, [x["images"], *leaves(x["parameters"])])


def test_views_do_not_see_the_canvas():
    images = images_of(SIZES)
    (x,) = VIEWS.inputs(images, SEEDS, canvas=CANVAS)
    # Full of what must not be seen.
    for row, (height, width) in enumerate(SIZES):
        x["images"][row, height:] = 255
        x["images"][row, :, width:] = 255
    together = rendered(x)
    for row in (0, 3):
        (alone,) = VIEWS.inputs(images[row][None], SEEDS[row : row + 1])
        for view, expected in zip(together, rendered(alone), strict=True):
            # Sums of float32 over a longer axis, of weights that are zero
            # there: 1e-4 of normalised values is 0.006 of 255.
            np.testing.assert_allclose(view[row], expected[0], atol=1e-4)


def test_images_may_be_parts_of_larger_ones():
    images = np.stack(images_of([(20, 26)] * 4))
    given = np.tile(np.float32([[52, 0, 7], [0, 40, 5]]), (4, 1, 1))
    source = np.tile([60, 80], (4, 1))
    (x,) = VIEWS.inputs(images, SEEDS, view_to_source=given, source_size=source)
    (plain,) = VIEWS.inputs(images, SEEDS)
    np.testing.assert_array_equal(x["source_size"], source)
    for ours, theirs in zip(x["parameters"], plain["parameters"], strict=True):
        # Twice as large, and five rows and seven columns further on.
        expected = 2 * theirs["view_to_source"]
        expected[..., 2] += [7, 5]
        # 1e-5: one more rounding of float32 of up to 80 px.
        np.testing.assert_allclose(
            ours["view_to_source"], expected, rtol=0, atol=1e-5
        )
        np.testing.assert_array_equal(ours["boxes"], theirs["boxes"])


def test_a_recipe_goes_to_workers_that_are_not_forked():
    """Those that are: `test_numpy_geometry.py`."""
    images = images_of(SIZES)
    expected = VIEWS.inputs(images, SEEDS, canvas=CANVAS)
    pickled = pickle.loads(pickle.dumps(VIEWS))
    assert_same(pickled.inputs(images, SEEDS, canvas=CANVAS), expected)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"images": images_of(SIZES)},
            "need a canvas=.*of 9 x 18 to 24 x 30 p",
        ),
        (
            {"images": np.zeros((20, 26, 3), "uint8")},
            r"array of shape \(20, 26",
        ),
        ({"images": "photographs/"}, "images must be one array.* Got str"),
        ({"images": []}, "at least one"),
        ({"images": np.zeros((4, 8, 8, 3))}, "uint8 .*Got image 0: float64"),
        ({"images": np.zeros((4, 3, 8, 8), "uint8")}, r"shape \(3, 8, 8\)"),
        ({"canvas": (19, 26)}, r"canvas=\(19, 26\) is too small for image 0"),
        ({"canvas": 32}, "canvas must be a pair .*Got 32"),
        ({"canvas": (32, 0)}, r"canvas must be a pair .*Got \(32, 0\)"),
        ({"seeds": np.arange(4)}, r"seeds must be two .*shape \(4,\)"),
        ({"seeds": SEEDS[:3]}, r"\(4, 2\). Got int64 of shape \(3, 2\)"),
        ({"seeds": SEEDS / 2}, "seeds must be .*float64"),
        ({"labels": np.zeros((4, 10))}, r"labels must be .*\(4, 10\)"),
        ({"labels": [0.5] * 4}, "labels must be an integer.*float64"),
        ({"view_to_source": np.zeros((4, 2, 3))}, "Give both or neither"),
        (
            {"view_to_source": np.eye(3), "source_size": SIZES},
            r"view_to_source must be a map .*\(4, 2, 3\). Got shape \(3, 3\)",
        ),
    ],
)
def test_what_is_wrong_is_said(changes, message):
    arguments = {"images": np.zeros((4, 20, 26, 3), "uint8"), "seeds": SEEDS}
    with pytest.raises(ValueError, match=message):
        VIEWS.inputs(**{**arguments, **changes})


def test_views_of_the_host_need_no_inputs():
    with pytest.raises(ValueError, match=r"on='host'.*makes the views itself"):
        MultiView.scenes().inputs(np.zeros((1, 8, 8, 3), "uint8"), [[0, 0]])
