"""From a checkpoint's arrays to the variables of a model and its optimizer."""

from __future__ import annotations

import pathlib
from collections.abc import Collection, Mapping
from typing import Any

import keras

from keras_vicregl.training.saving.archive import (
    DamagedArchiveError,
    read_arrays,
)
from keras_vicregl.training.saving.state import (
    groups,
    optimizer_variables,
    restore,
)

_RATE = "learning_rate"
# Variables that begin with what is said by facts, and are kept where these have
# changed.
_KEPT = {
    _RATE: _RATE,
    "initial_scale": "dynamic_scale",
    "dynamic_growth_steps": "step_counter",
}


def restore_group(
    model: keras.Model,
    group: str,
    path: pathlib.Path,
    dtypes: Mapping[str, str],
) -> None:
    """Gives the variables of a group the values in a file.

    Args:
        model: a compiled and built model.
        group: one of `groups`.
        path: of the file.
        dtypes: of all its arrays, by name.

    Raises:
        ValueError: if they are of another model.
    """
    _restore(groups(model)[group], group, path, _of_group(group, dtypes))


def restore_changed_optimizer(
    optimizer: keras.optimizers.Optimizer,
    path: pathlib.Path,
    dtypes: Mapping[str, str],
    changed: Collection[str],
) -> bool:
    """Gives an optimizer of another configuration what it can take over.

    A learning rate that has changed, in the place of a schedule or another
    rate, is kept, and so is another scale of the loss. An optimizer of another
    class, or with other variables, only knows how many steps are done, for its
    schedule.

    Args:
        optimizer: built.
        path: of the file.
        dtypes: of all its arrays, by name.
        changed: names of facts that have, as in `optimizer_facts`.

    Returns:
        Whether it begins anew, without the moments of gradients and so on.
    """
    variables = optimizer_variables(optimizer)
    dtypes = _of_group("optimizer", dtypes)
    for fact, kept in _KEPT.items():
        if any(fact in name.split(".") for name in changed):
            variables = [v for v in variables if v.name != kept]
            dtypes = {n: d for n, d in dtypes.items() if _leaf(n) != kept}
    is_other = any(
        name.split(".")[-1] == "class" and _RATE not in name.split(".")
        for name in changed
    )
    if not is_other and len(variables) == len(dtypes):
        _restore(variables, "optimizer", path, dtypes)
        return False
    done = [name for name in dtypes if _leaf(name) == "iteration"]
    # Of an optimizer in an optimizer, the one inside counts.
    ((_, array),) = read_arrays(path, done[-1:])
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    # `iterations` is no variable where gradients are accumulated.
    inner._iterations.assign(array)
    _begin_copies(optimizer)
    return True


def _begin_copies(optimizer: Any) -> None:
    """What begins as a copy of the weights is one of those that are restored.

    Averages, and what a `ScheduleFreeAdamW` calls momentums.
    """
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    copies = []
    if getattr(optimizer, "use_ema", False):
        copies += [optimizer._model_variables_moving_average]
    if type(optimizer).__name__ == "ScheduleFreeAdamW":
        copies += [optimizer._momentums]
    for each in copies:
        for copy, variable in zip(
            each, optimizer._trainable_variables, strict=True
        ):
            # JAX is not to have the same array for both.
            copy.assign(keras.ops.copy(variable))


def _leaf(name: str) -> str:
    return name.rpartition("/")[2]


def _of_group(group: str, dtypes: Mapping[str, str]) -> dict[str, str]:
    return {n: d for n, d in dtypes.items() if n.startswith(f"{group}/")}


def _restore(
    variables: list[Any],
    group: str,
    path: pathlib.Path,
    dtypes: Mapping[str, str],
) -> None:
    try:
        restore(variables, read_arrays(path, dtypes), dtypes)
    except DamagedArchiveError:
        raise
    except ValueError as error:
        raise ValueError(
            f"{path} is of another model or optimizer. In its {group} it has "
            f"{error}. Continue with what it was saved from, or use another "
            "folder."
        ) from error
