"""The guides run as they stand."""

import pathlib
import runpy

import pytest

GUIDES = sorted((pathlib.Path(__file__).parents[1] / "guides").glob("*.py"))


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.stem)
def test_guide(guide, capsys):
    runpy.run_path(str(guide))
    printed = capsys.readouterr().out
    assert "one device" in printed
    # What the text says of the paper's batch of 2048.
    assert "| global, 2 x 8192 | 64 | 2048 | **126** | 1,008 |" in printed
    assert "| local, 292 x 512 | 64 | 2048 | 1,150 | **575** |" in printed
