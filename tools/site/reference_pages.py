"""The pages of the reference, a page a package."""

import ast
import pathlib

from public import PACKAGE, ROOT, is_module, packages

_ROOT_PAGE = """# Reference

All public names, a page a package: what is not here may change without notice.

| package | what it is |
|---|---|
{table}

The first two names are in `{package}` itself too:

- [`VICRegL`][{package}.VICRegL], the model;
- [`backbone`][{package}.backbone], a network by its name.

[The command](command.md) `keras-vicregl` is in a page of its own.
"""

_COMMAND_PAGE = """# The command

`keras-vicregl COMMAND`, or `python -m keras_vicregl COMMAND`. Each has
`--help`.{transcript}

Exit codes: 0 when all is done, 1 after an error, 2 where the arguments are at
fault, 130 and 143 after Ctrl-C and SIGTERM.

| command | what it is for |
|---|---|
{table}

{sections}
"""


def pages() -> dict[str, str]:
    """Markdown of the reference by names of files in `reference/`."""
    known = packages()
    found = {"index.md": _root_page(known), "command.md": _command_page()}
    for package, names in known.items():
        if package != PACKAGE:
            found[f"{_short(package)}.md"] = _page(package, names, known)
    return found


def _short(package: str) -> str:
    return package.removeprefix(f"{PACKAGE}.")


def _page(package: str, names: list[str], known: dict[str, list[str]]) -> str:
    parts = [
        f"# {_short(package)}",
        _docstring(_of_package(package)),
        "[All packages](index.md)",
    ]
    for name in names:
        full = f"{package}.{name}"
        if name.startswith("_") or full in known:
            continue
        parts.append(f"::: {full}")
        if is_module(full):
            parts[-1] += "\n    options:\n      members_order: source"
    return "\n\n".join(parts) + "\n"


def _root_page(known: dict[str, list[str]]) -> str:
    rows = [
        f"| [`{_short(package)}`]({_short(package)}.md) | "
        f"{_docstring(_of_package(package)).splitlines()[0]} |"
        for package in known
        if package != PACKAGE
    ]
    return _ROOT_PAGE.format(table="\n".join(rows), package=PACKAGE)


def _command_page() -> str:
    """The commands by the constants that name them, and what modules say."""
    folder = ROOT / PACKAGE / "commands"
    rows, sections = [], []
    for name in _constant(folder / "main.py", "COMMANDS"):
        module = folder / f"{name}.py"
        rows.append(f"| [`{name}`](#{name}) | {_constant(module, 'SUMMARY')} |")
        sections.append(f"## {name}\n\n```text\n{_docstring(module)}\n```")
    transcript = ""
    if (ROOT / "docs" / "transcript.md").exists():
        transcript = " [A transcript](../transcript.md) shows them at work."
    return _COMMAND_PAGE.format(
        table="\n".join(rows),
        sections="\n\n".join(sections),
        transcript=transcript,
    )


def _constant(path: pathlib.Path, name: str) -> object:
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign) and any(
            isinstance(target, ast.Name) and target.id == name
            for target in node.targets
        ):
            return ast.literal_eval(node.value)
    raise ValueError(f"{path} has no constant {name}.")


def _of_package(package: str) -> pathlib.Path:
    return ROOT / package.replace(".", "/") / "__init__.py"


def _docstring(path: pathlib.Path) -> str:
    text = ast.get_docstring(ast.parse(path.read_text()))
    if not text:
        raise ValueError(f"{path} has no docstring.")
    return text
