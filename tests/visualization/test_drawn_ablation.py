"""Bars are as long as the numbers that stand at them."""

import numpy as np
import pytest

from keras_vicregl.visualization import plot_ablation

RESULTS = {
    "random": {"top1": [10.0, 12.0, 14.0], "miou": [5.0]},
    "VICReg": {"top1": [40.0, 44.0], "miou": [18.0, 18.0]},
    "VICRegL": {"top1": [50.0], "miou": [-1.0, -3.0], "time": [2.0]},
}


def bars(axes):
    return [patch.get_width() for patch in axes.patches]


def texts(axes):
    return [text.get_text() for text in axes.texts]


def test_bars_are_means_and_error_bars_standard_deviations():
    axes = plot_ablation(RESULTS).axes
    assert [panel.get_title() for panel in axes] == ["top1", "miou", "time"]
    assert bars(axes[0]) == [12.0, 42.0, 50.0]
    assert bars(axes[1]) == [5.0, 18.0, -2.0]
    assert bars(axes[2]) == [2.0]
    ends = [
        np.sort(bar.lines[2][0].get_segments()[0][:, 0])
        for bar in axes[0].containers
        if hasattr(bar, "has_xerr")
    ]
    root = 8**0.5  # of 40 and 44, with one degree of freedom
    np.testing.assert_allclose(ends, [[10, 14], [42 - root, 42 + root]])
    assert texts(axes[0]) == ["12.0 ± 2.0", "42.0 ± 2.8", "50.0"]
    assert texts(axes[2]) == ["not measured", "not measured", "2.0"]


def test_methods_stand_in_their_order_with_their_seeds():
    axes = plot_ablation(RESULTS).axes
    names = [label.get_text() for label in axes[0].get_yticklabels()]
    assert names == list(RESULTS)
    assert axes[0].get_ylim()[0] > axes[0].get_ylim()[1]  # from the top
    seeds = [
        line.get_xdata().tolist()
        for line in axes[0].lines
        if line.get_marker() == "o"
    ]
    assert seeds == [row["top1"] for row in RESULTS.values()]


def test_numbers_fit_into_their_panels():
    figure = plot_ablation(
        {f"a rather long name {i}": RESULTS["VICReg"] for i in range(4)}
    )
    figure.draw_without_rendering()
    for axes in figure.axes:
        right = axes.get_window_extent().x1
        assert all(t.get_window_extent().x1 <= right + 2 for t in axes.texts)


def test_a_baseline_is_a_line_at_its_mean():
    figure = plot_ablation(RESULTS, baseline="VICReg")
    dashed = [
        [line for line in axes.lines if line.get_linestyle() == "--"]
        for axes in figure.axes
    ]
    assert [line.get_xdata()[0] for (line,) in dashed[:2]] == [42, 18]
    assert not dashed[2]  # which it was not measured on
    colors = [patch.get_facecolor() for patch in figure.axes[0].patches]
    assert colors[0] == colors[2] != colors[1]


def test_metrics_are_chosen_and_named():
    axes = plot_ablation(
        RESULTS, metrics={"miou": "mIoU (%)", "top1": "top-1 (%)"}, decimals=0
    ).axes
    assert [panel.get_title() for panel in axes] == ["mIoU (%)", "top-1 (%)"]
    assert texts(axes[0]) == ["5", "18 ± 0", "-2 ± 1"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"results": {}}, "`results` is empty"),
        ({"results": {"a": {}}}, "`metrics` is empty"),
        ({"metrics": ["iou"]}, "of top1, miou, time; received 'iou'"),
        ({"metrics": []}, "`metrics` is empty"),
        ({"baseline": "a"}, "of random, VICReg, VICRegL; received 'a'"),
        (
            {"results": {"a": {"b": []}}},
            r"`results\['a'\]\['b'\]` must be finite values",
        ),
        ({"results": {"a": {"b": [np.nan]}}}, "must be finite"),
        ({"results": {"a": {"b": 3.0}}}, "one a seed; received 3.0"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        plot_ablation(**{"results": RESULTS, **arguments})
