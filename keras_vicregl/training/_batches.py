"""Epochs of as many steps as were asked for, of whatever batches there are."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras

from keras_vicregl._warnings import warn
from keras_vicregl.data.batches.identity import left_out
from keras_vicregl.training._start import check_start
from keras_vicregl.training.saving.folder import Position


def count_batches(batches: Any) -> float | None:
    """Batches of one iteration.

    Args:
        batches: what `fit` takes.

    Returns:
        A number, `math.inf` for endless batches, `None` where it is not known.
    """
    if isinstance(batches, keras.utils.PyDataset):
        count = batches.num_batches
        return math.inf if count is None else count
    # Data sets of a strategy of TensorFlow have no `len`, and others raise.
    cardinality = getattr(batches, "cardinality", None)
    if callable(cardinality):
        cardinality = cardinality()
    if cardinality is not None:
        count = int(cardinality)
        return {-1: math.inf, -2: None}.get(count, count)
    try:
        return len(batches)
    except TypeError:
        return None


def steps_of(batches: Any) -> int:
    """Steps in an epoch where nobody says how many.

    Args:
        batches: of a whole epoch.

    Raises:
        ValueError: if the batches do not tell.
    """
    count = count_batches(batches)
    if count is None or count == math.inf:
        raise ValueError(
            f"The batches have {'no end' if count else 'no known length'}: how "
            "many make an epoch? Pass `steps_per_epoch`, or let "
            "`make_batches(start=(0, 0))` return batches with a length."
        )
    return int(count)


def left_out_of(batches: Any, steps: int) -> str | None:
    """What an epoch leaves out, for people; None if nothing is known.

    Args:
        batches: what `fit` takes.
        steps: of a whole epoch.
    """
    known = getattr(batches, "identity", None)
    if not isinstance(known, Mapping) or "batch_size" not in known:
        return None
    count, size = known["examples"], known["batch_size"]
    # Otherwise the last batch is a smaller one.
    if count // size != steps:
        return None
    return left_out(count, size, known["shuffle"])


def check_validation(data: Any) -> None:
    """Refuses what cannot be validated on after each epoch.

    Raises:
        ValueError: if it has no end, no batches, or can be read only once.
    """
    if data is None or isinstance(data, (tuple, list, Mapping)):
        return
    count = count_batches(data)
    kinds: dict[float | None, str]
    kinds = {math.inf: "batches without an end", 0: "no batches"}
    found = kinds.get(count)
    if count is None and isinstance(data, Iterator):
        found = f"a {type(data).__name__}, which can be read only once"
    if found:
        raise ValueError(
            f"`validation_data` has to be read after each epoch; received "
            f"{found}. Pass what view_batches(..., fixed=True) or ArrayBatches "
            "makes, or arrays."
        )


def batches_for_fit(
    make_batches: Callable[..., Any],
    position: Position,
    steps: int,
    look: bool = False,
    made: Any = None,
) -> tuple[Any, int | None]:
    """Batches from a position on, of which `fit` makes the epochs asked for.

    Args:
        make_batches: see `pretrain`.
        position: where training goes on. In the middle of an epoch, for a
            `fit` of the rest of it alone.
        steps: of a whole epoch.
        look: whether to look where batches begin that are not this package's.
        made: what `make_batches(start=(0, 0))` has returned, if it was called.

    Returns:
        Batches, and `steps_per_epoch` of `fit`.

    Raises:
        ValueError: if there are more or fewer batches than steps.
    """
    batches = made if not any(position) else None
    if batches is None:
        batches = make_batches(start=tuple(position))
    count, left = count_batches(batches), steps - position.step
    # Another length tells enough.
    look = look and any(position) and count in (None, math.inf, left)
    if look and check_start(make_batches, batches, position, steps):
        batches = make_batches(start=tuple(position))
    if count is not None and count != math.inf:
        _check_count(int(count), left, position)
        return batches, left if position.step else None
    if count is None and not position.step:
        batches = _without_end(batches, make_batches, position, steps)
    return batches, left


def _check_count(count: int, left: int, position: Position) -> None:
    if count == left:
        return
    found = (
        f"`make_batches(start={tuple(position)})` has {count} batches an "
        f"epoch, but {left} steps are to be trained of it"
    )
    if count > left and position.step:
        warn(
            f"{found}: it seems to ignore `start`. The first {left} batches "
            "are trained again, and not those that are left.",
            RuntimeWarning,
        )
        return
    raise ValueError(
        f"{found}, as `steps_per_epoch` says. Leave `steps_per_epoch` out, or "
        "let `make_batches` return batches without an end (`.repeat()`), of "
        "which an epoch can be any number. `save_freq` saves within epochs."
    )


def _without_end(
    batches: Any,
    make_batches: Callable[..., Any],
    position: Position,
    steps: int,
) -> Any:
    """Batches of unknown number, begun again wherever they end.

    Keras notices that they have ended in a step without a batch, which some
    optimizers count.
    """
    if hasattr(batches, "repeat"):
        return batches.repeat()
    if hasattr(batches, "element_spec"):
        raise ValueError(
            "Batches of a strategy need a known length: use "
            "`tf.data.experimental.assert_cardinality` before they are "
            "distributed."
        )
    return _chained(batches, make_batches, position, steps)


def _chained(
    batches: Any,
    make_batches: Callable[..., Any],
    position: Position,
    steps: int,
) -> Iterator[Any]:
    done = position.epoch * steps + position.step
    while True:
        before = done
        for batch in batches:
            yield batch
            done += 1
        if done == before:
            return
        batches = make_batches(start=divmod(done, steps))
