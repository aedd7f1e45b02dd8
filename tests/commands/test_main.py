"""The command as a shell runs it: help, exit codes, what it does not print."""

import subprocess
import sys
import warnings

import pytest

from keras_vicregl.commands import problems, starting
from keras_vicregl.commands.main import (
    COMMANDS,
    main,
    make_parser,
    run_alone,
)


def shell(*arguments, python=()):
    return subprocess.run(
        [sys.executable, *python, "-m", "keras_vicregl", *arguments],
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("command", [(), *((name,) for name in COMMANDS)])
def test_help_fits_a_screen(command, capsys):
    with pytest.raises(SystemExit) as end:
        make_parser().parse_args([*command, "--help"])
    assert end.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 80


def test_help_is_there_before_keras():
    result = shell("--help", python=("-X", "importtime"))
    assert result.returncode == 0
    assert "doctor" in result.stdout
    imported = {
        line.rpartition("|")[2].strip() for line in result.stderr.splitlines()
    }
    assert "keras_vicregl.commands.main" in imported
    assert not {"keras", "tensorflow", "jax", "torch"} & imported


def test_what_is_wrong_is_told_in_a_sentence(capsys):
    with pytest.raises(SystemExit) as end:
        main(["inspect", "nowhere"])
    assert end.value.code == 2
    told = capsys.readouterr().err.splitlines()
    assert told[0] == ("keras-vicregl inspect: there is no folder 'nowhere'.")
    assert len(told) == 2
    with pytest.raises(SystemExit) as end:
        main(["inspect"])
    assert end.value.code == 2


def of_a_framework(module, text):
    """An error of a class of its own, derived from no common one."""
    return type("TheirError", (Exception,), {"__module__": module})(text)


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (ValueError("two\n  lines"), 1, "x: two lines\n"),
        (problems.UsageError("no such thing"), 2, "x: no such thing\n"),
        (OSError(28, "No space left on device", "a/b"), 1, "disk is full: a/b"),
        (PermissionError(13, "Permission denied", "a"), 1, "denied: a"),
        (MemoryError(), 1, "smaller --batch-size"),
        (ImportError("needs it: pip install it"), 1, "x: needs it: pip"),
        (KeyboardInterrupt(), 130, "x: stopped."),
        (ImportError("No module named 'keras_cv'"), 1, "pip install keras-cv"),
        (
            of_a_framework(
                "tensorflow.python.framework.errors_impl",
                "{{function_node __wrapped__IteratorGetNext}} ValueError: "
                "Could not read a.jpg.\nTraceback (most recent call last):\n"
                '  File "b.py", line 2, in c\n\n\t [[{{node PyFunc}}]]',
            ),
            1,
            "x: Could not read a.jpg.\n",
        ),
        (
            of_a_framework("torch", "CUDA out of memory. Tried to allocate"),
            1,
            "smaller --batch-size",
        ),
    ],
)
def test_exit_codes(error, code, sentence, capsys):
    with pytest.raises(SystemExit) as end, problems.exit_codes("x", False):
        raise error
    assert end.value.code == code
    said = capsys.readouterr().err
    assert sentence in said
    assert "Traceback" not in said


def test_a_mistake_of_the_program_is_not_hidden():
    with pytest.raises(AttributeError), problems.exit_codes("x", False):
        raise AttributeError("so")


def test_warnings_are_a_line(capsys):
    with problems.told_warnings("pretrain"):
        warnings.warn("two\n lines", RuntimeWarning, stacklevel=1)
    assert capsys.readouterr().err == "warning: two lines\n"


@pytest.mark.parametrize("name", ["pretrain", "evaluate"])
def test_scripts_have_the_help_of_a_command(name, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", [f"{name}.py", "--help"])
    with pytest.raises(SystemExit):
        run_alone(name)
    alone = capsys.readouterr().out
    with pytest.raises(SystemExit):
        make_parser().parse_args([name, "--help"])
    assert capsys.readouterr().out == alone


def test_what_is_rarely_needed_has_help_too(capsys):
    with pytest.raises(SystemExit):
        make_parser().parse_args(["pretrain", "--help-all"])
    assert "--skip-nonfinite N" in capsys.readouterr().out


def test_the_traceback_may_be_asked_for_anywhere():
    for words in (["--traceback", "pretrain", "x"], ["pretrain", "x"]):
        asked = make_parser().parse_args(words).traceback
        assert asked == ("--traceback" in words)
    assert make_parser().parse_args(["pretrain", "--traceback"]).traceback


def test_a_traceback_on_request(capsys):
    with pytest.raises(SystemExit), problems.exit_codes("x", True):
        raise ValueError("so")
    assert "Traceback" in capsys.readouterr().err


def test_backends_that_are_not_there(monkeypatch):
    monkeypatch.setattr(starting, "_is_installed", lambda name: name == "jax")
    with pytest.raises(problems.UsageError, match=r"torch is not.*\(jax there"):
        starting.start("torch")
    with pytest.raises(problems.UsageError, match="received 'numpy'"):
        starting.start("numpy")
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    monkeypatch.setenv("KERAS_HOME", "nowhere")
    assert starting._chosen() is None
    assert starting._first_installed() == "jax"


def test_noise_is_kept_back_and_the_rest_is_not(capfd):
    program = (
        "import os\n"
        "from keras_vicregl.commands.starting import quiet\n"
        "with quiet():\n"
        "    os.write(2, b'I0000 00:00:17 9 port.cc:153] oneDNN is on\\n')\n"
        "    os.write(2, b'F0000 00:00:17 9 a.cc:1] Check failed\\n')\n"
        "    raise ValueError('so')\n"
    )
    subprocess.run([sys.executable, "-c", program], check=False)
    said = capfd.readouterr().err
    assert "oneDNN is on" not in said
    assert "Check failed" in said
    assert "ValueError: so" in said
