"""Masks in the colours of their classes."""

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from keras_vicregl.visualization import (
    class_colors,
    plot_segmentations,
    segmentation_colors,
)

MASKS = np.array([[[0, 1], [2, 255]]], "uint8")
IMAGES = np.full((1, 4, 4, 3), 7, "uint8")


def test_the_palette_never_changes():
    colors = class_colors(256)
    for count in (1, 8, 24, 25, 150):
        np.testing.assert_array_equal(class_colors(count), colors[:count])
    # Grey, then Okabe and Ito's orange and sky blue.
    expected = [[59, 59, 59], [230, 159, 0], [86, 180, 233]]
    assert colors[:3].tolist() == expected
    assert len({tuple(color) for color in colors[:24].tolist()}) == 24
    # Pascal VOC's colour of class 25: bits 0, 3 and 4.
    assert colors[25].tolist() == [192, 64, 0]
    for count in (0, 257):
        with pytest.raises(ValueError, match="between 1 and 256"):
            class_colors(count)


def test_masks_have_the_colours_of_the_palette():
    drawn = segmentation_colors(MASKS, 3)
    np.testing.assert_array_equal(
        drawn[0, [0, 0, 1], [0, 1, 0]], class_colors(3)
    )
    stripes = segmentation_colors(np.full((4, 4), 255), 1)
    assert {tuple(c) for c in stripes.reshape(-1, 3).tolist()} == {
        (255, 255, 255),
        (150, 150, 150),
    }
    np.testing.assert_array_equal(stripes[0, 1:], stripes[1, :-1])  # diagonal
    # Where nothing is ignored, 255 is a class.
    colors = segmentation_colors(np.array([[255]]), 256, ignore_label=None)
    np.testing.assert_array_equal(colors[0], class_colors(256)[255:])


@pytest.mark.parametrize("axis", [False, True])
def test_a_row_an_image_and_a_column_a_method(axis):
    predictions = {
        "VICReg": np.array([[[1]]]),
        "image": np.array([[[2, 2, 0], [0, 0, 3]]]),
    }
    if axis:
        predictions = {k: v[..., None] for k, v in predictions.items()}
    names = ["background", "cat", "dog", "cow", "fox"]
    figure = plot_segmentations(
        IMAGES, MASKS[..., None], predictions, class_names=names
    )
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["image", "ground truth", "VICReg", "image"]
    shown = [axes.images[0].get_array() for axes in figure.axes]
    np.testing.assert_array_equal(shown[0], IMAGES[0])
    np.testing.assert_array_equal(shown[1], segmentation_colors(MASKS, 5)[0])
    np.testing.assert_array_equal(shown[2], class_colors(2)[1:][None])
    np.testing.assert_array_equal(
        shown[3], class_colors(4)[[[2, 2, 0], [0, 0, 3]]]
    )
    (legend,) = figure.legends
    texts = [text.get_text() for text in legend.get_texts()]
    assert texts == ["background", "cat", "dog", "cow", "ignored"]
    np.testing.assert_allclose(
        [to_rgb(patch.get_facecolor()) for patch in legend.get_patches()[:4]],
        class_colors(4) / 255,
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"masks": MASKS[0]}, r"`masks` must be integers"),
        ({"masks": MASKS / 2}, "float64"),
        (
            {"predictions": {"a": np.zeros((2, 4, 4), int)}},
            r"`predictions\['a'\]` must be integers",
        ),
        ({"class_names": ["a", "b"]}, "there is a class 2"),
        ({"ignore_label": None, "class_names": "abc"}, "a class 255"),
        ({"predictions": {"a": MASKS.astype(int) - 1}}, "from -1 to"),
        ({"images": IMAGES[0]}, "`images` must be"),
    ],
)
def test_bad_input(change, message):
    arguments = {"images": IMAGES, "masks": MASKS, "predictions": {}, **change}
    with pytest.raises(ValueError, match=message):
        plot_segmentations(**arguments)
