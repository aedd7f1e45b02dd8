"""Whether Python runs the command `keras-vicregl` or another program.

The command says which backend Keras is to use, and is asked for help more often
than for work: nothing heavy is imported before it has read its arguments.
"""

import pathlib
import sys

PROGRAM = "keras-vicregl"


def is_command() -> bool:
    """Whether this is `keras-vicregl ...` or `python -m keras_vicregl ...`."""
    if not sys.argv:
        return False
    if sys.argv[0] == "-m":  # the module is being looked for
        words = sys.orig_argv
        return "keras_vicregl" in words[words.index("-m") + 1 :][:1]
    return pathlib.Path(sys.argv[0]).name.startswith(PROGRAM) or (
        pathlib.Path(sys.argv[0]).parts[-2:] == ("keras_vicregl", "__main__.py")
    )
