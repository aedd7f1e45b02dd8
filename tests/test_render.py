"""guides/render.py: pages and notebooks of guides, and whether they are stale.

The guides of the repository are looked at in `test_guides.py`.
"""

import pathlib
import subprocess
import sys

import nbformat
import pytest
from matplotlib.image import imread

RENDER = pathlib.Path(__file__).parents[1] / "guides" / "render.py"
HEADER = '''"""
Title: Two and two
Author: Somebody
Date created: 2026/11/25
Last modified: 2026/11/26
Description: What comes of it: four.
Accelerator: None
"""
'''
GUIDE = (
    HEADER
    + '''
"""
Prose, with a command that goes on in a second line:

```shell
python two.py \\
    --and two
```
"""

# A comment belongs to the code below.
from matplotlib.figure import Figure


def total(*numbers):
    """Strings in functions are no prose."""
    return sum(numbers)


print(total(2, 2))

"""
A value, as in a notebook; and nothing.
"""

total(2, 2) == 4

print("not shown") if total() else None

"""
A picture:

```python
total(1, 1)
```
"""


def plot():
    figure = Figure(figsize=(2, 1), dpi=50)
    figure.subplots().plot([2, 2])
    return figure


plot()
'''
)
PAGE = '''# Two and two

**Author:** Somebody<br>
**Date created:** 2026/11/25<br>
**Last modified:** 2026/11/26<br>
**Description:** What comes of it: four.<br>
**Accelerator:** None

Prose, with a command that goes on in a second line:

```shell
python two.py \\
    --and two
```

```python
# A comment belongs to the code below.
from matplotlib.figure import Figure


def total(*numbers):
    """Strings in functions are no prose."""
    return sum(numbers)


print(total(2, 2))
```

<div class="k-default-codeblock">

```text
4
```

</div>

A value, as in a notebook; and nothing.

```python
total(2, 2) == 4

print("not shown") if total() else None
```

A picture:

```python
total(1, 1)
```

```python
def plot():
    figure = Figure(figsize=(2, 1), dpi=50)
    figure.subplots().plot([2, 2])
    return figure


plot()
```

<div class="k-default-codeblock">

![Figure 1](images/two/1.png)

</div>
'''


def run(*arguments, isolated=False):
    """The command; isolated, with Python's own library alone."""
    flags = ["-I", "-S"] if isolated else []
    return subprocess.run(
        [sys.executable, *flags, RENDER, *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


def render(*arguments):
    result = run(*arguments)
    assert result.returncode == 0, result.stderr


def stale(guide):
    """What --check says, by the suffixes of the files."""
    result = run("--check", guide, isolated=True)
    names = result.stdout.split()
    assert (result.returncode, result.stderr) == (int(bool(names)), "")
    return sorted(pathlib.Path(name).suffix for name in names)


def replace(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    guide = tmp_path_factory.mktemp("rendered") / "two.py"
    guide.write_text(GUIDE)
    assert stale(guide) == [".ipynb", ".md"]
    render(guide)
    return guide


@pytest.fixture
def guide(rendered, tmp_path):
    """A copy to change."""
    for path in rendered.parent.glob("two.*"):
        (tmp_path / path.name).write_text(path.read_text())
    pictures = tmp_path / "images" / "two"
    pictures.mkdir(parents=True)
    picture = rendered.parent / "images" / "two" / "1.png"
    (pictures / "1.png").write_bytes(picture.read_bytes())
    return tmp_path / "two.py"


def test_page(rendered):
    assert rendered.with_suffix(".md").read_text() == PAGE
    assert imread(rendered.parent / "images/two/1.png").shape == (50, 100, 4)
    assert stale(rendered) == []


def test_notebook_is_valid_and_does_the_same(rendered, capsys):
    book = nbformat.read(rendered.with_suffix(".ipynb"), as_version=4)
    nbformat.validate(book)
    kinds = [cell.cell_type for cell in book.cells]
    prose, code = "markdown", "code"
    assert kinds == [prose, prose, code, prose, code, prose, code]
    namespace = {}
    for cell in book.cells:
        if cell.cell_type == "code":
            assert cell.outputs == []
            exec(cell.source, namespace)
    assert capsys.readouterr().out == "4\n"
    # Every line of the script is in it, and in its order.
    cells = "\n".join(cell.source for cell in book.cells[1:])
    script = GUIDE.removeprefix(HEADER).split("\n")
    assert [line for line in cells.split("\n") if line] == [
        line for line in script if line not in ("", '"""')
    ]


def test_a_changed_guide_makes_both_stale(guide):
    replace(guide, "a picture".capitalize(), "Two points")
    assert stale(guide) == [".ipynb", ".md"]
    render("--text", guide)
    assert stale(guide) == []
    page = guide.with_suffix(".md").read_text()
    assert page == PAGE.replace("A picture", "Two points")


def test_changed_code_needs_a_run(guide):
    replace(guide, "print(total(2, 2))", "print(total(2, 3))")
    assert stale(guide) == [".ipynb", ".md"]
    result = run("--text", guide)
    assert result.returncode == 1
    assert "code has changed since the last run" in result.stderr
    assert guide.with_suffix(".md").read_text() == PAGE
    render(guide)
    assert "```text\n5\n```" in guide.with_suffix(".md").read_text()


def test_outputs_are_not_compared(guide):
    replace(guide.with_suffix(".md"), "```text\n4\n", "```text\n4.0\n")
    assert stale(guide) == []


@pytest.mark.parametrize(
    ("suffix", "old"),
    [
        (".md", "goes on"),
        (".md", "subplots()"),
        (".md", "total(1, 1)"),
        (".ipynb", "goes on"),
        (".ipynb", "subplots()"),
    ],
)
def test_changed_pages_and_notebooks_are_stale(guide, suffix, old):
    replace(guide.with_suffix(suffix), old, "other")
    assert stale(guide) == [suffix]


def test_missing_files_are_stale(guide):
    (guide.parent / "images/two/1.png").unlink()
    guide.with_suffix(".ipynb").unlink()
    assert stale(guide) == [".ipynb", ".png"]


def test_a_failing_guide_leaves_files_and_says_where(guide):
    picture = (guide.parent / "images/two/1.png").read_bytes()
    replace(guide, "print(total(2, 2))", "print(total(2, '2'))")
    line = guide.read_text().split("\n").index("print(total(2, '2'))") + 1
    result = run(guide)
    assert result.returncode == 1
    assert f'two.py", line {line}, in <module>' in result.stderr
    assert guide.with_suffix(".md").read_text() == PAGE
    assert (guide.parent / "images/two/1.png").read_bytes() == picture


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must begin with a string of lines"),
        (HEADER.replace("Author", "Writer"), "'Writer: Somebody'"),
        (HEADER + '\n"""Prose on one line."""\n', "line 10: prose must stand"),
    ],
)
def test_files_that_are_no_guides(tmp_path, text, message):
    guide = tmp_path / "two.py"
    guide.write_text(text)
    result = run("--check", guide, isolated=True)
    assert result.returncode == 1
    assert message in result.stderr


def test_guides_of_the_repository_are_fresh():
    result = run("--check", isolated=True)
    assert (result.stdout, result.stderr) == ("", "")
    assert result.returncode == 0
