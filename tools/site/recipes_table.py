"""Writes the table of docs/recipes.md from the recipes.

    python tools/site/recipes_table.py

Needs the package and a backend: so the page is written once, and a test says
when it is no longer what the recipes say.
"""

import pathlib
import re

PAGE = pathlib.Path(__file__).resolve().parents[2] / "docs/recipes.md"
HOW = "Run python tools/site/recipes_table.py"
_MARKED = re.compile(r"(<!-- recipes -->\n).*?(<!-- end -->)", re.DOTALL)


def table() -> str:
    """A section a family of recipes, Markdown."""
    from keras_vicregl.recipes import RECIPES

    rows = []
    for name, recipe in RECIPES.items():
        views = " + ".join(
            f"{group['count']} x {group['size']}"
            for group in recipe.views["groups"]
        )
        rows.append(
            f"### {name}\n\n"
            f"| | |\n|---|---|\n"
            f"| data | {recipe.data} |\n"
            f"| backbone | `{recipe.backbone}` |\n"
            f"| alpha | {recipe.alpha:g} |\n"
            f"| views, px | {views} |\n"
            f"| batch | {recipe.batch_size} |\n"
            f"| epochs | {recipe.epochs} |\n"
            f"| optimizer | {recipe.optimizer}, base rate "
            f"{recipe.base_learning_rate:g} |\n"
            f"| precision | {recipe.precision} |\n"
            f"| time | {recipe.time} |\n"
            f"| accuracy | {recipe.accuracy} |\n\n"
            f"```shell\n{recipe.command}\n```\n"
        )
    overview = [
        "| recipe | data | backbone | alpha | batch | epochs | run here |",
        "|---|---|---|---:|---:|---:|---|",
    ]
    for name, recipe in RECIPES.items():
        run = "no" if recipe.time == "not run" else "yes"
        overview.append(
            f"| [{name}](#{name}) | {recipe.data} | `{recipe.backbone}` "
            f"| {recipe.alpha:g} | {recipe.batch_size} | {recipe.epochs} "
            f"| {run} |"
        )
    return "\n".join([*overview, "", *rows])


def updated(text: str) -> str:
    """The page with what recipes say now.

    Raises:
        ValueError: if the page does not say where they are to stand.
    """
    if not _MARKED.search(text):
        raise ValueError(f"{PAGE} must have the marks of the table.")
    return _MARKED.sub(lambda m: f"{m[1]}\n{table()}\n{m[2]}", text)


if __name__ == "__main__":
    PAGE.write_text(updated(PAGE.read_text()))
