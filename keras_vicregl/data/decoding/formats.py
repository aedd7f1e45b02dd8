"""Which files are images, by their names and by how they begin.

Python alone: for lists of files before anything is decoded.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable

DECODED = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".webp")
# Values as they are (`data.decoding.raw`).
TIFF = (".tif", ".tiff", ".btf", ".tf8")
# What else is taken for an image. It cannot be decoded: it is told of rather
# than passed over.
OTHERS = (".heic", ".heif", ".avif", ".jp2")
SUFFIXES = (*DECODED, *TIFF, *OTHERS)
ARRAYS = ".npy"
"""Images where there are no others: beside these it is something else."""

NPY = b"\x93NUMPY"
"""How such files begin."""

_PNG = b"\x89PNG\r\n\x1a\n"
TIFF_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]")
_NAMED = 5  # files told of by name


def suffix_of(path: str | os.PathLike) -> str:
    """What a file's name ends in, in small letters, with the dot."""
    return os.path.splitext(os.fspath(path))[1].lower()


def undecodable(paths: Iterable[str]) -> list[int]:
    """Numbers of the files that cannot be decoded, whatever is in them.

    Names are believed; a file is looked into only where its name does not end
    like one that can be decoded. Files that are not there are none of these:
    they are missed when their turn comes.
    """
    return _others(paths, DECODED, _is_decoded)


def not_png(paths: Iterable[str]) -> list[int]:
    """Numbers of the files that are not PNG, as `undecodable`."""
    return _others(paths, (".png",), lambda head: head.startswith(_PNG))


def named(paths: list[str]) -> str:
    """The first of the names, for a message."""
    text = ", ".join(repr(readable(path)) for path in paths[:_NAMED])
    return text + (", ..." if len(paths) > _NAMED else "")


def readable(path: str) -> str:
    """A file's name as text of one line, which names need not be."""
    text = os.fsencode(path).decode(errors="backslashreplace")
    return _CONTROLS.sub(lambda found: repr(found[0])[1:-1], text)


def _others(
    paths: Iterable[str],
    suffixes: tuple[str, ...],
    is_right: Callable[[bytes], bool],
) -> list[int]:
    return [
        number
        for number, path in enumerate(paths)
        if suffix_of(path) not in suffixes
        and (head := head_of(path)) is not None
        and not is_right(head)
    ]


def head_of(path: str) -> bytes | None:
    """The first bytes of a file, 26, or None if it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read(26)
    except OSError:
        return None


def _is_decoded(head: bytes) -> bool:
    return head.startswith(
        (b"\xff\xd8\xff", _PNG, b"GIF8", b"BM", *TIFF_SIGNATURES, NPY)
    ) or (head.startswith(b"RIFF") and head[8:12] == b"WEBP")
