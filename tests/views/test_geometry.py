"""Affine maps and positions against closed forms and reference figures."""

import pathlib

import keras
import numpy as np
import pytest
from keras import ops

from keras_vicregl.views import geometry

GOLDENS = pathlib.Path(__file__).parents[1] / "goldens"


def to_numpy(tensor):
    return ops.convert_to_numpy(tensor)


def random_maps(*shape):
    rng = np.random.default_rng(0)
    return rng.normal(0.0, 100.0, (*shape, 2, 3)).astype("float32")


def homogeneous(affine):
    last = np.broadcast_to([0.0, 0.0, 1.0], (*affine.shape[:-2], 1, 3))
    return np.concatenate([affine, last], axis=-2)


def view_map(box, size, flipped):
    """Map of a box that is cut out and then mirrored where `flipped`."""
    box_to_image = geometry.crop_map(box, size)
    return geometry.compose(
        geometry.identity_map(size),
        geometry.compose(box_to_image, geometry.flip_map(flipped)),
    )


def test_positions_of_a_crop_and_of_its_mirror_image():
    # Source 500 x 375 pixels; the box starts at row 50, column 100, and has 70
    # rows and 140 columns, so cells of a 7 x 7 map are 20 by 10 pixels.
    maps = view_map(
        np.array([[50.0, 100.0, 70.0, 140.0]] * 2),
        np.array([[375.0, 500.0]] * 2),
        np.array([False, True]),
    )
    plain, mirrored = to_numpy(geometry.positions(maps, 7, 7))
    # 1e-4: a few units in the last place of a float32 of a few hundred.
    np.testing.assert_allclose(plain[0], [110, 55], atol=1e-4)
    np.testing.assert_allclose(plain[6], [230, 55], atol=1e-4)
    np.testing.assert_allclose(plain[-1], [230, 115], atol=1e-4)
    np.testing.assert_allclose(mirrored[0], [230, 55], atol=1e-4)
    np.testing.assert_allclose(mirrored[-1], [110, 115], atol=1e-4)
    assert plain.dtype == np.float32


@pytest.mark.parametrize("case", ["f_flip", "a_2v_default", "b_2p6_default"])
def test_positions_match_the_reference_figures_of_the_authors_release(case):
    figures = np.load(GOLDENS / f"{case}.npz")
    view = 0
    while f"crop_{view}" in figures:
        crop = figures[f"crop_{view}"].astype("float64")
        rows_and_columns = figures[f"loc_{view}"]
        batch, height, width, _ = rows_and_columns.shape
        if f"flip_{view}" in figures:
            flipped = figures[f"flip_{view}"].astype(bool)
        else:
            flipped = np.zeros(batch, bool)
        maps = view_map(crop[:, :4], crop[:, 4:], flipped)
        found = to_numpy(geometry.positions(maps, height, width))
        expected = rows_and_columns.reshape(batch, -1, 2)[..., ::-1]
        # 2e-4: the figures were themselves summed up in float32.
        np.testing.assert_allclose(found, expected, atol=2e-4)
        view += 1
    assert view in (2, 8)


@pytest.mark.parametrize("leading", [(), (5,), (2, 3)])
def test_positions_are_in_raster_order_for_any_map(leading):
    maps = random_maps(*leading)
    found = to_numpy(geometry.positions(maps, 3, 5))
    assert found.shape == (*leading, 15, 2)
    for row in range(3):
        for column in range(5):
            uv1 = np.array([(column + 0.5) / 5, (row + 0.5) / 3, 1.0])
            # 1e-4: float32 sums of three numbers of a few hundred.
            np.testing.assert_allclose(
                found[..., row * 5 + column, :],
                maps.astype("float64") @ uv1,
                atol=1e-4,
            )


def test_positions_are_float32_for_maps_of_another_dtype():
    maps = ops.cast(np.array([[[512.0, 0, 64.0], [0, 256.0, 32.0]]]), "float16")
    found = geometry.positions(maps, 1, 3)
    assert keras.backend.standardize_dtype(found.dtype) == "float32"
    # 1e-4: float32; float16 would be off by 0.1 here.
    np.testing.assert_allclose(
        to_numpy(found)[0, :, 0], 64 + 512 * np.array([1, 3, 5]) / 6, atol=1e-4
    )


def test_positions_work_in_a_compiled_model():
    maps = keras.Input((2, 3))
    model = keras.Model(
        maps,
        keras.layers.Lambda(
            lambda m: geometry.positions(m, 2, 2), output_shape=(4, 2)
        )(maps),
    )
    value = random_maps(4)
    found = model.predict(value, verbose=0)
    # 1e-4: float32 sums of three numbers of a few hundred.
    np.testing.assert_allclose(
        found, to_numpy(geometry.positions(value, 2, 2)), atol=1e-4
    )


def test_compose_is_the_product_of_homogeneous_matrices():
    outer, inner = random_maps(4, 3), random_maps(3)
    product = homogeneous(outer.astype("float64")) @ homogeneous(inner)
    # Relative to the largest entries, of the order of 1e5.
    np.testing.assert_allclose(
        to_numpy(geometry.compose(outer, inner)),
        product[..., :2, :],
        atol=1e-6 * np.abs(product).max(),
    )


def test_two_flips_are_none():
    twice = geometry.compose(geometry.flip_map(True), geometry.flip_map(True))
    np.testing.assert_array_equal(to_numpy(twice), [[1, 0, 0], [0, 1, 0]])


def test_a_crop_of_the_whole_image_changes_nothing():
    size = np.array([60.0, 96.0])
    whole = geometry.crop_map(np.array([0.0, 0.0, 60.0, 96.0]), size)
    np.testing.assert_array_equal(to_numpy(whole), [[1, 0, 0], [0, 1, 0]])
    np.testing.assert_array_equal(
        to_numpy(geometry.identity_map(size)), [[96, 0, 0], [0, 60, 0]]
    )


@pytest.mark.parametrize("shape", [(3, 2), (2, 2), (3,), (4, 3, 3)])
def test_maps_of_another_shape_are_refused(shape):
    wrong = np.zeros(shape, "float32")
    right = np.zeros((2, 3), "float32")
    with pytest.raises(ValueError, match=r"view_to_source must hold affine"):
        geometry.positions(wrong, 7, 7)
    with pytest.raises(ValueError, match=r"outer must hold affine maps"):
        geometry.compose(wrong, right)
    with pytest.raises(ValueError, match=r"inner must hold affine maps"):
        geometry.compose(right, wrong)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (0, "at least 1. Got 0"),
        (-2, "at least 1. Got -2"),
        (None, "known when the model is traced. Got None"),
        (2.5, "must be an integer.*Got 2.5"),
        (True, "must be an integer.*Got True"),
    ],
)
def test_sizes_of_feature_maps_are_checked(value, message):
    maps = np.zeros((1, 2, 3), "float32")
    message = message.replace("must be an", "of the feature map must be an")
    with pytest.raises(ValueError, match=rf"height.*{message}"):
        geometry.positions(maps, value, 7)
    with pytest.raises(ValueError, match=rf"width.*{message}"):
        geometry.positions(maps, 7, value)


def test_boxes_and_sizes_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"size must have shape \(\.\.\., 2\)"):
        geometry.identity_map(np.zeros((5, 3)))
    with pytest.raises(ValueError, match=r"box must have shape \(\.\.\., 4\)"):
        geometry.crop_map(np.zeros(3), np.ones(2))
