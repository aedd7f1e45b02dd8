"""Files that are to be a source, and those that are left out of it."""

from __future__ import annotations

import os
import warnings
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, NamedTuple

from keras_vicregl.data.decoding.formats import named

if TYPE_CHECKING:
    import numpy as np

WAYS = "Convert or remove them, read them by read=function"
"""What to do about files that nothing here reads."""

_REASONS = 5  # told of


class FileList(NamedTuple):
    """Files, and what is told of each.

    Attributes:
        name: What to call all of them.
        paths: One an image.
        labels: (N,) int32, or None.
        masks: Paths, one an image, or None.
    """

    name: str
    paths: list[str]
    labels: np.ndarray | None
    masks: list[str] | None

    def without(
        self,
        bad: Mapping[int, str | None],
        what: str,
        raises: bool,
        ways: str = "Convert or remove them",
        *,
        of_masks: bool = False,
    ) -> FileList:
        """Those without some, of which is told.

        Args:
            bad: By number, perhaps with the reason.
            what: What they do or are.
            raises: Whether that is an error.
            ways: What to do about it.
            of_masks: Whether it is their masks.

        Raises:
            ValueError: If it is one, or nothing would be left.
        """
        if not bad:
            return self
        paths = (self.masks or []) if of_masks else self.paths
        groups: dict[str | None, list[str]] = {}
        for number, reason in bad.items():
            groups.setdefault(reason, []).append(paths[number])
        told = [
            named(group) + ("" if reason is None else f" ({reason})")
            for reason, group in list(groups.items())[:_REASONS]
        ]
        names = "; ".join(told) + "; ..." * (len(groups) > _REASONS)
        text = f"{len(bad)} of {len(paths)} files of {self.name} {what}"
        if raises or len(bad) == len(paths):
            also = "" if what == "cannot be read" else ", and cannot be read"
            out = ", or leave them out by on_error='skip'" * (
                len(bad) < len(paths)
            )
            raise ValueError(f"{text}{also}: {names}. {ways}{out}.")
        warnings.warn(f"{text}, and are left out: {names}.", stacklevel=2)
        return self._but(bad)

    def with_masks(self, raises: bool) -> FileList:
        """Those whose masks are there, where they have any.

        Args:
            raises: Whether it is an error that one is not.

        Raises:
            ValueError: If it is one, or nothing would be left.
        """
        masks = self.masks or []
        missing = [
            n for n, path in enumerate(masks) if not os.path.exists(path)
        ]
        if not missing:
            return self
        text = (
            f"{len(missing)} of {len(masks)} images have no mask of the same "
            "name"
        )
        names = named([masks[number] for number in missing])
        names = f"there is no {names}{_beside(masks[missing[0]])}"
        if raises or len(missing) == len(masks):
            way = ", or leave out such images by on_error='skip'" * (
                len(missing) < len(masks)
            )
            raise ValueError(f"{text}: {names}. Add them{way}.")
        warnings.warn(f"{text}, and are left out: {names}.", stacklevel=2)
        return self._but(missing)

    def _but(self, bad: Collection[int]) -> FileList:
        keep = sorted(set(range(len(self.paths))) - set(bad))
        return self._replace(
            paths=[self.paths[number] for number in keep],
            masks=self.masks and [self.masks[number] for number in keep],
            labels=None if self.labels is None else self.labels[keep],
        )

    def by_page(self, counts: Mapping[int, int]) -> tuple[FileList, list[int]]:
        """One for each page of each, and the numbers of the pages.

        Args:
            counts: By number of a file how many pages it has.

        Raises:
            ValueError: If there are masks.
        """
        if self.masks is not None:
            raise ValueError(
                "masks are one a file: there are none for pages='examples'."
            )
        found = [
            (row, page)
            for row in range(len(self.paths))
            for page in range(counts.get(row, 1))
        ]
        rows, pages = (list(each) for each in zip(*found, strict=True))
        labels = None if self.labels is None else self.labels[rows]
        paths = [self.paths[row] for row in rows]
        return self._replace(paths=paths, labels=labels), pages


def _beside(path: str) -> str:
    """What there is in the place of a mask, for a message."""
    folder, name = os.path.split(path)
    stem = os.path.splitext(name)[0]
    try:
        found = sorted(each for each in os.listdir(folder) if stem in each)
    except OSError:
        return ""
    if not found:
        return ""
    is_other = os.path.splitext(found[0])[0] == stem
    must = "be PNG files" if is_other else "have the images' names"
    return f" (but {found[0]!r}: masks must {must})"
