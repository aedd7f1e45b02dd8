"""What is in a folder: images, splits, classes, and what is left out."""

from __future__ import annotations

import collections
import os
import pathlib
import re
import warnings
from collections.abc import Sequence
from typing import NamedTuple

from keras_vicregl._warnings import warn
from keras_vicregl.data.decoding.formats import (
    ARRAYS,
    SUFFIXES,
    named,
    suffix_of,
)

# Folders that systems make, with thumbnails and the like in them.
_OF_SYSTEMS = re.compile(
    r"@.*|#recycle|#snapshot|\$RECYCLE\.BIN|__MACOSX|__pycache__|lost\+found"
    r"|System Volume Information",
    re.IGNORECASE,
)
# Notes, lists and the like beside images, which nobody misses; README too.
_NOTES = (
    *(".txt", ".md", ".rst", ".html", ".htm", ".pdf", ".doc", ".docx"),
    *(".json", ".jsonl", ".csv", ".tsv", ".xml", ".yaml", ".yml", ".xls"),
    *(".xlsx", ".toml", ".cfg", ".ini", ".db", ".log", ".lock", ".url"),
    *(".py", ".ipynb", ".sh", ".bat", ".m", ".part", ".tmp", ".bib", ".tex"),
)
_SPLIT = re.compile(
    r"((images?|imgs?|pictures?|photos?|data|dataset|seg|public|private)[-_ ])?"
    r"(train|training|trainval|val|valid|validation|dev|test|testing|eval"
    r"|evaluation|holdout|(un)?label+ed)"
    r"([-_ ]?(set|data|split|images?|\d+|[ab]\b))*"
    r"|(fold|split)[-_ ]?\d+",
    re.IGNORECASE,
)
_PICTURES = re.compile(
    r"(jpeg|jpg|png|rgb)?[-_ ]?(images?|imgs?|pictures?|photos?|frames?"
    r"|inputs?|rgb|colou?rs?)(_?\d+)?",
    re.IGNORECASE,
)
_MASKS = re.compile(
    r".*(masks?|annots?|annotations?|segmentation(class|object|s)?"
    r"|ground[-_ ]?truths?|gt|labels?|targets?|semantics?|depths?)(_?\d+)?",
    re.IGNORECASE,
)
# What stands after the name of an image in that of its mask.
_OF_MASK = re.compile(
    r"(.+?)[-_. ]*(masks?|gt|seg|segmentation|labels?|annotations?"
    r"|ground[-_ ]?truth)([-_ ]?\d+)?",
    re.IGNORECASE,
)


class Listing(NamedTuple):
    """What was found in a folder.

    Attributes:
        root: The folder.
        paths: Of all images, in an order that is the same everywhere.
        classes: Names of the folders in it that may be classes: they have
            images or nothing in them.
    """

    root: str
    paths: list[str]
    classes: list[str]

    def parts(self) -> list[list[str]]:
        """Each path below the folder, in parts."""
        begin = len(os.path.join(self.root, ""))
        return [path[begin:].split(os.sep) for path in self.paths]

    def inner_folders(self) -> set[str]:
        """Names of folders that are deeper than those in the folder."""
        begin = len(os.path.join(self.root, ""))
        folders = {path.rpartition(os.sep)[0] for path in self.paths}
        return {
            name
            for folder in folders
            for name in folder[begin:].split(os.sep)[1:]
        }


def list_images(
    root: pathlib.Path,
    cache: bool | str | os.PathLike = False,
    reads_all: bool = False,
) -> Listing:
    """All images in a folder and in those in it; warns of what is left out.

    `.npy` files are images where there are no others. Folders are looked into
    once, whatever links there are: links come last, so that a folder has its
    own name. Hidden files and the folders of systems (`__MACOSX`, `@eaDir`) are
    left out.

    Args:
        root: The folder.
        cache: Of `FileSource`: a folder in which there are copies.
        reads_all: Whether files of any name are images, but for notes.

    Raises:
        ValueError: If there are none.
    """
    aside = () if isinstance(cache, bool) else (os.path.realpath(cache),)
    paths, surplus, again = _walk(str(root), aside)
    if reads_all:
        paths, surplus = paths + surplus, []
        _warn_of_kinds(str(root), paths)
    elif not paths:
        paths = [path for path in surplus if suffix_of(path) == ARRAYS]
        surplus = [path for path in surplus if suffix_of(path) != ARRAYS]
    left_out = collections.Counter(
        suffix_of(path) or "no ending" for path in surplus
    )
    told = ", ".join(f"{n} {end}" for end, n in sorted(left_out.items()))
    if not paths:
        raise ValueError(
            f"There are no images in the folder {str(root)!r}, nor in folders "
            f"in it: no files "
            + ("" if reads_all else f"that end in {', '.join(SUFFIXES)}")
            + (f", but {told}." if told else ".")
        )
    if surplus:
        warnings.warn(
            f"{len(surplus)} files in {str(root)!r} are left out, since their "
            f"names do not end as those of images do: {told}.",
            stacklevel=2,
        )
    paths.sort(key=lambda path: path.split(os.sep))
    again = [path for path in again if os.path.dirname(path) == str(root)]
    if again:
        warnings.warn(
            f"{len(again)} links in {str(root)!r} lead to folders that are "
            "read under their own name, and are left out: "
            f"{named(sorted(os.path.basename(path) for path in again))}.",
            stacklevel=2,
        )
    found = Listing(str(root), paths, [])
    names = _classes(root, found.parts())
    linked = {os.path.basename(path) for path in again}
    return found._replace(classes=[n for n in names if n not in linked])


def entries_of(folder: str | os.PathLike) -> list[os.DirEntry[str]]:
    """What is in a folder and neither hidden nor of a system, sorted."""
    with os.scandir(os.fspath(folder)) as entries:
        found = [
            entry
            for entry in entries
            if not entry.name.startswith(".")
            and not _is_special(entry)
            and not (entry.is_dir() and _OF_SYSTEMS.fullmatch(entry.name))
        ]
    return sorted(found, key=lambda entry: entry.name)


def _is_special(entry: os.DirEntry) -> bool:
    """Whether it is there, but a pipe, socket or device: reading might wait."""
    return not (
        entry.is_file()
        or entry.is_dir()
        or (entry.is_symlink() and not os.path.exists(entry.path))
    )


def split_roots(root: pathlib.Path, split: str) -> list[pathlib.Path]:
    """The folders of a split: `"train"`, or several as `"train+val"`.

    Raises:
        ValueError: If one is not there, or named twice.
    """
    names = [split] if (root / split).is_dir() else split.split("+")
    missing = [name for name in names if not (root / name).is_dir()]
    if root.is_dir() and (missing or "" in names):
        found = [entry.name for entry in entries_of(root) if entry.is_dir()]
        raise ValueError(
            f"split={split!r} must be a folder in {str(root)!r}, or several "
            "joined by '+'. It has "
            + (", ".join(map(repr, found[:10])) if found else "no folders")
            + ". Pass split=None for all of it."
        )
    if len(set(names)) < len(names):
        raise ValueError(f"split={split!r} names a folder twice.")
    return [root / name for name in names]


def within_splits(found: Listing) -> tuple[list[list[str]], list[str] | None]:
    """Paths below the folders of classes, where these are in splits or not.

    Returns:
        Parts of the paths, which begin with the class if they have two or more,
        and the names of classes; None where folders are not classes, since some
        have names of splits.
    """
    parts = found.parts()
    splits = [name for name in found.classes if _SPLIT.fullmatch(name)]
    if not splits:
        return parts, found.classes
    others = [name for name in found.classes if name not in splits]
    if others:
        warnings.warn(
            f"{found.root!r} has folders with names of splits, "
            f"{named(splits)}, beside {named(others)}: none is taken for a "
            f"class, and all {len(parts)} images are taken. Pass split for "
            "some of them, or class_names if these are classes.",
            stacklevel=2,
        )
        return parts, None
    if len(splits) > 1:
        warnings.warn(
            f"All {len(parts)} images of {found.root!r} are taken, of the "
            f"splits {named(splits)}. Pass split for some of them, as "
            f"split={splits[0]!r} or split={'+'.join(splits[:2])!r}.",
            stacklevel=2,
        )
    inner = [part[1:] if len(part) > 1 else part for part in parts]
    roots = [os.path.join(found.root, split) for split in splits]
    return inner, sorted(
        {name for each in roots for name in _classes(each, inner)}
    )


def warn_of_looks(
    root: str,
    folders: Sequence[str | None],
    names: Sequence[str],
    inner: Sequence[str],
    labels: bool,
) -> None:
    """Warns where folders do not look like classes.

    Args:
        root: What to call all of them.
        folders: Of each image, or None.
        names: Of the folders.
        inner: Of those in them, at any depth.
        labels: Whether they are to be classes.
    """
    counts = collections.Counter(name for name in folders if name is not None)
    for found in (names, inner):
        pictures = [name for name in found if _PICTURES.fullmatch(name)]
        masks = [
            name
            for name in found
            if name not in pictures and _MASKS.fullmatch(name)
        ]
        if pictures and masks:
            break
    if pictures and masks:
        warnings.warn(
            f"{root!r} looks like images and masks, not like classes: it has "
            f"the folders {named(pictures)} and {named(masks)}, and all "
            f"{len(folders)} files are taken for images. Pass the folder of "
            "the images alone, and that of the masks as masks.",
            stacklevel=2,
        )
        return
    total = sum(counts.values())
    one_each = len(counts) >= 3 and total == len(counts)
    few_each = len(counts) >= 10 and total < 2 * len(counts)
    if labels and (one_each or few_each):
        warnings.warn(
            f"{root!r} looks like a folder an image, not like classes: "
            f"{total} images are in {len(counts)} folders, which become "
            f"{len(names)} classes. Pass labels=False, or class_names if they "
            "are classes.",
            stacklevel=2,
        )


def warn_of_masks(root: str, paths: Sequence[str]) -> None:
    """Warns of images that look like masks beside what they are of.

    Args:
        root: What to call all of them.
        paths: Of all images.
    """
    split = [os.path.splitext(path) for path in paths]
    stems: dict[str, str] = {}
    for path, (stem, _) in zip(paths, split, strict=True):
        stems.setdefault(stem, path)
    found = []
    for path, (stem, end) in zip(paths, split, strict=True):
        folder, _, name = stem.rpartition(os.sep)
        match = _OF_MASK.fullmatch(name)
        other = match and stems.get(os.path.join(folder, match[1]))
        if other is None and end.lower() == ".png" and stems[stem] != path:
            other = stems[stem]  # a photograph, .jpg
        if other is not None:
            found.append((path, other))
    # A few are chance.
    if len(found) > len(paths) / 4:
        mask, image = (named([path]) for path in found[0])
        warnings.warn(
            f"{len(found)} of {len(paths)} files of {root!r} look like masks "
            f"of images beside them, as {mask} of {image}: all are taken for "
            "images. Pass the images alone, as a list of files, and the others "
            "as masks.",
            stacklevel=2,
        )


def _warn_of_kinds(root: str, paths: Sequence[str]) -> None:
    """Says what a function is going to read, where it is of several kinds."""
    kinds = collections.Counter(suffix_of(p) or "no ending" for p in paths)
    if len(kinds) > 1:
        told = ", ".join(f"{n} {end}" for end, n in sorted(kinds.items()))
        warn(
            f"`read` is given all {len(paths)} files in {root!r}: {told}. Pass "
            "a list of files for some of them.",
        )


def _classes(
    root: str | os.PathLike, parts: Sequence[Sequence[str]]
) -> list[str]:
    """Folders in a folder with images, given by parts, or nothing in them."""
    filled = {part[0] for part in parts if len(part) > 1}
    return [
        entry.name
        for entry in entries_of(root)
        if entry.is_dir() and (entry.name in filled or _is_empty(entry.path))
    ]


def _walk(
    root: str, aside: Sequence[str]
) -> tuple[list[str], list[str], list[str]]:
    """Paths of images, of files left out, and of links to folders met again."""
    images: list[str] = []
    surplus: list[str] = []
    again: list[str] = []
    folders, links, seen = [root], list[str](), set(aside)
    while folders or links:
        folder = folders.pop() if folders else links.pop(0)
        # Links may lead back to where they are.
        place = os.path.realpath(folder)
        if place in seen:
            again += [folder] if os.path.islink(folder) else []
            continue
        seen.add(place)
        for entry in entries_of(folder):
            if entry.is_dir():
                (links if entry.is_symlink() else folders).append(entry.path)
            elif suffix_of(entry.name) in SUFFIXES:
                images.append(entry.path)
            elif not _is_note(entry.name) and _has_contents(entry.path):
                surplus.append(entry.path)
    return images, surplus, again


def _is_note(name: str) -> bool:
    return (
        suffix_of(name) in _NOTES or re.fullmatch("[A-Z_]+", name) is not None
    )


def _has_contents(path: str) -> bool:
    # A link may lead nowhere.
    return os.path.exists(path) and os.path.getsize(path) > 0


def _is_empty(folder: str) -> bool:
    return not any(files for _, _, files in os.walk(folder))
