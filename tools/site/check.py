"""Checks the built site: links, public names, a newcomer's questions.

    python tools/site/check.py build/site

MkDocs checks the links of pages when it builds them; this reads what was built,
so that those of the reference, the navigation and pictures are looked at too.
Prints what is wrong; the exit code is then 1. Needs nothing but Python. Links
to other sites are not followed.
"""

import html.parser
import pathlib
import sys
import urllib.parse
import zlib

from newcomer import QUESTIONS, Question
from public import public_names

_HEADINGS = {f"h{level}" for level in range(1, 7)}


class Page(html.parser.HTMLParser):
    """What is looked at of a page.

    Attributes:
        anchors: the ids in it.
        links: all links and pictures.
        in_text: the links within its text and its table of contents.
        sections: from the id of each heading to the text under it, that of
            headings below it included; "" has the whole text.
        said: the ids of headings under which there is a paragraph.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.in_text: list[str] = []
        self.sections: dict[str, str] = {"": ""}
        self.said: set[str] = set()
        self._open: dict[int, str] = {}
        self._within = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        """Anchors, links, and where the text begins."""
        values = dict(attrs)
        if values.get("id"):
            self.anchors.add(values["id"])
        if tag == "article" or "md-nav--secondary" in (
            values.get("class") or ""
        ):
            self._within += 1
        link = values.get("href" if tag in ("a", "link") else "src")
        if link is not None:
            self.links.append(link)
            if self._within and tag == "a":
                self.in_text.append(link)
        if tag == "p":
            self.said |= set(self._open.values())
        if tag in _HEADINGS and self._within:
            level = int(tag[1])
            self._open = {k: v for k, v in self._open.items() if k < level}
            self._open[level] = values.get("id", "")
            self.sections.setdefault(self._open[level], "")

    def handle_endtag(self, tag: str) -> None:
        """Where the text ends."""
        if tag == "article":
            self._within -= 1
            self._open = {}
        elif tag == "nav" and self._within:
            self._within -= 1

    def handle_data(self, data: str) -> None:
        """Text goes to all headings it stands under."""
        if self._within:
            for anchor in {"", *self._open.values()}:
                self.sections[anchor] += data


def read(site: pathlib.Path) -> dict[str, Page]:
    """The pages of a site by their addresses, "" for the first one."""
    return {
        path.parent.relative_to(site).as_posix().removeprefix(".") + "/"
        if path.parent != site
        else "": Page(path.read_text())
        for path in sorted(site.rglob("index.html"))
    }


def resolve(address: str, link: str) -> tuple[str, str] | None:
    """The place a link of a page leads to, and the anchor.

    Returns:
        None for another site.
    """
    base = f"http://site/{address}"
    parts = urllib.parse.urlsplit(urllib.parse.urljoin(base, link))
    if parts.scheme != "http" or parts.netloc != "site":
        return None
    path = urllib.parse.unquote(parts.path.lstrip("/"))
    return path.removesuffix("index.html"), urllib.parse.unquote(parts.fragment)


def broken_links(site: pathlib.Path, pages: dict[str, Page]) -> list[str]:
    """Links that lead to no file, or to no heading of a page."""
    wrong = []
    for address, page in pages.items():
        for link in page.links:
            found = resolve(address, link)
            if found is None:
                continue
            path, anchor = found
            if path in pages:
                # "__..." are of the theme, which makes them as it runs.
                if (
                    anchor
                    and not anchor.startswith("__")
                    and anchor not in pages[path].anchors
                ):
                    wrong.append(f"/{address}: no heading {link}")
            elif not (site / path).is_file():
                wrong.append(f"/{address}: nothing at {link}")
    return wrong


def missing_names(site: pathlib.Path, pages: dict[str, Page]) -> list[str]:
    """Public names that have no place in the reference."""
    inventory = (site / "objects.inv").read_bytes().split(b"\n", 4)[4]
    places = {}
    for line in zlib.decompress(inventory).decode().splitlines():
        name, _, _, place, _ = line.split(" ", 4)
        places[name] = place.replace("$", name)
    wrong = []
    for name in public_names():
        path, _, anchor = places.get(name, "").partition("#")
        if path not in pages or anchor not in pages[path].anchors:
            wrong.append(f"{name}: it is not in the reference")
        elif anchor not in pages[path].said:
            wrong.append(f"{name}: the reference says nothing of it")
    return wrong


def unanswered(question: Question, pages: dict[str, Page]) -> str | None:
    """Why two clicks do not answer a question, or None."""
    path, _, anchor = question.place.partition("#")
    if path not in pages or anchor not in pages[path].sections:
        return f"{question.text} There is no /{question.place}"
    if question.answer not in pages[path].sections[anchor]:
        return (
            f"{question.text} Nothing of {question.answer!r} is at "
            f"/{question.place}"
        )
    if (path, anchor) in _reached(pages):
        return None
    return f"{question.text} Two clicks do not lead to /{question.place}"


def _reached(pages: dict[str, Page]) -> set[tuple[str, str]]:
    """Places that are two clicks or less from the first page."""
    places = {("", "")}
    for _ in range(2):
        for address, _ in list(places):
            if address in pages:
                links = pages[address].in_text
                places |= {resolve(address, link) for link in links} - {None}
    return places


def main() -> None:
    """The command line."""
    site = pathlib.Path(sys.argv[1])
    pages = read(site)
    wrong = [
        *broken_links(site, pages),
        *missing_names(site, pages),
        *filter(None, (unanswered(each, pages) for each in QUESTIONS)),
    ]
    print(*wrong, sep="\n", end="\n" if wrong else "")
    print(
        f"{len(pages)} pages, {sum(len(p.links) for p in pages.values())} "
        f"links, {len(public_names())} public names, {len(QUESTIONS)} "
        f"questions: {len(wrong)} wrong"
    )
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
