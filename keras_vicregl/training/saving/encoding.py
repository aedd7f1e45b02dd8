"""Python values as JSON, with the arrays in them apart."""

from __future__ import annotations

import collections
import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

_SEQUENCES = {
    "tuple": tuple,
    "set": set,
    "frozenset": frozenset,
}


def encode(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    """What JSON can hold, from which `decode` makes an equal value.

    Args:
        value: numbers, strings, `None`, NumPy arrays, and lists, tuples, sets,
            deques and dictionaries of them.
        arrays: gets the arrays, by names that depend on nothing but what they
            hold.

    Raises:
        TypeError: for anything else.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or type(value) in (bool, int, float, str):
        return value
    if type(value) is np.ndarray and value.dtype != object:
        return _reference(value, arrays)
    if type(value) is list:
        return [encode(item, arrays) for item in value]
    if type(value) is dict:
        if all(type(key) is str and key[:1] != "$" for key in value):
            return {key: encode(item, arrays) for key, item in value.items()}
        items = [encode(list(item), arrays) for item in value.items()]
        return {"$dict": items}
    if type(value) is collections.deque:
        items = [encode(item, arrays) for item in value]
        return {"$deque": items, "maxlen": value.maxlen}
    for name, kind in _SEQUENCES.items():
        if type(value) is kind:
            return {f"${name}": [encode(item, arrays) for item in value]}
    raise TypeError(f"{type(value).__name__} cannot be saved.")


def decode(value: Any, read: Callable[[str], np.ndarray]) -> Any:
    """The inverse of `encode`; `read` gives an array by its name."""
    if isinstance(value, list):
        return [decode(item, read) for item in value]
    if not isinstance(value, Mapping):
        return value
    if "$array" in value:
        return read(value["$array"]).view(np.dtype(value["dtype"]))
    if "$dict" in value:
        return dict(decode(item, read) for item in value["$dict"])
    if "$deque" in value:
        return collections.deque(decode(value["$deque"], read), value["maxlen"])
    for name, kind in _SEQUENCES.items():
        if f"${name}" in value:
            return kind(decode(value[f"${name}"], read))
    return {key: decode(item, read) for key, item in value.items()}


def _reference(
    array: np.ndarray, arrays: dict[str, np.ndarray]
) -> dict[str, str]:
    described = f"{array.dtype} {array.shape}".encode()
    digest = hashlib.sha256(described + array.tobytes()).hexdigest()
    name = f"state/{digest[:32]}"
    # NumPy's files do not know such as bfloat16.
    storable = array.dtype.kind != "V"
    arrays[name] = array if storable else array.view(f"u{array.dtype.itemsize}")
    return {"$array": name, "dtype": str(array.dtype)}
