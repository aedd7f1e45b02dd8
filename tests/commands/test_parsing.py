"""Words in any order mean the same, in every command."""

import itertools
import sys

import pytest

from keras_vicregl.commands import evaluate
from keras_vicregl.commands.main import COMMANDS, make_parser, run_alone

# Of each command: its arguments, and options with what they take.
WORDS = {
    "pretrain": (
        ["FOLDER"],
        [
            ["--batch-size", "8"],
            ["--views", "size=96", "on=device"],
            ["--evaluate", "knn", "rank"],
            ["--export", "onnx"],
            ["--deterministic"],
        ],
    ),
    "evaluate": (
        ["MODEL", "FOLDER"],
        [
            ["--batch-size", "8"],
            ["--protocols", "knn", "linear"],
            ["--options", "knn.k=3"],
            ["--value-range", "-1", "4095"],
            ["--mean", "-0.5", "0.5"],
            ["--preprocessed"],
        ],
    ),
    "embed": (["MODEL", "FOLDER"], [["--output", "f.npz"], ["--maps"]]),
    "export": (["MODEL", "PATH"], [["--raw"], ["--backend", "jax"]]),
    "convert": (["CHECKPOINT"], [["--channels", "1"]]),
    "recipes": (["NAME"], [["--json"]]),
    "inspect": (["RUN"], [["--traceback"]]),
    "doctor": ([], [["--backend", "jax"]]),
}


def parsed(words):
    found = vars(make_parser().parse_args(words))
    return {name: value for name, value in found.items() if name != "run"}


@pytest.mark.parametrize("command", COMMANDS)
def test_words_in_any_order(command):
    arguments, options = WORDS[command]
    flat = list(itertools.chain(*options))
    expected = parsed([command, *arguments, *flat])
    assert set(arguments) <= set(map(str, expected.values()))
    # All options before, between and after the arguments, in turn.
    for option, place in itertools.product(options, range(len(arguments) + 1)):
        others = list(itertools.chain(*(o for o in options if o != option)))
        given = [*arguments[:place], *option, *arguments[place:], *others]
        assert parsed([command, *given]) == expected, given


def test_words_of_scripts(monkeypatch):
    seen = []
    monkeypatch.setattr(evaluate, "run", seen.append)
    words = ["evaluate.py", "m.keras", "--batch-size", "8", "folder"]
    monkeypatch.setattr(sys, "argv", words)
    assert run_alone("evaluate") == 0
    (found,) = seen
    assert (found.model, found.folder, found.batch_size) == (
        "m.keras",
        "folder",
        8,
    )


def test_names_that_begin_as_options_do():
    assert parsed(["pretrain", "--limit", "-3", "--", "-photographs"]) == {
        **parsed(["pretrain", "--limit", "-3"]),
        "folder": "-photographs",
    }


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("", "required: COMMAND."),
        ("pretrian a", "invalid choice: 'pretrian'"),
        ("pretrain a b", "pretrain: nothing can be made of 'b'."),
        ("pretrain a --epohcs 3", "no option --epohcs. Is --epochs meant?"),
        ("pretrain a --xyz", "no option --xyz."),
        ("pretrain a --e 3", "--e could match --epochs"),
        ("pretrain --evaluate kn", "invalid choice: 'kn'"),
        ("pretrain a --views size", "'size' is not NAME=VALUE"),
        ("evaluate m --protocols knn linaer f", "invalid choice: 'linaer'"),
        ("evaluate m f --batch-size", "--batch-size: expected one argument"),
        ("evaluate --batch-size x m", "invalid int value: 'x'"),
        ("embed m f", "required: --output"),
        ("export m", "required: PATH"),
    ],
)
def test_what_cannot_be_meant_is_a_sentence(words, told, capsys):
    with pytest.raises(SystemExit) as end:
        make_parser().parse_args(words.split())
    assert end.value.code == 2
    sentence, where = capsys.readouterr().err.splitlines()
    assert told in sentence
    assert sentence.endswith((".", "?"))
    command = sentence.partition(":")[0]
    assert where == f"See {command} --help."
