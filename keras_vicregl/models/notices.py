"""Warnings that name the line of the user's that they are about."""

import sys
import warnings

_PACKAGE = __name__.split(".")[0]


def warn_caller(message: str) -> None:
    """Warns in the name of the first caller outside of this package."""
    level, frame = 1, sys._getframe()
    while frame is not None and _is_ours(frame.f_globals.get("__name__", "")):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, stacklevel=level)


def _is_ours(module: str) -> bool:
    return module.split(".")[0] == _PACKAGE
