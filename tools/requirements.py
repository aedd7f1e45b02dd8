"""Prints requirements that `pyproject.toml` names, a line each.

    python tools/requirements.py docs     # those of an extra
    python tools/requirements.py lowest   # all lower bounds, as constraints

`pip install ".[docs]"` would install Keras and TensorFlow with them.
"""

import pathlib
import re
import sys

PYPROJECT = pathlib.Path(__file__).resolve().parents[1] / "pyproject.toml"


def requirements(extra: str) -> list[str]:
    """Those of an extra, by their form: Python 3.10 does not read TOML.

    Raises:
        ValueError: if there is no such extra.
    """
    return _listed(extra, PYPROJECT.read_text())


def lowest() -> list[str]:
    """All lower bounds as pins, of the package and of its extras."""
    text = PYPROJECT.read_text()
    extras = text.split("[project.optional-dependencies]")[1].split("\n[")[0]
    names = re.findall(r"^([\w-]+) = \[", extras, re.MULTILINE)
    listed = [each for name in names for each in _listed(name, extras)]
    bounds = {
        re.sub(r"\[.*\]", "", name): version
        for name, version in (
            re.match(r"([\w.\[\]-]+)>=([\w.]+)", each).groups()
            for each in [*_listed("dependencies", text), *listed]
            if ">=" in each
        )
    }
    return [f"{name}=={version}" for name, version in sorted(bounds.items())]


def _listed(name: str, text: str) -> list[str]:
    found = re.search(rf"^{name} = \[(.*?)\]$", text, re.DOTALL | re.MULTILINE)
    if found is None:
        raise ValueError(f"{PYPROJECT} has no extra {name!r}.")
    lines = re.sub(r"^\s*#.*$", "", found[1], flags=re.MULTILINE)
    return re.findall(r'"([^"]+)"', lines)


if __name__ == "__main__":
    (which,) = sys.argv[1:]
    print(*(lowest() if which == "lowest" else requirements(which)), sep="\n")
