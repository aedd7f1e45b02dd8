"""All variables of a training, as arrays."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, Protocol

import keras
import numpy as np


class Stateful(Protocol):
    """What is saved along with the variables."""

    def get_state(self) -> dict[str, Any]:
        """The state, of numbers, strings, NumPy arrays, lists, dictionaries."""

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes back to a state, from any other, and twice in a row."""


def groups(model: keras.Model) -> dict[str, list[Any]]:
    """Variables of a compiled model, in an order that depends on nothing.

    Paths depend on how many layers of a kind a process has made, so that only
    the order can tell which variable is which.
    """
    return {
        "model": model.variables,
        "optimizer": optimizer_variables(model.optimizer),
        "metrics": model.metrics_variables,
    }


def optimizer_variables(optimizer: Any) -> list[Any]:
    """Its variables, and those that Keras does not list.

    As the product of Nadam's momentums, where it is in a `LossScaleOptimizer`.
    """
    variables = list(optimizer.variables)
    known = {id(variable) for variable in variables}
    inner = getattr(optimizer, "inner_optimizer", None)
    for each in () if inner is None else vars(inner).values():
        if isinstance(each, keras.Variable) and id(each) not in known:
            variables.append(each)
            known.add(id(each))
    return variables


def size_in_bytes(model: keras.Model) -> int:
    """Of all variables."""
    return sum(
        int(np.prod(variable.shape)) * np.dtype(_dtype(variable)).itemsize
        for variables in groups(model).values()
        for variable in variables
    )


GROUPS = ("model", "optimizer", "metrics")


def arrays_of(
    model: keras.Model,
    dtypes: dict[str, str],
    of_groups: Collection[str] = GROUPS,
) -> Iterator[tuple[str, np.ndarray]]:
    """Names and values of all variables, one after the other.

    Args:
        model: a compiled and built model.
        dtypes: gets the dtype of each array, by name.
        of_groups: which of `groups`.

    Yields:
        `("model/0004/stem/kernel", array)` and so on. Dtypes that NumPy does
        not have, such as bfloat16, are integers of the same bits.

    Raises:
        FloatingPointError: if a weight or a variable of the optimizer is not
            finite.
    """
    for group in of_groups:
        for index, variable in enumerate(groups(model)[group]):
            name = f"{group}/{index:04d}/{variable.path}"
            array = np.asarray(keras.ops.convert_to_numpy(variable))
            dtypes[name] = _dtype(variable)
            # A metric that is not finite says so itself, in the logs.
            if group != "metrics" and keras.backend.is_float_dtype(
                dtypes[name]
            ):
                _check_finite(array, name)
            yield name, _storable(array)


def restore(
    variables: list[Any],
    arrays: Iterable[tuple[str, np.ndarray]],
    dtypes: Mapping[str, str],
) -> None:
    """Assigns saved arrays to variables, in their order.

    Args:
        variables: one group of a model, see `groups`.
        arrays: names and values as from `arrays_of`, one by one.
        dtypes: of the arrays, by name: all those of the group.

    Raises:
        ValueError: if they are not those of such a model.
    """
    if len(dtypes) != len(variables):
        raise ValueError(f"{len(dtypes)} variables, not {len(variables)}")
    for variable, (name, array) in zip(variables, arrays, strict=True):
        group, _, path = name.split("/", 2)
        array = array.view(np.dtype(dtypes[name]))
        # Names of an optimizer's variables hold paths.
        same_name = path.rpartition("/")[2] == variable.name
        if tuple(variable.shape) != array.shape or (
            group == "model" and not same_name
        ):
            raise ValueError(
                f"{name} of shape {array.shape}, not {variable.path} of shape "
                f"{tuple(variable.shape)}"
            )
        # Integers differ in width between backends.
        variable.assign(array.astype(np.dtype(_dtype(variable))))


def _dtype(variable: Any) -> str:
    return keras.backend.standardize_dtype(variable.dtype)


def _storable(array: np.ndarray) -> np.ndarray:
    if array.dtype.kind != "V":
        return array
    return array.view(f"u{array.dtype.itemsize}")


def _check_finite(array: np.ndarray, name: str) -> None:
    if not np.isfinite(array).all():
        raise FloatingPointError(
            f"{name} is not finite, and is not saved: training cannot go on "
            "from there. It can continue from the checkpoint before, with a "
            "lower learning rate or in float32."
        )
