"""A parser that takes options anywhere, also between MODEL and FOLDER.

argparse gives an argument that may be left out, as FOLDER, nothing where the
first options begin, and does not know it later on; and an option that takes
several words takes those that follow, whatever they are.
"""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from keras_vicregl.commands.given.options import setting
from keras_vicregl.commands.problems import USAGE

_SEVERAL = ("+", "*")


class Parser(argparse.ArgumentParser):
    """An `ArgumentParser` that says what is wrong in a sentence."""

    def error(self, message: str) -> NoReturn:
        """Ends the process."""
        end = "" if message.endswith((".", "?")) else "."
        text = f"{self.prog}: {message}{end}"
        self.exit(USAGE, f"{text}\nSee {self.prog} --help.\n")


class AnyOrder(Parser):
    """A `Parser` for which the order of words does not matter.

    Arguments come before options when they are parsed. From the second on,
    words that an option of several cannot take - none of its choices, not
    NAME=VALUE, no number - are arguments too, where there is one to be filled.
    """

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """See `argparse`; `args` are sorted first, and nothing is left."""
        words = self._sorted(list(sys.argv[1:] if args is None else args))
        found, surplus = super().parse_known_args(words, namespace)
        if surplus:
            self.error(f"nothing can be made of {' '.join(surplus)!r}")
        return found, surplus

    def _sorted(self, words: list[str]) -> list[str]:
        wanted = sum(not each.option_strings for each in self._actions)
        arguments, options = self._split(words, greedy=False)
        if len(arguments) > wanted:
            arguments, options = self._split(words, greedy=True)
        if any(word.startswith("-") for word in arguments):
            return [*options, "--", *arguments]
        return [*arguments, *options]

    def _split(
        self, words: list[str], greedy: bool
    ) -> tuple[list[str], list[str]]:
        """Arguments, and options with what they take.

        Args:
            words: as they were typed.
            greedy: whether an option of several takes all that follow.
        """
        arguments: list[str] = []
        options: list[str] = []
        several: argparse.Action | None = None
        is_first = False  # of the words that follow it
        left = 0  # words that the last option still takes
        for place, word in enumerate(words):
            if word == "--":
                arguments += words[place + 1 :]
                break
            if left > 0:
                options.append(word)
                left -= 1
            elif len(word) > 1 and word[0] == "-" and not _is_number(word):
                options.append(word)
                several, left = self._following(word)
                is_first = True
            elif several is not None and (
                is_first or greedy or _takes(several, word)
            ):
                options.append(word)
                is_first = False
            else:
                arguments.append(word)
                several = None
        return arguments, options

    def _following(self, word: str) -> tuple[argparse.Action | None, int]:
        """What takes several of the next words, or how many are taken."""
        name, given, _ = word.partition("=")
        known = self._option_string_actions
        # Options may be shortened; whether that is clear, argparse says.
        found = [known[each] for each in known if each.startswith(name)]
        if not found:
            close = difflib.get_close_matches(name, known, 1, 0.7)
            meant = f". Is {close[0]} meant?" if close else ""
            self.error(f"there is no option {name}{meant}")
        action = known.get(name, found[0])
        if given or action.nargs == 0:
            return None, 0
        if action.nargs in _SEVERAL:
            return action, 0
        return None, action.nargs if isinstance(action.nargs, int) else 1


def _takes(action: argparse.Action, word: str) -> bool:
    """Whether a word is one of those that an option of several is for."""
    if action.choices is not None:
        return word in action.choices
    if action.type in (int, float):
        return _is_number(word)
    return action.type is not setting or "=" in word


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
