"""Hooks of MkDocs: pages that are not in docs/, and links between them.

Guides and the texts at the top of the repository stay where they are, and get a
place in the site. Links are written as they are right in the repository, where
people read these files too; here they become those of the site.
"""

import pathlib
import posixpath
import re
from typing import Any

from marking import link_names, outside_fences
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from public import ROOT, public_names
from reference_pages import pages

TEXTS = ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
_LINK = re.compile(r"(\]\()([^)\s#]+)?(#[^)\s]*)?(\))")
# From the place in the repository to that in the site.
_places: dict[str, str] = {}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds guides, texts and the reference."""
    _places.clear()
    docs = pathlib.Path(config.docs_dir)
    for file in files:
        if file.abs_src_path:
            path = pathlib.Path(file.abs_src_path)
            if path.is_relative_to(docs):
                _places[_in_repository(path)] = file.src_uri
    guides = ROOT / "guides"
    for path in (*guides.glob("*.md"), *guides.glob("images/**/*.png")):
        _add(files, config, path, path.relative_to(ROOT).as_posix())
    for name in TEXTS:
        _add(files, config, ROOT / name, name.lower())
    for name, text in pages().items():
        files.append(File.generated(config, f"reference/{name}", content=text))
    return files


def _add(
    files: Files, config: MkDocsConfig, path: pathlib.Path, place: str
) -> None:
    files.append(File.generated(config, place, abs_src_path=str(path)))
    _places[_in_repository(path)] = place


def _in_repository(path: pathlib.Path) -> str:
    return path.resolve().relative_to(ROOT).as_posix()


def on_page_markdown(
    markdown: str, page: Page, config: MkDocsConfig, **kwargs: Any
) -> str:
    """Links, names of the package, and what guides print."""
    place = page.file.src_uri
    source = {there: here for here, there in _places.items()}.get(place)
    if source is None:
        return markdown
    # What is in a `div` is Markdown only if it says so.
    markdown = re.sub(
        r'<div class="k-default-codeblock">',
        '<div class="k-default-codeblock" markdown="1">',
        markdown,
    )
    markdown = outside_fences(
        markdown, lambda text: _LINK.sub(_linked(source, place, config), text)
    )
    # Changes tell of names that are gone, too.
    if source == "CHANGELOG.md":
        return markdown
    return link_names(markdown, public_names())


def _linked(source: str, place: str, config: MkDocsConfig) -> Any:
    def link(match: re.Match) -> str:
        before, path, anchor, after = match.groups()
        if path is None or "://" in path:
            return match[0]
        there = posixpath.normpath(
            posixpath.join(posixpath.dirname(source), path)
        )
        if there in _places:
            path = posixpath.relpath(
                _places[there], posixpath.dirname(place) or "."
            )
        elif there.startswith("reference/") or not (ROOT / there).exists():
            pass  # MkDocs says whether there is one
        elif config.repo_url:
            path = f"{config.repo_url.rstrip('/')}/blob/main/{there}"
        return f"{before}{path}{anchor or ''}{after}"

    return link
