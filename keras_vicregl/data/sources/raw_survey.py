"""What headers tell of files whose values stay as they are, before all else."""

from __future__ import annotations

import collections
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from keras_vicregl.data.decoding import raw, tiff
from keras_vicregl.data.decoding.formats import (
    ARRAYS,
    DECODED,
    TIFF,
    head_of,
    named,
    readable,
    suffix_of,
)
from keras_vicregl.data.decoding.forms import RGB, Form, converted
from keras_vicregl.data.sources.raw_files import Read, read_by
from keras_vicregl.data.streams.ahead import within
from keras_vicregl.data.streams.unreadable import reason_of

# Files whose headers are looked at, evenly spread.
_LOOKED_AT = 1024
# PNG files that are looked at to learn whether any has 16 bits.
_FIRST_LOOK = 256
# Files that a function is tried with before it counts as one that reads none.
_TRIED = 5


class Survey(NamedTuple):
    """What was found.

    Attributes:
        forms: By the number of a file its form.
        bad: By the number of a file why it is no image.
        examples: By the number of a file how many images it is.
    """

    forms: Mapping[int, Form]
    bad: Mapping[int, str]
    examples: Mapping[int, int]


def kinds_of(paths: Sequence[str]) -> list[str]:
    """Of each file its kind, see `raw.kind_of`.

    Names are believed where they end as those of pictures; others are looked
    into, and PNG files, of which there are two kinds: all, if one of some that
    are evenly spread has 16 bits.
    """
    kinds, unsure, pngs = ["picture"] * len(paths), [], []
    for number, path in enumerate(paths):
        suffix = suffix_of(path)
        if suffix == ".png":
            pngs.append(number)
        elif suffix not in DECODED:
            unsure.append(number)
    some = spread(pngs, _FIRST_LOOK)
    if any(_kind(paths[number]) == "png" for number in some):
        unsure += pngs
    for number in unsure:
        kinds[number] = _kind(paths[number])
    return kinds


def survey(
    paths: Sequence[str],
    kinds: Sequence[str],
    pages: str | None,
    channels: int | None,
) -> Survey:
    """Looks at the headers of files.

    Of many, some that are evenly spread are looked at; all TIFF files where
    their pages are to be counted. What is not there, or on a disk that does not
    answer, is told of when its turn comes.

    Args:
        paths: The files.
        kinds: Theirs, see `kinds_of`.
        pages: See `load`.
        channels: See `load`.
    """
    numbers = spread(range(len(paths)), _LOOKED_AT)
    if pages == raw.EXAMPLES:
        tiffs = [n for n, kind in enumerate(kinds) if kind == "tiff"]
        numbers = sorted({*numbers, *tiffs})
    forms, bad, examples = {}, {}, {}
    for number in numbers:
        try:
            form, count = RGB, 1
            if kinds[number] != "picture":
                form, _, count = raw.header_of(paths[number], pages)
            forms[number] = converted(form, channels)
        except OSError:
            continue
        except ValueError as error:
            bad[number] = str(error)
            continue
        examples[number] = count
    return Survey(forms, bad, examples)


def tried(
    read: Read,
    paths: Sequence[str],
    channels: int | None,
    *,
    raises: bool,
    time_limit: float | None,
) -> Form:
    """The form of what a function reads, of the first file that it can read.

    Args:
        read: From a path to an array.
        paths: The files.
        channels: See `load`.
        raises: Whether the first failure is one too many.
        time_limit: Seconds that a file may take.

    Raises:
        ValueError: If it cannot read it, or any of the first few.
    """
    reasons = []
    for path in paths[:_TRIED]:
        try:
            image = within(lambda path: read_by(read, path), path, time_limit)
            form = Form(image.shape[-1], image.dtype.name)
            return converted(form, channels)
        except Exception as error:
            reasons.append(reason_of(error, readable(path)))
            if raises:
                raise ValueError(
                    f"`read` could not read {reasons[0]}. Mend it or the file, "
                    "or leave out what cannot be read by on_error='skip'."
                ) from error
    raise ValueError(
        f"`read` could read none of the first {len(reasons)} files: "
        + "; ".join(reasons)
    )


def common_form(forms: Mapping[int, Form]) -> Form:
    """The form that most files have."""
    return collections.Counter(forms.values()).most_common(1)[0][0]


def told_forms(forms: Mapping[int, Form], paths: Sequence[str]) -> str:
    """Which files have which form, for a message."""
    groups: dict[Form, list[str]] = {}
    for number, form in forms.items():
        groups.setdefault(form, []).append(paths[number])
    told = [
        f"{len(group)} {'has' if len(group) == 1 else 'have'} {form}, as "
        f"{named(group[:1])}"
        for form, group in groups.items()
    ]
    return "; ".join(told) + _way_out(groups)


def _way_out(forms: Mapping[Form, Any]) -> str:
    if {form.channels for form in forms} <= {1, 3}:
        of_bytes = {form.dtype for form in forms} == {"uint8"}
        if len({form.dtype for form in forms}) == 1:
            return (
                ". Pass channels=3, which makes three of one"
                + (", or channels=1, grey values" * of_bytes)
                + "."
            )
    return (
        ". Load those that are alike, or pass read, a function that makes them "
        "so."
    )


def needs_tifffile(paths: Sequence[str]) -> str:
    """What to say of TIFF files that nothing reads."""
    return (
        f"TIFF files need tifffile, which is not installed: `pip install "
        f"tifffile` reads {named(list(paths))}"
    )


def has_tifffile() -> bool:
    """Whether TIFF files can be read."""
    return tiff.is_available()


def spread(items: Sequence[int], most: int) -> list[int]:
    """Some of them, evenly spread, or all where there are no more."""
    if len(items) <= most:
        return list(items)
    rows = np.linspace(0, len(items) - 1, most).astype(int)
    return [items[row] for row in rows]


def _kind(path: str) -> str:
    head = head_of(path)
    if head is not None:
        return raw.kind_of(head)
    if suffix_of(path) in TIFF:  # missed when its turn comes
        return "tiff"
    return "npy" if suffix_of(path) == ARRAYS else "picture"
