"""What all pictures share: files, pixels, width, and no global state."""

import sys

import numpy as np
import pytest

from keras_vicregl.visualization import plot_ablation, plot_curves, save
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
