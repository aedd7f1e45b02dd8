"""The site: what its pages are made of, and code in them that nobody ran."""

import ast
import importlib
import inspect
import pathlib
import re
import zlib

import check
import marking
import numpy as np
import public
import recipes_table
from backend_tools import eager_steps

ROOT = pathlib.Path(__file__).resolve().parents[1]


def test_public_names_are_those_of_the_package():
    for package, names in public.packages().items():
        module = importlib.import_module(package)
        assert names == list(module.__all__)
        assert all(hasattr(module, name) for name in names)
    assert {p.count(".") for p in public.packages()} == {0, 1, 2}
    assert "keras_vicregl.views.ColorJitter" in public.public_names()
    assert "keras_vicregl.models" not in public.public_names()


def test_backbones_have_the_summaries_of_their_docstrings():
    from keras_vicregl.models.backbones import BACKBONES

    assert public.backbone_summaries() == {
        name: function.__doc__.splitlines()[0]
        for name, function in BACKBONES.items()
    }


def test_recipes_page_is_up_to_date():
    text = (ROOT / "docs/recipes.md").read_text()
    assert text == recipes_table.updated(text), recipes_table.HOW


def test_names_become_links_outside_of_code():
    names = ["p.data.load", "p.losses.match", "p.models.Model", "p.Model"]
    text = (
        "`load` and `data.load`, [`load`](x), `load(a)`, `match`,\n"
        "`losses.match`, `Model`\n```python\n`load`\n```\n`p.data.load`\n"
    )
    assert marking.link_names(text, names) == (
        "[`load`][p.data.load] and [`data.load`][p.data.load], [`load`](x), "
        "`load(a)`, `match`,\n[`losses.match`][p.losses.match], "
        "[`Model`][p.models.Model]\n```python\n`load`\n```\n"
        "[`p.data.load`][p.data.load]\n"
    )


def test_a_name_of_two_packages_is_no_link_by_itself():
    names = ["p.a.Thing", "p.b.Thing"]
    text = "`Thing` `a.Thing`"
    assert marking.link_names(text, names) == "`Thing` [`a.Thing`][p.a.Thing]"


def test_doctests_become_blocks_of_code():
    text = "Says.\n\nExample:\n\n>>> f()  # doctest: +SKIP\n1\n\nMore."
    assert marking.fence_examples(text) == (
        "Says.\n\n**Example**\n\n```pycon\n>>> f()\n1\n```\n\nMore."
    )


def test_links_lead_somewhere_in_the_repository_too():
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]
    pages += ROOT.glob("guides/*.md")
    wrong, seen = [], 0
    for page in pages:
        text = re.sub(r"`[^`]*`", "", page.read_text())
        for link in re.findall(r"\]\(([^)\s#]+)[^)]*\)", text):
            # The reference is on the site alone.
            if "://" not in link and not link.startswith("reference/"):
                seen += 1
                if not (page.parent / link).exists():
                    wrong.append(f"{page.name}: {link}")
    assert not wrong
    assert seen > 100  # README, guides and pages have more


def calls_in(text):
    """Calls of public names in prose and code of a page, and their nodes."""
    names = {name.split(".")[-1] for name in public.public_names()}
    for code in re.findall(r"`([^`\n]+)`", text) + re.findall(
        r"^```python\n(.*?)^```", text, re.DOTALL | re.M
    ):
        try:
            tree = ast.parse(code)
        except SyntaxError:  # shell, paths, words
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func).split(".")
                if called[0] in names:
                    yield called, node


def test_arguments_in_pages_exist():
    found = {n.split(".")[-1]: n for n in public.public_names()}
    seen = 0
    for page in sorted((ROOT / "docs").glob("*.md")):
        for called, node in calls_in(page.read_text()):
            package, _, name = found[called[0]].rpartition(".")
            function = getattr(importlib.import_module(package), name)
            known, text = {}, ""
            for part in [None, *called[1:]]:
                if part is not None:
                    function = getattr(function, part, None)
                if function is None:  # of a variable with that name
                    break
                parameters = inspect.signature(function).parameters
                # What is passed on is an argument of the class, or told.
                passed_on = {"kwargs", "options", "changes"} & set(parameters)
                known = {**(known if passed_on else {}), **parameters}
                text = function.__doc__ if passed_on else ""
            for keyword in node.keywords if function else ():
                seen += 1
                assert keyword.arg in known or keyword.arg in text, (
                    f"{page.name}: {ast.unparse(node)}"
                )
    assert seen > 30  # the pages have more


PAGE = '<body><article><h1 id="a">A</h1>{}</article></body>'


def pages_of(site, **texts):
    for name, text in texts.items():
        path = site / name.removeprefix("first") / "index.html"
        path.parent.mkdir(exist_ok=True)
        path.write_text(PAGE.format(text))
    return check.read(site)


def test_broken_links_are_found(tmp_path):
    pages = pages_of(
        tmp_path,
        first='<a href="two/#a">b</a><a href="two/#x">b</a><img src="no.png">'
        '<a href="https://keras.io/no">c</a><a href="three/">d</a>',
        two='<a href="..">back</a><a href="#a">up</a>',
    )
    assert check.broken_links(tmp_path, pages) == [
        "/: no heading two/#x",
        "/: nothing at no.png",
        "/: nothing at three/",
    ]


def test_public_names_must_have_a_place_and_a_text(tmp_path, monkeypatch):
    names = ["p.a.f", "p.a.g", "p.a.h"]
    monkeypatch.setattr(check, "public_names", lambda: names)
    pages = pages_of(
        tmp_path,
        two='<h2 id="p.a.f">f</h2><p>says</p><h2 id="p.a.g">g</h2>g(x)',
    )
    lines = [f"{name} py:function 1 two/#$ -" for name in names[:2]]
    inventory = zlib.compress("\n".join(lines).encode())
    (tmp_path / "objects.inv").write_bytes(b"#\n#\n#\n#\n" + inventory)
    assert check.missing_names(tmp_path, pages) == [
        "p.a.g: the reference says nothing of it",
        "p.a.h: it is not in the reference",
    ]


def test_answers_three_clicks_away_are_none(tmp_path):
    pages = pages_of(
        tmp_path,
        first='<a href="two/">b</a>',
        two='<a href="../three/">c</a>',
        three='<a href="../four/">d</a><h2 id="b">B</h2>the answer',
        four="the answer",
    )

    def reason(place, answer="the answer"):
        return check.unanswered(check.Question("Q?", place, answer), pages)

    assert reason("three/") is None
    assert "Two clicks do not lead" in reason("four/")
    assert "Two clicks do not lead" in reason("three/#b")
    assert "Nothing of" in reason("three/#a", "another")
    assert "There is no /three/#c" in reason("three/#c")


def write_street(folder):
    """Twelve photographs of three classes, each with a size of its own."""
    from PIL import Image

    rng = np.random.default_rng(0)
    for name in ("images", "masks"):
        (folder / "street" / name).mkdir(parents=True)
    for index in range(12):
        mask = rng.integers(0, 3, (4, 5)).repeat(16, 0).repeat(16, 1)
        mask = mask[:, : 60 + index].astype("uint8")
        image = np.stack([mask, 2 - mask, mask], -1) * np.uint8(120)
        mask[:2] = 255
        street = folder / "street"
        Image.fromarray(image).save(street / f"images/{index:04}.png")
        Image.fromarray(mask).save(street / f"masks/{index:04}.png")


def test_segmentation_of_ones_own_masks(tmp_path, monkeypatch, capsys):
    """The page's code, one block after the other."""
    monkeypatch.chdir(tmp_path)
    write_street(tmp_path)
    text = (ROOT / "docs/your_own_masks.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.M)
    names = {}
    with eager_steps():
        for block in blocks:
            exec(block, names)
    images, masks = names["batches"][0]
    assert images.shape == (4, 64, 64, 3) and images.dtype == "float32"
    assert masks.shape == (4, 64, 64, 1)
    assert set(np.unique(masks)) <= {0, 1, 2, 255}
    np.testing.assert_array_equal(images, names["batches"][0][0])
    # Not by chance: colours are the classes.
    confusion = names["confusion"]
    assert confusion.sum() > 0
    assert np.trace(confusion) > 0.5 * confusion.sum()
    mask = names["example"]["segmentation_masks"][..., 0]
    assert names["predicted"].shape == mask.shape
    assert np.mean(names["predicted"] == mask) > 0.5
    assert "mean IoU" in capsys.readouterr().out
