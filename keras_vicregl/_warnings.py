"""Warnings that point at the line of the user, however deep they come from."""

import sys
import types
import warnings

_PACKAGE = __name__.partition(".")[0]


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Issues a warning on behalf of who called this package.

    Args:
        message: what is skipped, ignored, guessed or likely wrong.
        category: of the warning.
    """
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and _is_ours(frame):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)


def _is_ours(frame: types.FrameType) -> bool:
    name = frame.f_globals.get("__name__") or ""
    return name.partition(".")[0] == _PACKAGE
