"""Figures show what they are given: checked on the data in their artists."""

import numpy as np
import pytest
from matplotlib.patches import ConnectionPatch

from keras_vicregl.visualization import (
    feature_map_colors,
    plot_curves,
    plot_feature_maps,
    plot_matches,
)


def test_matches_are_lines_between_the_centres_of_positions():
    views = np.zeros((1, 32, 64, 3), "uint8"), np.zeros((1, 16, 16, 3), "uint8")
    figure = plot_matches(
        views, np.array([[0, 7]]), np.array([[3, 1]]), ((2, 4), (2, 2))
    )
    lines = [a for a in figure.artists if isinstance(a, ConnectionPatch)]
    # Pixel centres are whole numbers in imshow: the middle of pixels 0 to 15
    # is at 7.5.
    assert [(line.xy1.tolist(), line.xy2.tolist()) for line in lines] == [
        ([7.5, 7.5], [11.5, 11.5]),
        ([55.5, 23.5], [11.5, 3.5]),
    ]


def test_colors_are_the_principal_components():
    rng = np.random.default_rng(0)
    basis, _ = np.linalg.qr(rng.normal(size=(6, 6)))
    scores = rng.uniform(-1, 1, (5, 8, 8, 3)) * [9.0, 3.0, 1.0]
    colors = feature_map_colors(scores @ basis[:, :3].T + 4.0)
    for component in range(3):
        correlation = np.corrcoef(
            colors[..., component].ravel(), scores[..., component].ravel()
        )[0, 1]
        # Uniform samples are not exactly uncorrelated, and 2 % are clipped.
        assert abs(correlation) > 0.98
    assert colors.min() == 0
    assert colors.max() == 1


def test_curves_hold_the_history():
    history = {
        "loss": [3.0, 2.0],
        "local_inv": [1.0, 0.5],
        "top1": [0.1, 0.2],
        "local_var": [9.0, 8.0],
    }
    figure = plot_curves(history)
    drawn = {
        line.get_label(): line.get_ydata().tolist()
        for axes in figure.axes
        for line in axes.lines
    }
    assert drawn == history
    assert len(figure.axes) == 3


def test_feature_maps_stand_below_their_images(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (3, 16, 16, 3), dtype="uint8")
    maps = rng.normal(size=(3, 4, 4, 5))
    figure = plot_feature_maps(images, {"random": maps})
    shown = [axes.images[0].get_array() for axes in figure.axes]
    np.testing.assert_array_equal(shown[:3], images)
    np.testing.assert_allclose(shown[3:], feature_map_colors(maps))
    figure.savefig(tmp_path / "figure.png")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plot_curves({}), "`history`"),
        (lambda: feature_map_colors(np.zeros((2, 4, 4, 2))), "3 channels"),
        (lambda: feature_map_colors(np.full((1, 2, 2, 3), np.nan)), "finite"),
        (
            lambda: plot_feature_maps(
                np.zeros((2, 8, 8, 3)), {"a": np.zeros((1, 2, 2, 4))}
            ),
            "1 maps for 2 images",
        ),
        (
            lambda: plot_matches(
                (np.zeros((2, 8, 8, 3)),) * 2,
                np.zeros((2, 1)),
                np.zeros((1, 1)),
                ((2, 2), (2, 2)),
            ),
            "1 neighbours",
        ),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
