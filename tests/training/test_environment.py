"""What a log says of where it was made, and a line of how long it will take."""

import io
import shlex
import sys
import types

import pytest

from keras_vicregl.training import environment
from keras_vicregl.training.progress.callback import Line

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def test_the_commit_of_a_folder(tmp_path):
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    assert environment.commit_of(inner) is None
    git = tmp_path / ".git"
    (git / "refs" / "heads").mkdir(parents=True)
    (git / "HEAD").write_text("ref: refs/heads/main\n")
    assert environment.commit_of(inner) is None  # nothing is committed yet
    (git / "packed-refs").write_text(f"# pack\n{COMMIT} refs/heads/main\n")
    assert environment.commit_of(inner) == COMMIT
    newer = COMMIT[::-1]
    (git / "refs" / "heads" / "main").write_text(f"{newer}\n")
    assert environment.commit_of(inner) == newer
    # A worktree has a file, and its own HEAD.
    tree = git / "worktrees" / "other"
    tree.mkdir(parents=True)
    (tree / "HEAD").write_text(f"{COMMIT}\n")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / ".git").write_text(f"gitdir: {tree}\n")
    assert environment.commit_of(elsewhere) == COMMIT
    (tree / "HEAD").write_text("ref: refs/heads/main\n")
    (tree / "commondir").write_text("../..\n")
    assert environment.commit_of(elsewhere) == newer


@pytest.mark.parametrize(
    ("name", "begins"),
    [
        ("/usr/bin/keras-vicregl", "keras-vicregl pretrain"),
        ("/lib/keras_vicregl/__main__.py", "keras-vicregl pretrain"),
        ("train.py", "train.py pretrain"),
    ],
)
def test_the_command_can_be_typed_again(monkeypatch, name, begins):
    monkeypatch.setattr(sys, "argv", [name, "pretrain", "my photographs"])
    command = environment.surroundings()["command"]
    assert command.startswith(begins)
    assert shlex.split(command)[1:] == ["pretrain", "my photographs"]


@pytest.mark.parametrize(
    ("times", "left", "told"),
    [
        # The first step is not counted, which compiles.
        (range(100, 120), 7500, "about 2h05m to the last epoch, by 10 steps"),
        (range(100, 900, 40), 7500, "by 2 steps of 40 s"),
        (range(100, 120), 59, ""),
        (range(100, 120), None, ""),
        (range(100, 103), 7500, ""),
    ],
)
def test_how_long_it_will_take_is_said_once(times, left, told):
    speed = types.SimpleNamespace(seconds_left=lambda: left)
    file = io.StringIO()
    line = Line(speed, "auto", file)
    for now in times:
        line._foretell(float(now))
    assert told in file.getvalue()
    assert file.getvalue().count("\n") == bool(told)
