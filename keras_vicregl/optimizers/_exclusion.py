"""Which variables an optimizer leaves out of something, for good.

Keras' own `exclude_from_weight_decay` is lost when an optimizer is saved and
loaded, and under TensorFlow the step sees raw variables without a path. So a
rule is settled once, when the optimizer is built, kept by the variable's index,
and written to the configuration.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any


class Exclusion:
    """Excluded variables: all with one axis, some by path, some one by one.

    Args:
        purpose: what they are excluded from, for messages.
        vectors: whether variables with one axis or none are excluded.
    """

    def __init__(self, purpose: str, vectors: bool) -> None:
        self._purpose = purpose
        self._vectors = vectors
        self._patterns: tuple[str, ...] = ()
        # The variables themselves, until they are known by their index; after
        # a reload, {"path", "shape", "index"} of each.
        self._variables: tuple[Any, ...] = ()
        self._saved: tuple[dict[str, Any], ...] = ()
        self._excluded: Any = None  # a frozenset, once it is settled

    def set(
        self,
        variables: Iterable[Any] | None,
        patterns: Iterable[str] | None,
    ) -> None:
        """Chooses variables, and regular expressions to find in paths."""
        if self._excluded is not None:
            raise ValueError(
                f"Variables can be excluded from {self._purpose} before the "
                "optimizer is built, which `fit` does; it is already."
            )
        if isinstance(patterns, str):
            raise ValueError(
                f"`var_names` must be a list of strings; received {patterns!r}."
            )
        self._variables = tuple(variables or ())
        self._patterns = tuple(patterns or ())
        self._saved = ()

    def settle(self, variables: Sequence[Any]) -> None:
        """Decides for each of the variables that are going to be trained."""
        chosen = {id(variable) for variable in self._variables}
        excluded = {
            index
            for index, variable in enumerate(variables)
            if id(variable) in chosen
        }
        excluded.update(self._find(entry, variables) for entry in self._saved)
        self._saved = tuple(
            {**_description(variables[index]), "index": index}
            for index in sorted(excluded)
        )
        self._variables = ()
        for index, variable in enumerate(variables):
            if (self._vectors and len(variable.shape) < 2) or any(
                re.search(pattern, _path(variable))
                for pattern in self._patterns
            ):
                excluded.add(index)
        self._excluded = frozenset(excluded)

    def __contains__(self, index: int) -> bool:
        return index in self._excluded

    def get_config(self) -> dict[str, Any]:
        """What `restore` takes, JSON-serialisable."""
        unsettled = [_description(variable) for variable in self._variables]
        return {
            "names": list(self._patterns),
            "variables": [*unsettled, *map(dict, self._saved)],
        }

    def restore(self, config: dict[str, Any]) -> None:
        """Takes what `get_config` gave."""
        self._patterns = tuple(config["names"])
        self._saved = tuple(config["variables"])

    def _find(self, entry: dict[str, Any], variables: Sequence[Any]) -> int:
        """The index of a saved variable among those of a reloaded model."""
        shape = tuple(entry["shape"])
        index = entry.get("index")
        if index is None:
            # Layers without a name of their own get another one each time, so
            # a path is what counts only where nothing better is known.
            paths = [_path(variable) for variable in variables]
            index = paths.index(entry["path"]) if entry["path"] in paths else -1
        if 0 <= index < len(variables):
            found = variables[index]
            if tuple(found.shape) == shape:
                return index
        raise ValueError(
            f"{entry['path']!r} of shape {shape}, excluded from "
            f"{self._purpose}, is not among the {len(variables)} variables "
            "that the reloaded optimizer is built on. Make a new optimizer "
            "for another model."
        )


if TYPE_CHECKING:
    from keras.optimizers import Optimizer as _Base
else:
    _Base = object


class SelectiveOptimizer(_Base):
    """Mixed into a Keras optimizer: exclusions that survive saving.

    `_rules` maps attributes of the configuration to their `Exclusion`.
    """

    def build(self, variables: Sequence[Any]) -> None:
        """Creates the optimizer's variables and settles exclusions."""
        if self.built:
            return
        super().build(variables)
        for rule in self._rules.values():
            rule.settle(variables)

    def exclude_from_weight_decay(
        self,
        var_list: Iterable[Any] | None = None,
        var_names: Iterable[str] | None = None,
    ) -> None:
        """Excludes more variables from weight decay; replaces earlier calls.

        Args:
            var_list: variables.
            var_names: regular expressions, searched for in variables' paths,
                such as `"backbone/stem"`.

        Raises:
            ValueError: once the optimizer is built.
        """
        self._rules["weight_decay"].set(var_list, var_names)

    def get_config(self) -> dict[str, Any]:
        """Everything `from_config` takes, JSON-serialisable."""
        return {
            **super().get_config(),
            "exclude_vectors": self.exclude_vectors,
            "exclusions": {
                name: rule.get_config() for name, rule in self._rules.items()
            },
        }

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: Any = None
    ) -> Any:
        """The inverse of `get_config`."""
        config = dict(config)
        exclusions = config.pop("exclusions", {})
        optimizer = super().from_config(config, custom_objects=custom_objects)
        for name, rule in exclusions.items():
            optimizer._rules[name].restore(rule)
        return optimizer

    def _use_weight_decay(self, variable: Any) -> bool:
        index = self._get_variable_index(variable)
        return index not in self._rules["weight_decay"]


def _path(variable: Any) -> str:
    # A plain tf.Variable has a name only.
    return getattr(variable, "path", variable.name)


def _description(variable: Any) -> dict[str, Any]:
    return {"path": _path(variable), "shape": list(variable.shape)}
