"""The public names of the package, read from its source.

Nothing is imported: neither Keras nor a backend need be installed.
"""

import ast
import pathlib

ROOT = pathlib.Path(__file__).resolve().parents[2]
PACKAGE = "keras_vicregl"


def packages() -> dict[str, list[str]]:
    """The names in `__all__` of each package that has one.

    Returns:
        From a dotted name, the root first, to names in the order of the source.

    Raises:
        ValueError: if an `__all__` is not a list of strings, and nobody but
            Python could tell what is in it.
    """
    found = {}
    for path in sorted((ROOT / PACKAGE).rglob("__init__.py")):
        names = _all(path)
        if names is not None:
            parts = path.parent.relative_to(ROOT).parts
            found[".".join(parts)] = names
    return found


def public_names() -> list[str]:
    """All of them, dotted, but for packages and what begins with `_`."""
    known = packages()
    return [
        f"{package}.{name}"
        for package, names in known.items()
        for name in names
        if not name.startswith("_") and f"{package}.{name}" not in known
    ]


def is_module(name: str) -> bool:
    """Whether a dotted name is that of a module."""
    return (ROOT / name.replace(".", "/")).with_suffix(".py").exists()


def backbone_summaries() -> dict[str, str]:
    """What the table of backbones says of each, by name."""
    path = ROOT / PACKAGE / "models" / "backbones" / "registry.py"
    (table,) = (
        node.value
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.Assign)
        and ast.unparse(node.targets[0]) == "_SIZES"
    )
    return {
        key.value: ast.literal_eval(row.args[2])
        for key, row in zip(table.keys, table.values, strict=True)
    }


def _all(path: pathlib.Path) -> list[str] | None:
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign) and any(
            isinstance(target, ast.Name) and target.id == "__all__"
            for target in node.targets
        ):
            try:
                return list(ast.literal_eval(node.value))
            except ValueError:
                raise ValueError(
                    f"{path}, line {node.lineno}: `__all__` must be a list of "
                    "strings, which tools can read without running it."
                ) from None
    return None
