"""Prints the requirements of the extra `docs`, a line each.

`pip install ".[docs]"` would install Keras and TensorFlow with them.
"""

import pathlib
import re

PYPROJECT = pathlib.Path(__file__).resolve().parents[2] / "pyproject.toml"


def requirements() -> list[str]:
    """Those of the extra, by their form: Python 3.10 does not read TOML."""
    text = PYPROJECT.read_text()
    (block,) = re.findall(r"^docs = \[\n(.*?)^\]", text, re.DOTALL | re.M)
    return re.findall(r'"([^"]+)"', block)


if __name__ == "__main__":
    print(*requirements(), sep="\n")
