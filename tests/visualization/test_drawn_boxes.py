"""Boxes are where they are said to be."""

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from keras_vicregl.visualization import class_colors, plot_boxes

IMAGES = np.zeros((2, 32, 48, 3), "uint8")
LABELS = {
    "boxes": np.array([[[0, 0, 10, 20], [-1] * 4], [[30, 4, 48, 32]] * 2]),
    "box_classes": np.array([[1, -1], [0, 2]]),
}
PREDICTIONS = {
    "boxes": [[[1, 2, 12, 20], [0, 0, 5, 5]], np.zeros((0, 4))],
    "box_classes": [[1, 2], []],
    "scores": [[0.9, 0.4], []],
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


def test_a_dictionary_an_image_is_drawn_the_same():
    """As labels are padded in batches, and what a detector returns is not."""
    labels, predictions = (
        [{key: of_all[key][i] for key in of_all} for i in range(2)]
        for of_all in (LABELS, PREDICTIONS)
    )
    one, other = (
        plot_boxes(IMAGES, *given).axes
        for given in ((LABELS, PREDICTIONS), (labels, predictions))
    )
    for first, second in zip(one, other, strict=True):
        assert [text.get_text() for text in first.texts] == [
            text.get_text() for text in second.texts
        ]
        for old, new in zip(first.patches, second.patches, strict=True):
            assert old.get_bbox().extents.tolist() == (
                new.get_bbox().extents.tolist()
            )


def test_bad_dictionaries_of_images():
    with pytest.raises(ValueError, match="`predictions` must hold one an"):
        plot_boxes(IMAGES, LABELS, [{"boxes": []}])
    bad = [{"boxes": [], "box_classes": []}] * 2
    with pytest.raises(ValueError, match=r"`predictions\[0\]` must have 'sc"):
        plot_boxes(IMAGES, LABELS, bad)


def test_images_without_boxes_are_shown():
    none = {"boxes": [[], []], "box_classes": [[], []]}
    figure = plot_boxes(IMAGES, none)
    assert [len(axes.images) for axes in figure.axes] == [1, 1]
    assert not figure.axes[0].patches


@pytest.mark.parametrize(
    ("labels", "predictions", "message"),
    [
        ({"boxes": []}, None, "`labels\\['boxes'\\]` must hold one an image"),
        ({"box_classes": None}, None, "`labels` must have 'box_classes'"),
        ({"box_classes": [[1], [1]]}, None, "received 2 boxes, 1 classes"),
        ({"box_classes": [[1, 3], [0, 0]]}, None, "there is a class 3"),
        ({}, {"scores": None}, "must have 'scores'"),
        ({}, {"scores": [[0.1], []]}, "2 classes, 1 scores"),
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
