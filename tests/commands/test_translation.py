"""What functions say of arguments, a command says of its options."""

import ast
import functools
import pathlib
import re

import pytest

import keras_vicregl
from keras_vicregl.commands.main import COMMANDS, make_parser
from keras_vicregl.commands.translation import PHRASES, in_options

PACKAGE = pathlib.Path(keras_vicregl.__file__).parent


@functools.cache
def messages():
    """All strings of the package, a brace pair for each value in them."""
    found = []
    for path in PACKAGE.rglob("*.py"):
        if path.is_relative_to(PACKAGE / "commands"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            parts = []
            if isinstance(node, ast.JoinedStr):
                parts = node.values
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                parts = [node]
            found.append(
                "".join(
                    part.value if isinstance(part, ast.Constant) else "{}"
                    for part in parts
                )
            )
    return "\n".join(found)


def without_values(text):
    return text.replace("{{", "{").replace("}}", "}")


@pytest.mark.parametrize(
    "phrase", sorted({phrase for _, phrase, _ in PHRASES}), ids=lambda p: p[:40]
)
def test_phrases_are_those_of_the_package(phrase):
    """A message that is changed is to be changed there as well."""
    wanted = without_values(phrase)
    # Some are put together of several strings, and some values are words.
    parts = [wanted]
    if wanted not in messages():
        parts = re.split(r"\{\}|(?<=[,.:(]) ", wanted)
    for part in parts:
        assert part.strip() in messages(), part


@pytest.mark.parametrize("command", COMMANDS)
def test_options_that_are_named_are_there(command):
    (subparsers,) = (
        each for each in make_parser()._actions if each.dest == "command"
    )
    known = subparsers.choices[command]._option_string_actions
    for commands, phrase, said in PHRASES:
        if command not in commands:
            continue
        for option in re.findall(r"--[a-z-]+", said):
            of_another = "of evaluate and pretrain" in said
            assert option in known or of_another, (phrase, option)


@pytest.mark.parametrize(
    ("command", "text", "expected"),
    [
        (
            "pretrain",
            "weights=1, now weights=2. Continue with what it began with, pass "
            "`allow_changes=True` to go on with what is now, or use another.",
            "weights=1, now weights=2. Continue with what it began with, give "
            "--allow-changes to go on with what is now, or use another.",
        ),
        (
            "pretrain",
            "Give them a lower one, as_backbone(model, batch_norm_momentum"
            "=0.31), or train for 22 steps.",
            "Give them a lower one, --model batch_norm_momentum=0.31, or train "
            "for 22 steps.",
        ),
        (
            "evaluate",
            "In masks of 0 and 255 load(mask_labels={0: 0, 255: 1}) makes one "
            "of 255, which is ignore_label otherwise.",
            "In masks of 0 and 255 --data-options "
            '\'mask_labels={"0":0,"255":1}\' makes one of 255, which is left '
            "out otherwise.",
        ),
        (
            "embed",
            "Pass split for some of them, as split='a' or split='a+b'.",
            "Take some of them by --split 'a' or --split 'a+b'.",
        ),
        ("doctor", "by on_error='skip'", "by on_error='skip'"),
    ],
)
def test_words_of_a_command(command, text, expected):
    assert in_options(text, command) == expected
