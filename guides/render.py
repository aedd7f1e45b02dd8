"""Renders guides: from NAME.py the page NAME.md and the notebook NAME.ipynb.

    python guides/render.py guides/NAME.py         # runs it; no name: all of them
    python guides/render.py --text guides/NAME.py  # keeps what the last run gave
    python guides/render.py --check                # up to date? runs nothing

A guide is a script in the form of keras.io: a header, then prose in strings of
their own, and code between them. The page shows what each piece of code prints
and, as a notebook would, the value of its last line: a figure as a picture in
images/NAME/. The notebook comes without outputs.

--check needs nothing but Python. It compares prose and code, not outputs, and
prints the names of stale files; the exit code is then 1.
"""

import argparse
import ast
import contextlib
import io
import json
import pathlib
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

FOLDER = pathlib.Path(__file__).resolve().parent
HEADER = (
    "Title",
    "Author",
    "Date created",
    "Last modified",
    "Description",
    "Accelerator",
)
OPEN, CLOSE = '\n\n<div class="k-default-codeblock">\n\n', "\n\n</div>"
OUTPUT = re.compile(f"{OPEN}.*?{CLOSE}", re.DOTALL)
CODE = re.compile(
    f"^```python\n(.*?)\n```((?:{OUTPUT.pattern})?)", re.DOTALL | re.MULTILINE
)


class Cell(NamedTuple):
    """A piece of a guide.

    Attributes:
        text: Markdown or code, as it stands in the file.
        nodes: the statements of code; `None` for prose.
    """

    text: str
    nodes: list[ast.stmt] | None


def all_guides() -> list[pathlib.Path]:
    """The guides of this folder."""
    return [p for p in sorted(FOLDER.glob("*.py")) if p.name != "render.py"]


def read(guide: pathlib.Path) -> list[Cell]:
    """Takes a guide apart.

    Args:
        guide: its file.

    Returns:
        Its cells; the first one has the title and the rest of the header.

    Raises:
        ValueError: if the header does not have the lines `HEADER`, or a string
            of prose does not have its quotes on lines of their own.
    """
    cells = list(_cells(guide))
    lines = cells[0].text.splitlines() if cells else []
    header = [line.partition(": ")[::2] for line in lines]
    if tuple(key for key, _ in header) != HEADER:
        raise ValueError(
            f"{guide} must begin with a string of lines 'Name: ...', named "
            f"{', '.join(HEADER)}. Found: {lines}"
        )
    (_, title), *others = header
    facts = "<br>\n".join(f"**{key}:** {value}" for key, value in others)
    return [Cell(f"# {title}\n\n{facts}", None), *cells[1:]]


def _cells(guide: pathlib.Path) -> Iterator[Cell]:
    source = guide.read_text()
    lines = source.splitlines()
    nodes, end = [], 0
    for node in [*ast.parse(source, str(guide)).body, None]:
        if node is not None and not _is_prose(node):
            nodes.append(node)
            continue
        start = len(lines) if node is None else node.lineno - 1
        # Comments are no statements, but part of the code.
        code = "\n".join(lines[end:start]).strip("\n")
        if code:
            yield Cell(code, nodes)
        if node is None:
            return
        nodes, end = [], node.end_lineno
        # Not the string itself, where backslashes may be gone.
        prose = lines[start:end]
        if prose[0] not in ('"""', 'r"""') or prose[-1] != '"""':
            raise ValueError(
                f'{guide}, line {start + 1}: prose must stand between """ and '
                '""" on lines of their own.'
            )
        yield Cell("\n".join(prose[1:-1]).strip(), None)


def _is_prose(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def run(
    guide: pathlib.Path, cells: list[Cell]
) -> tuple[list[str], list[bytes]]:
    """Runs a guide.

    Args:
        guide: its file.
        cells: what `read` gave.

    Returns:
        Of each cell of code what comes after it in the page, and the pictures.
    """
    namespace = {"__name__": "__main__", "__file__": str(guide)}
    outputs, pictures = [], []
    for cell in cells:
        if cell.nodes is None:
            continue
        parts = []
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            value = _execute(cell.nodes, guide, namespace)
            is_figure = hasattr(value, "savefig")
            if value is not None and not is_figure:
                print(repr(value))
        text = printed.getvalue().strip("\n")
        if text:
            parts.append(f"```text\n{text}\n```")
        if is_figure:
            value.savefig(picture := io.BytesIO(), format="png")
            pictures.append(picture.getvalue())
            number = len(pictures)
            parts.append(
                f"![Figure {number}](images/{guide.stem}/{number}.png)"
            )
        outputs.append(OPEN + "\n\n".join(parts) + CLOSE if parts else "")
    return outputs, pictures


def _execute(
    nodes: list[ast.stmt], guide: pathlib.Path, namespace: dict[str, Any]
) -> Any:
    """Runs statements; the value of the last one, if it has any."""
    has_value = bool(nodes) and isinstance(nodes[-1], ast.Expr)
    body = ast.Module(nodes[:-1] if has_value else nodes, [])
    exec(compile(body, guide, "exec"), namespace)
    if not has_value:
        return None
    last = ast.Expression(nodes[-1].value)
    return eval(compile(last, guide, "eval"), namespace)


def page(cells: list[Cell], outputs: list[str] | None = None) -> str:
    """The page of a guide, Markdown.

    Args:
        cells: what `read` gave.
        outputs: of each cell of code what comes after it; default: nothing.
    """
    rest = iter(outputs or [""] * len(cells))
    parts = [
        cell.text
        if cell.nodes is None
        else f"```python\n{cell.text}\n```{next(rest)}"
        for cell in cells
    ]
    return "\n\n".join(parts) + "\n"


def notebook(cells: list[Cell]) -> str:
    """The notebook of a guide, without outputs: JSON, nbformat 4.5."""
    rows = []
    for index, cell in enumerate(cells):
        row = {
            "cell_type": "markdown",
            "id": f"cell-{index}",
            "metadata": {},
            "source": cell.text.splitlines(keepends=True),
        }
        if cell.nodes is not None:
            row.update(cell_type="code", execution_count=None, outputs=[])
        rows.append(row)
    python = {
        "display_name": "Python 3",
        "language": "python",
        "name": "python3",
    }
    whole = {
        "cells": rows,
        "metadata": {"kernelspec": python},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


def render(guide: pathlib.Path, keep_outputs: bool = False) -> None:
    """Writes page, notebook and pictures of a guide.

    Args:
        guide: its file.
        keep_outputs: whether to take outputs and pictures of the last run
            instead of running the guide.

    Raises:
        ValueError: if outputs are to be kept, but code has changed.
    """
    cells = read(guide)
    if keep_outputs:
        outputs = _outputs(guide, cells)
    else:
        outputs, pictures = run(guide, cells)
        folder = guide.parent / "images" / guide.stem
        shutil.rmtree(folder, ignore_errors=True)
        for number, picture in enumerate(pictures, 1):
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{number}.png").write_bytes(picture)
    guide.with_suffix(".md").write_text(page(cells, outputs))
    guide.with_suffix(".ipynb").write_text(notebook(cells))


def _outputs(guide: pathlib.Path, cells: list[Cell]) -> list[str]:
    """What comes after each cell of code in the page as it is."""
    blocks = iter(CODE.findall(_text(guide.with_suffix(".md"))))
    outputs = []
    for cell in cells:
        if cell.nodes is None:
            continue
        # Prose has blocks of code too, so some are passed over.
        output = next((out for code, out in blocks if code == cell.text), None)
        if output is None:
            raise ValueError(
                f"{guide}: its code has changed since the last run. Render it "
                f"without --text. Not found in the page: {cell.text}"
            )
        outputs.append(output)
    return outputs


def stale(guide: pathlib.Path) -> list[pathlib.Path]:
    """Files of a guide that are missing or not what it says now."""
    cells = read(guide)
    written, book = guide.with_suffix(".md"), guide.with_suffix(".ipynb")
    text = _text(written)
    files = [
        guide.parent / link
        for output in OUTPUT.findall(text)
        for link in re.findall(r"!\[.*\]\((.*)\)", output)
    ]
    files = [file for file in files if not file.exists()]
    if OUTPUT.sub("", text) != page(cells):
        files.append(written)
    if _text(book) != notebook(cells):
        files.append(book)
    return files


def _text(path: pathlib.Path) -> str:
    return path.read_text() if path.exists() else ""


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("guides", nargs="*", type=pathlib.Path)
    parser.add_argument("--text", action="store_true")
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    guides = arguments.guides or all_guides()
    if arguments.check:
        files = [file for guide in guides for file in stale(guide)]
        print(*files, sep="\n", end="\n" if files else "")
        sys.exit(1 if files else 0)
    if len(guides) == 1 or arguments.text:
        for guide in guides:
            render(guide, arguments.text)
    else:
        # Each in a process of its own: Keras and its backend have state.
        for guide in guides:
            subprocess.run([sys.executable, __file__, guide], check=True)


if __name__ == "__main__":
    main()
