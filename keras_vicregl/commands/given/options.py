"""Arguments of functions, as NAME=VALUE on the command line."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import inspect
import json
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from keras_vicregl.commands.problems import UsageError


def setting(text: str) -> tuple[str, Any]:
    """A name and a value from NAME=JSON; what is no JSON is a string.

    Raises:
        argparse.ArgumentTypeError: if there is no `=`.

    Example:

    >>> setting("size=96"), setting("backbone=resnet50")
    (('size', 96), ('backbone', 'resnet50'))
    """
    name, found, value = text.partition("=")
    if not found or not name:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    with contextlib.suppress(json.JSONDecodeError):
        value = json.loads(value)
    return name, value


def add_settings(
    add: Callable[..., Any], name: str, text: str, **more: Any
) -> None:
    """Adds an option that takes NAME=VALUE, several and several times.

    Args:
        add: `add_argument` of a parser.
        name: of the option.
        text: its help.
        **more: further arguments of `add_argument`.
    """
    add(
        name,
        action="extend",
        nargs="+",
        type=setting,
        help=text,
        **{"metavar": "NAME=VALUE", **more},
    )


def names_of(*functions: Callable[..., Any]) -> set[str]:
    """Names by which arguments can be given to any of some functions."""
    return {
        each.name
        for function in functions
        for each in inspect.signature(function).parameters.values()
        if each.kind in (each.KEYWORD_ONLY, each.POSITIONAL_OR_KEYWORD)
        and each.name != "self"
    }


def check_names(
    option: str, given: Mapping[str, Any], known: Collection[str]
) -> None:
    """Raises a UsageError for names that nothing is done with.

    Args:
        option: that they were given to, as it is typed.
        given: values by name.
        known: names that there are.
    """
    for name in given:
        if name in known:
            continue
        close = difflib.get_close_matches(name, known, 1)
        meant = f" Is {close[0]!r} meant?" if close else ""
        raise UsageError(
            f"{option} has no {name!r}, but {', '.join(sorted(known))}.{meant}"
        )


@contextlib.contextmanager
def as_usage(option: str) -> Iterator[None]:
    """Makes of errors about values a `UsageError` that names the option."""
    try:
        yield
    except (TypeError, ValueError) as error:
        from keras_vicregl.data.streams.unreadable import UnreadableError

        if isinstance(error, UnreadableError):  # no option's fault
            raise
        raise UsageError(f"{option}: {error}") from error
