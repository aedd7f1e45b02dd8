"""What scripts need is looked for before they begin."""

import contextlib
import importlib.util
import pathlib
import re
import sys


@contextlib.contextmanager
def told():
    """Ends a script with one sentence where a package is missing.

    For what comes before anything is written: a traceback would hide it.
    """
    try:
        yield
    except Exception as error:
        # TensorFlow makes errors of its own of those within a pipeline.
        *_, said = ["", *filter(None, map(str.strip, str(error).splitlines()))]
        absent = re.search(r"No module named '(\w+)", said)
        if absent is None and not isinstance(error, ImportError):
            raise
        if absent is not None:
            said = f"{absent[0]}': pip install {absent[1].replace('_', '-')}"
        sys.exit(f"{pathlib.Path(sys.argv[0]).name}: error: {said}")


def check_installed(purpose, *packages):
    """Raises an ImportError that names the packages which are missing.

    Args:
        purpose: what they are for, as the beginning of a sentence.
        *packages: of the extra "examples", as they are imported.
    """
    found = map(importlib.util.find_spec, packages)
    pairs = zip(packages, found, strict=True)
    missing = [package for package, spec in pairs if spec is None]
    if missing:
        raise ImportError(
            f"{purpose} needs {' and '.join(missing)}, not installed here: pip "
            f"install {' '.join(missing)}."
        )
