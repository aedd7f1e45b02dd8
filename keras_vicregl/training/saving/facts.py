"""What a training may not change without being told to."""

from __future__ import annotations

import functools
import json
import warnings
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

import keras

# Names differ from process to process, and modules from backend to backend.
_LEFT_OUT = {
    "build_config",
    "module",
    "name",
    "path",
    "registered_name",
    "shared_object_id",
}
# What does not bear upon what is learnt, or is told by variables and views. The
# layers of Keras' graphs have their names in lists.
_FREE = {
    "build_input_shape",
    "input_layers",
    "input_shape",
    "jit_compile",
    "layers",
    "normalization",
    "output_layers",
    "remat",
    "synchronized",
    "trainable",
}
# Differences that an error tells of.
_TOLD = 8


class Change(NamedTuple):
    """A fact that is another than when training began."""

    what: str
    before: Any
    now: Any

    def __str__(self) -> str:
        return f"{self.what}={self.before!r}, now {self.what}={self.now!r}"


def optimizer_facts(optimizer: keras.optimizers.Optimizer) -> dict[str, Any]:
    """Class and configuration of an optimizer, without nesting.

    Returns:
        `{"class": "Adam", "learning_rate": 0.001, ...}`, as JSON has them. A
        schedule has its class in `learning_rate.class` and so on; of a function
        it is not known what it computes.
    """
    with warnings.catch_warnings():
        # That lambdas are unsafe to load, which nobody does.
        warnings.simplefilter("ignore")
        found = keras.saving.serialize_keras_object(optimizer)
    facts: dict[str, Any] = {}
    _flatten("", json.loads(json.dumps(found, default=str)), facts)
    return facts


def configuration_facts(thing: Any) -> dict[str, Any]:
    """Configuration of a model or of views, as far as it is their own.

    Args:
        thing: a `VICRegL`, a `MultiView`, or anything else: of what has no
            `get_config` nothing is known, nor of layers in graphs of Keras.

    Returns:
        `{"class": "VICRegL", "alpha": 0.75, "backbone.class": "ResNet", ...}`.
    """
    try:
        config = thing.get_config()
    except (AttributeError, NotImplementedError):
        return {}
    found = {"class_name": type(thing).__name__, "config": config}
    facts: dict[str, Any] = {}
    text = json.dumps(found, default=lambda value: type(value).__name__)
    _flatten("", json.loads(text), facts)
    return {
        name: value
        for name, value in facts.items()
        if _FREE.isdisjoint(name.split("."))
    }


def _flatten(prefix: str, value: Any, facts: dict[str, Any]) -> None:
    if not isinstance(value, dict):
        facts[prefix] = value
        return
    if value.get("class_name") == "DTypePolicy":
        facts[prefix] = value["config"]["name"]
        return
    if "class_name" in value:
        inside = f"{prefix}." if prefix else ""
        facts[f"{inside}class"] = value["class_name"]
        if isinstance(value.get("config"), dict) and (
            value["class_name"] != "__lambda__"
        ):
            _flatten(prefix, value["config"], facts)
        return
    for key, item in value.items():
        if key not in _LEFT_OUT:
            _flatten(f"{prefix}.{key}" if prefix else key, item, facts)


def batches_facts(
    make_batches: Callable[..., Any], batches: Any
) -> dict[str, Any]:
    """What is known of batches: their `identity`, or else a bound `seed`.

    Args:
        make_batches: what made them.
        batches: of `view_batches`, `ArrayBatches`, or anything else.
    """
    identity = getattr(batches, "identity", None)
    if isinstance(identity, Mapping):
        return json.loads(json.dumps(dict(identity), default=str))
    while isinstance(make_batches, functools.partial):
        if isinstance(make_batches.keywords.get("seed"), int):
            return {"seed": make_batches.keywords["seed"]}
        make_batches = make_batches.func
    return {}


class Facts:
    """What a training began with, and what it has now.

    Args:
        given: facts by part, besides those of the optimizer.
        allow_changes: whether they may be others than it began with; or names
            of those that may, which stand for all that is in them.
        tell: gets the event "changed" for each that is.
    """

    def __init__(
        self,
        given: Mapping[str, Mapping[str, Any]],
        allow_changes: bool | Collection[str],
        tell: Callable[..., None],
    ) -> None:
        self._given = given
        if isinstance(allow_changes, str):
            raise TypeError(
                "`allow_changes` must be True, False or a list of names. "
                f"Received: allow_changes={allow_changes!r}: pass "
                f"[{allow_changes!r}]."
            )
        self._allow_changes = allow_changes
        self._tell = tell
        self._first: dict[str, Any] = {}
        self._told: list[Change] = []
        self._compiled: tuple[Any, dict[str, Any]] | None = None

    def begin(self, model: keras.Model) -> None:
        """Takes present facts for those that training began with."""
        self._first = self._now(model)

    def describe(self, model: keras.Model) -> dict[str, Any]:
        """What a checkpoint keeps, for `agree`."""
        # Training itself may change some, such as a learning rate.
        reached = optimizer_facts(model.optimizer)
        return {"facts": self._first, "reached": reached}

    def agree(
        self, model: keras.Model, description: Mapping[str, Any]
    ) -> list[str]:
        """Compares facts with those of a checkpoint.

        Args:
            model: compiled.
            description: of the checkpoint. Of what it does not say nothing is
                known: an older one says nothing.

        Returns:
            Names of those of the optimizer that have changed, if they may.

        Raises:
            ValueError: if any has changed and none may.
        """
        now, first = self._now(model), description.get("facts", {})
        reached = {"optimizer": description.get("reached", {})}
        found = {
            part: _changes(first[part], now[part], reached.get(part, {}))
            for part in now
            if part in first
        }
        told = [
            Change(f"{part}.{what}", before, value)
            for part, changed in found.items()
            for what, before, value in changed
        ]
        refused = [c for c in told if not self._may_change(c.what)]
        if refused:
            told = refused
            more = len(told) - _TOLD
            words = [*map(str, told[:_TOLD]), f"{more} more"]
            raise ValueError(
                f"This training began with "
                f"{'; '.join(words if more > 0 else words[:-1])}. "
                "Continue with what it began with, pass `allow_changes=True` "
                "to go on with what is now, or use another folder."
            )
        for change in told:
            if change not in self._told:
                self._tell("changed", **change._asdict())
        self._told = told
        same = {part: first[part] for part in first if not found.get(part)}
        self._first = {**now, **same}
        return [change.what for change in found.get("optimizer", ())]

    def _may_change(self, what: str) -> bool:
        if isinstance(self._allow_changes, bool):
            return self._allow_changes
        return any(
            what == name or what.startswith(f"{name}.")
            for name in self._allow_changes
        )

    def _now(self, model: keras.Model) -> dict[str, Any]:
        # Those that it was compiled with, not what training has made of them.
        if self._compiled is None or self._compiled[0] is not model.optimizer:
            self._compiled = model.optimizer, optimizer_facts(model.optimizer)
        return {
            **self._given,
            "model": configuration_facts(model),
            "optimizer": self._compiled[1],
        }


def _changes(
    first: Mapping[str, Any], now: Mapping[str, Any], reached: Mapping[str, Any]
) -> list[Change]:
    return [
        Change(name, first.get(name), now.get(name))
        for name in {**first, **now}
        if now.get(name) != first.get(name)
        and not (name in reached and now.get(name) == reached[name])
    ]
