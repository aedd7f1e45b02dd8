"""What all pictures share: files, pixels, width, and no global state."""

import sys

import numpy as np
import pytest

from keras_vicregl.visualization import (
    band_colors,
    plot_ablation,
    plot_curves,
    plot_feature_maps,
    plot_matches,
    plot_segmentations,
    save,
)
from keras_vicregl.visualization._figures import displayable


def test_files_are_whole(tmp_path):
    figure = plot_curves({"loss": [3.0, 2.0]})
    path = tmp_path / "new" / "curves.png"
    save(figure, path)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert [p.name for p in path.parent.iterdir()] == ["curves.png"]
    before = path.read_bytes()
    figure.savefig = lambda file, format: file.write(b"half") / 0
    with pytest.raises(ZeroDivisionError):
        save(figure, path)
    assert path.read_bytes() == before
    with pytest.raises(ValueError, match=r"must end in one of .*png"):
        save(figure, tmp_path / "curves.jpeg2")


def test_pictures_are_as_wide_as_a_page():
    for figure in (
        plot_curves({"loss": [1.0]}),
        plot_ablation({"a": {"b": [1.0]}}),
    ):
        assert figure.get_figwidth() * figure.dpi == pytest.approx(804)


def test_pyplot_is_left_alone(monkeypatch, tmp_path):
    # Its import now fails.
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    save(plot_curves({"loss": [1.0]}), tmp_path / "curves.png")
    save(plot_ablation({"a": {"b": [1.0]}}), tmp_path / "ablation.png")


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        (np.uint8([0, 1]), [0, 1]),
        (np.float32([0, 0.5, 1]), [0, 128, 255]),
        (np.float32([0, 0.6, 254.4]), [0, 1, 254]),
        (np.float32([-2, 0, 2]), [0, 128, 255]),
        (np.int64([0, 1]), [0, 1]),
        (np.float32([-1, -1]), [0, 0]),
    ],
)
def test_pixels_of_any_range(images, expected):
    assert displayable(images).tolist() == expected


def test_bands_of_any_values_can_be_seen():
    rng = np.random.default_rng(0)
    images = rng.normal([0, 900, 5, 1e-4], [1, 300, 0.1, 1e-5], (2, 9, 9, 4))
    images[0, 0, 0, 3] = np.nan
    colors = band_colors(images, (3, 1, 0), percentiles=(10, 90))
    for band, channel in enumerate((3, 1, 0)):
        values = images[..., channel]
        low, high = np.nanpercentile(values, (10, 90))
        expected = 255 * np.clip((values - low) / (high - low), 0, 1)
        expected = np.nan_to_num(expected)
        np.testing.assert_allclose(colors[..., band], expected, atol=0.51)
    gray = band_colors(images[..., :1])
    assert gray.shape == (2, 9, 9, 3) and (np.ptp(gray, axis=-1) == 0).all()
    np.testing.assert_array_equal(
        band_colors(images, 1), band_colors(images[..., 1:2])
    )


@pytest.mark.parametrize("bands", [None, (0, 1), (0, 1, 4), (0, 1, -1), 2.5])
def test_bands_that_images_do_not_have_are_refused(bands):
    with pytest.raises(ValueError, match=r"`bands` must.*\(2, 9, 9, 4\)"):
        band_colors(np.ones((2, 9, 9, 4)), bands)


def test_pictures_are_of_bands_too():
    images = np.random.default_rng(0).normal(0, 9, (2, 8, 8, 5))
    masks = np.zeros((2, 8, 8), int)
    with pytest.raises(ValueError, match=r"which three of their 5 channels"):
        plot_segmentations(images, masks, {"a": masks})
    figure = plot_segmentations(images, masks, {"a": masks}, bands=(4, 2, 0))
    shown = figure.axes[0].images[0].get_array()
    np.testing.assert_array_equal(shown, band_colors(images, (4, 2, 0))[0])
    plot_feature_maps(images[..., :1], {"a": images[:, :4, :4]})
    pairs = np.array([[0, 3]] * 2), np.array([[1, 2]] * 2)
    views = (images, images)
    plot_matches(views, *pairs, ((2, 2), (2, 2)), bands=1)
