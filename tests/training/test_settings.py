"""A run continues with the settings it began with."""

import json

import pytest

from keras_vicregl.training import keep_settings

SETTINGS = {"batch_size": 256, "model": {"num_matches": (20, 4)}, "every": 1}


def test_settings_are_a_file_from_which_the_run_can_be_repeated(tmp_path):
    path = keep_settings(tmp_path / "run", SETTINGS)
    assert path == tmp_path / "run" / "config.json"
    assert json.loads(path.read_text()) == {
        "batch_size": 256,
        "model": {"num_matches": [20, 4]},
        "every": 1,
    }
    assert keep_settings(tmp_path / "run", SETTINGS) == path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 512}, "batch_size=256, now batch_size=512"),
        ({"new": True}, "new=None, now new=True"),
        ({"model": {}}, "num_matches"),
    ],
)
def test_another_setting_is_an_error(tmp_path, change, message):
    keep_settings(tmp_path, SETTINGS)
    with pytest.raises(ValueError, match=message):
        keep_settings(tmp_path, {**SETTINGS, **change})


def test_a_free_setting_may_change(tmp_path):
    keep_settings(tmp_path, SETTINGS)
    path = keep_settings(tmp_path, {**SETTINGS, "every": 5}, free=("every",))
    assert json.loads(path.read_text())["every"] == 5
