"""Curves hold the histories that they are given."""

import json
import math

import numpy as np
import pytest

from keras_vicregl.visualization import plot_curves, read_histories

HISTORY = {
    "loss": [3.0, 2.0],
    "local_inv": [1.0, 0.5],
    "top1": [0.1, 0.2],
    "local_var": [9.0, 8.0],
}


def panels(figure):
    return {axes.get_title(): axes for axes in figure.axes}


def test_a_run_has_its_terms_in_common_panels():
    figure = plot_curves(HISTORY)
    drawn = {
        line.get_label(): line.get_ydata().tolist()
        for axes in figure.axes
        for line in axes.lines
    }
    assert drawn == HISTORY
    assert list(panels(figure)) == ["loss", "top1", "local terms"]


def test_runs_are_their_means_and_spreads():
    runs = {
        "VICReg": {"loss": [4.0, 3.0]},
        "both": [
            {"loss": [1.0, 2.0], "local_inv": [5.0, 5.0]},
            {"loss": [3.0, 2.0, math.nan]},
            {"loss": [2.0, 5.0, 7.0]},
        ],
    }
    figure = plot_curves(runs)
    axes = panels(figure)
    assert list(axes) == ["loss", "local_inv"]
    vicreg, both = axes["loss"].lines
    assert vicreg.get_ydata().tolist() == [4.0, 3.0]
    np.testing.assert_allclose(both.get_ydata(), [2.0, 3.0, 7.0])
    assert vicreg.get_color() != both.get_color()
    (band,) = axes["loss"].collections
    # Standard deviations 1, sqrt(3) and, of a single seed, none.
    np.testing.assert_allclose(
        sorted({tuple(v) for v in band.get_paths()[0].vertices}),
        sorted({(1, 1), (1, 3), (3, 7)} | {(2, 3 - 3**0.5), (2, 3 + 3**0.5)}),
    )
    assert [line.get_label() for line in axes["local_inv"].lines] == ["both"]
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["VICReg", "both"]


def test_more_runs_than_colours_are_dashed():
    figure = plot_curves({str(i): {"loss": [1.0]} for i in range(9)})
    styles = [
        (line.get_color(), line.get_linestyle())
        for line in figure.axes[0].lines
    ]
    assert len(set(styles)) == 9


def test_logs_of_trainings_become_histories(tmp_path):
    for seed in (0, 1):
        (tmp_path / str(seed)).mkdir()
        (tmp_path / str(seed) / "epochs.jsonl").write_text(
            "".join(
                json.dumps({"epoch": e, "step": 10 * e, "loss": seed + e})
                + "\n"
                for e in (1, 2)
            )
        )
    runs = {
        "both": [tmp_path / "0", str(tmp_path / "1")],
        "one file": tmp_path / "1" / "epochs.jsonl",
    }
    histories = read_histories(runs)
    assert histories == {
        "both": [{"loss": [1, 2]}, {"loss": [2, 3]}],
        "one file": [{"loss": [2, 3]}],
    }
    line = plot_curves(histories).axes[0].lines[0]
    assert line.get_ydata().tolist() == [1.5, 2.5]


def test_logs_that_are_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="no log of a training"):
        read_histories({"a": tmp_path})
    (tmp_path / "epochs.jsonl").write_text("")
    with pytest.raises(ValueError, match="no epoch yet"):
        read_histories({"a": [tmp_path]})
    with pytest.raises(ValueError, match="`runs` is empty"):
        read_histories({})


@pytest.mark.parametrize(
    ("history", "message"),
    [
        ({}, "`history` is empty"),
        ({"a": HISTORY, "b": [1.0, 2.0]}, r"`history\['b'\]` must hold"),
        ({"a": HISTORY, "b": []}, r"`history\['b'\]` must hold"),
        ({"a": HISTORY, "b": {}}, r"`history\['b'\]` must hold"),
        ({"a": {}}, r"`history\['a'\]` must hold"),
    ],
)
def test_what_is_no_history(history, message):
    with pytest.raises(ValueError, match=message):
        plot_curves(history)
