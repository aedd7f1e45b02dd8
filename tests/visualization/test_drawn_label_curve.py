"""Points of the curve are the means that stand in its table."""

import numpy as np
import pytest

from keras_vicregl.visualization import plot_label_curve

RESULTS = {
    "from scratch": {100: [30.0, 34.0], 5: [20.0, 22.0, 24.0]},
    "VICRegL": {5: [25.0], 100: [35.0, 35.0]},
}


def lines_of(figure):
    return figure.axes[0].containers


def test_points_are_means_in_the_order_of_labels():
    scratch, ours = lines_of(plot_label_curve(RESULTS, ylabel="mIoU, %"))
    assert scratch.lines[0].get_ydata().tolist() == [22.0, 32.0]
    assert ours.lines[0].get_ydata().tolist() == [25.0, 35.0]


def test_error_bars_are_deviations_of_samples():
    scratch, ours = lines_of(plot_label_curve(RESULTS, ylabel="mIoU, %"))
    ends = [s[:, 1] for s in scratch.lines[2][0].get_segments()]
    root = 8**0.5  # of 30 and 34, with one degree of freedom
    np.testing.assert_allclose(ends, [[20, 24], [32 - root, 32 + root]])
    # One seed has no spread.
    ends = [s[:, 1] for s in ours.lines[2][0].get_segments()]
    np.testing.assert_allclose(ends, [[25, 25], [35, 35]])


def test_methods_stand_beside_each_other_at_ticks_of_counts():
    figure = plot_label_curve(RESULTS, ylabel="mIoU, %", xlabel="frames")
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == [
        "5",
        "100",
    ]
    assert (axes.get_xscale(), axes.get_xlabel()) == ("log", "frames")
    scratch, ours = (
        np.array(line.lines[0].get_xdata(), float) for line in lines_of(figure)
    )
    np.testing.assert_allclose(np.sqrt(scratch * ours), [5, 100])
    assert (scratch < ours).all()
    colors = {line.lines[0].get_color() for line in lines_of(figure)}
    markers = {line.lines[0].get_marker() for line in lines_of(figure)}
    assert len(colors) == len(markers) == 2


@pytest.mark.parametrize(
    ("results", "message"),
    [
        ({}, "`results` is empty"),
        ({"a": {}}, r"`results\['a'\]` is empty"),
        ({"a": {0: [1.0]}}, "number of labels above 0; received 0"),
        ({"a": {5: []}}, r"`results\['a'\]\[5\]` must be finite"),
        ({"a": {5: [np.nan]}}, "must be finite values.*nan"),
    ],
)
def test_what_cannot_be_drawn(results, message):
    with pytest.raises(ValueError, match=message):
        plot_label_curve(results, ylabel="mIoU, %")
