"""Boxes are where they are said to be."""

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from keras_vicregl.visualization import class_colors, plot_boxes

IMAGES = np.zeros((2, 32, 48, 3), "uint8")
LABELS = {
    "boxes": np.array([[[0, 0, 10, 20], [-1] * 4], [[30, 4, 48, 32]] * 2]),
    "classes": np.array([[1, -1], [0, 2]]),
}
PREDICTIONS = {
    "boxes": [[[1, 2, 12, 20], [0, 0, 5, 5]], np.zeros((0, 4))],
    "classes": [[1, 2], []],
    "confidence": [[0.9, 0.4], []],
}


def test_boxes_names_and_scores():
    figure = plot_boxes(
        IMAGES, LABELS, PREDICTIONS, class_names=["cat", "dog", "cow"]
    )
    first, second = figure.axes
    # Pixels are centred on whole numbers: the edge of the image is at -0.5.
    bounds = [patch.get_bbox().extents.tolist() for patch in first.patches]
    assert bounds == [[-0.5, -0.5, 9.5, 19.5], [0.5, 1.5, 11.5, 19.5]]
    assert [patch.get_linestyle() for patch in first.patches] == ["--", "-"]
    np.testing.assert_allclose(
        [to_rgb(patch.get_edgecolor()) for patch in first.patches],
        [[1, 1, 1], class_colors(2)[1] / 255],
    )
    assert [text.get_text() for text in first.texts] == ["dog", "dog 0.90"]
    assert [text.get_text() for text in second.texts] == ["cat", "cow"]
    # Text at the right of an image grows to its left.
    assert first.texts[0].get_position() == (-0.5, 19.5)
    assert second.texts[0].get_position() == (47.5, 31.5)
    assert second.texts[0].get_ha() == "right"


def test_scores_below_the_threshold_are_not_drawn():
    drawn = plot_boxes(IMAGES, LABELS, PREDICTIONS, min_score=0.4).axes[0]
    # The surest come last, over the others.
    assert [text.get_text() for text in drawn.texts] == [
        "1",
        "2 0.40",
        "1 0.90",
    ]
    drawn = plot_boxes(IMAGES, LABELS, PREDICTIONS, min_score=0.95).axes[0]
    assert [text.get_text() for text in drawn.texts] == ["1"]


def test_images_without_boxes_are_shown():
    none = {"boxes": [[], []], "classes": [[], []]}
    figure = plot_boxes(IMAGES, none)
    assert [len(axes.images) for axes in figure.axes] == [1, 1]
    assert not figure.axes[0].patches


@pytest.mark.parametrize(
    ("labels", "predictions", "message"),
    [
        ({"boxes": []}, None, "`labels\\['boxes'\\]` must hold one an image"),
        ({"classes": None}, None, "`labels` must have 'classes'"),
        ({"classes": [[1], [1]]}, None, "received 2 boxes, 1 classes"),
        ({"classes": [[1, 3], [0, 0]]}, None, "there is a class 3"),
        ({}, {"confidence": None}, "must have 'confidence'"),
        ({}, {"confidence": [[0.1], []]}, "2 classes, 1 scores"),
        ({}, {"boxes": [[[5, 5, 4, 6]] * 2, []]}, "left, top, right, bottom"),
        ({}, {"boxes": [[[0, 0, 4, np.nan]] * 2, []]}, "must be finite"),
    ],
)
def test_bad_input(labels, predictions, message):
    given = [
        {k: v for k, v in {**boxes, **(change or {})}.items() if v is not None}
        for boxes, change in ((LABELS, labels), (PREDICTIONS, predictions))
    ]
    with pytest.raises(ValueError, match=message):
        plot_boxes(IMAGES, *given, class_names=["cat", "dog", "cow"])
