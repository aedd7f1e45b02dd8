"""Whether processes that should share out a batch have the same examples.

Nothing in a step would tell: it trains on duplicates.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from keras_vicregl.distribution.processes import gather_from_processes

# Rows of a batch that are compared, evenly spread.
_ROWS = 8


def compare_processes(batch: Any, model: Any = None) -> None:
    """Refuses batches that several processes have alike.

    Rows of it are compared. Where those are all the same, as of constant images
    in a measurement of speed, batches cannot be told apart, and pass.

    Args:
        batch: the first one of this process.
        model: see `gather_from_processes`.

    Raises:
        ValueError: on every process; also if their batches are not of the same
            number of examples, for which backends have no words.
    """
    arrays = arrays_of(batch)
    counts = [len(array) for array in arrays.values()][:1]
    shares = gather_from_processes(sum(counts), model)
    if len({*shares}) > 1:
        raise ValueError(
            "Every process must have the same share of a batch; received "
            f"shares of {', '.join(map(str, shares[:64]))} examples. Let the "
            "batch size divide by the number of processes, and drop the last "
            "batch where it is smaller (drop_remainder=True)."
        )
    first, second, differ = _digest(arrays)
    known = gather_from_processes(first if differ else -1, model)
    twins = _twins(known)
    if not twins:
        return
    # By chance two numbers of 31 bits are alike, two of 62 are not.
    others = gather_from_processes(second, model)
    twins = _twins(
        [-1 if a < 0 else (a, b) for a, b in zip(known, others, strict=True)]
    )
    if twins:
        said = "; ".join(", ".join(map(str, group)) for group in twins)
        raise ValueError(
            f"The first batch of training is the same in processes {said}: "
            "they would train on duplicates. Each needs its own share of a "
            "batch: with `setup = keras_vicregl.distribution.auto()`, "
            "`setup.batches(make_batches, batch_size)` calls "
            "`make_batches(batch_size=..., shard=(process, processes), "
            "start=...)`, as view_batches and ArrayBatches take it."
        )


def arrays_of(batch: Any) -> dict[str, Any]:
    """All arrays of a batch, by what to call them.

    Args:
        batch: inputs, or a tuple of inputs and labels.
    """
    named = {}
    parts = batch if isinstance(batch, (tuple, list)) else (batch,)
    inputs = parts[0] if isinstance(parts[0], Mapping) else {}
    for key, value in inputs.items():
        flat = keras.tree.flatten(value)
        for index, array in enumerate(flat):
            name = f"'{key}'" + (f"[{index}]" if len(flat) > 1 else "")
            named[name] = array
    for array in keras.tree.flatten(list(parts[1:2])):
        named["labels"] = array
    return {
        name: array
        for name, array in named.items()
        if getattr(array, "shape", ())
    }


def _twins(keys: Sequence[Any]) -> list[list[int]]:
    """Numbers of the processes of a key that is no -1, where they are several.

    The first few, for a message.
    """
    by_key: dict[Any, list[int]] = {}
    for process, key in enumerate(keys):
        if key != -1:
            by_key.setdefault(key, []).append(process)
    return [group[:8] for group in by_key.values() if len(group) > 1][:4]


def _digest(arrays: Mapping[str, Any]) -> tuple[int, int, bool]:
    """Two numbers of 31 bits for a batch, and whether its rows differ."""
    digest, differ = hashlib.blake2b(digest_size=8), False
    for name, array in sorted(arrays.items()):
        chosen = np.unique(
            np.linspace(0, max(len(array) - 1, 0), _ROWS).astype(int)
        )
        rows = [
            np.ascontiguousarray(keras.ops.convert_to_numpy(array[row]))
            for row in chosen.tolist()[: len(array)]
        ]
        digest.update(f"{name} {tuple(array.shape)}".encode())
        for row in rows:
            digest.update(row.tobytes())
            differ |= row.tobytes() != rows[0].tobytes()
    first, second = np.frombuffer(digest.digest(), "uint32") >> 1
    return int(first), int(second), differ
