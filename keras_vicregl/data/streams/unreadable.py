"""What could not be read of a data set: noted, and told of once."""

from __future__ import annotations

import threading
import warnings

import numpy as np

_NAMED = 5  # told of by name
# Errors whose text alone does not tell what they are.
_SAY_LITTLE = (AttributeError, LookupError, TypeError)


class UnreadableError(ValueError):
    """An image, or its mask, that cannot be read."""


class Reason(str):
    """What could not be read, and why: `name (why)`.

    Args:
        name: Of the example, or of its mask.
        why: A line.
    """

    name: str
    why: str

    def __new__(cls, name: str, why: str) -> Reason:
        """A text that knows its parts."""
        reason = super().__new__(cls, f"{name} ({why})")
        reason.name, reason.why = name, why
        return reason


class Unreadable:
    """The examples of one data set that could not be read.

    Args:
        what: Name of the data set.
        total: Examples in it.
        on_error: `"raise"` or `"skip"`.
        told: Reasons that need not be told of, to which those are added that
            are: of a source, which training and evaluations read in turn.
    """

    def __init__(
        self, what: str, total: int, on_error: str, told: set[str] | None = None
    ) -> None:
        self._what = what
        self._total = total
        self._raises = on_error == "raise"
        self._lock = threading.Lock()
        self._reasons: dict[int, Reason] = {}
        self._told = set() if told is None else told

    def add(self, index: int, reason: Reason) -> None:
        """Note an example, and why it could not be read.

        Raises:
            UnreadableError: If `on_error="raise"`.
        """
        with self._lock:
            reason = self._reasons.setdefault(index, reason)
        if self._raises:
            raise UnreadableError(
                f"Could not read {reason}. Remove or replace it, or leave out "
                "what cannot be read by on_error='skip'."
            )

    def tell(self) -> np.int64:
        """Warn of those that have not been told of; returns 0."""
        with self._lock:
            new = set(self._reasons.values()) - self._told
            self._told |= new
            count = len(self._reasons)
            message = (
                f"{count} of {self._total} images of {self._what} could not be "
                f"read and are skipped: {self._first()}"
            )
        if new and not self._raises:
            warnings.warn(message, stacklevel=1)
        return np.int64(0)

    def none_in_batch(self) -> np.int64:
        """Raise an error for a batch of which nothing is left."""
        raise UnreadableError(
            "None of the images of a batch could be read, so that there is "
            f"nothing to train on. Of {self._what}: {self._first()}"
        )

    def none_at_all(self) -> np.int64:
        """Raise an error if nothing is left of the data set; returns 0."""
        if len(self._reasons) >= self._total:
            raise UnreadableError(
                f"None of the {self._total} images of {self._what} could be "
                f"read: {self._first()}"
            )
        return np.int64(0)

    def _first(self) -> str:
        indices = sorted(self._reasons)
        groups: dict[str, list[str]] = {}
        for index in indices[:_NAMED]:
            reason = self._reasons[index]
            groups.setdefault(reason.why, []).append(reason.name)
        named = "; ".join(
            Reason(", ".join(names), why) for why, names in groups.items()
        )
        return named + ("; ..." if len(indices) > _NAMED else "")


def reason_of(error: BaseException, name: str) -> Reason:
    """An example's name, and what the error says, in one line."""
    text = getattr(error, "strerror", None) or str(error)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    line = lines[0] if lines else type(error).__name__
    if lines and isinstance(error, _SAY_LITTLE):
        line = f"{type(error).__name__}: {line}"
    return Reason(name, line.removeprefix(f"{name}; ").rstrip(".")[:200])
