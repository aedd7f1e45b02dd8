"""What the folder of a run says of how it began."""

from __future__ import annotations

import argparse
import json
import pathlib
from collections.abc import Collection
from typing import Any

from keras_vicregl.commands.given.options import as_usage
from keras_vicregl.commands.pretraining.arguments import FREE
from keras_vicregl.commands.pretraining.values import FILLED_IN
from keras_vicregl.commands.problems import UsageError

# What is chosen where nobody says it, and stays what it was chosen to be.
_CHOSEN = ("recipe", "epochs", "batch_size", "precision")


def settings_of(output: pathlib.Path) -> dict[str, Any] | None:
    """The settings that a run began with, None where no step was trained.

    Raises:
        UsageError: if they cannot be read.
    """
    from keras_vicregl.training import has_trained
    from keras_vicregl.training.settings import CONFIG

    if output.is_file():
        raise UsageError(f"--output {output} is a file, not a folder.")
    if not has_trained(output):
        return None
    path = output / CONFIG
    try:
        return json.loads(path.read_text()) if path.exists() else {}
    except ValueError as error:
        raise UsageError(
            f"{path} is damaged ({error}): give another --output."
        ) from error


def take_over(settings: argparse.Namespace, begun: dict[str, Any]) -> None:
    """Gives what was chosen when the run began to who goes on with it.

    Args:
        settings: those that nobody gave are changed.
        begun: of `settings_of`.
    """
    for name in _CHOSEN:
        if name not in settings.given and begun.get(name) is not None:
            setattr(settings, name, begun[name])
    views = begun.get("views") or {}
    for name in FILLED_IN:
        if views.get(name) is not None:
            settings.views.setdefault(name, views[name])
    network = (begun.get("model") or {}).get("backbone")
    if "recipe" not in settings.given and network is not None:
        # It may have been chosen together with the recipe.
        settings.model.setdefault("backbone", network)


def check_same_images(
    settings: argparse.Namespace, begun: dict[str, Any]
) -> None:
    """Looks at what else would be taken over for other images.

    Args:
        settings: with `output`, and what was given.
        begun: of `settings_of`.

    Raises:
        UsageError: if the run began with other images, or another recipe.
    """
    if settings.allow_changes:
        return
    _refuse(
        settings.output,
        {
            name: (begun[name], getattr(settings, name))
            for name in ("data", "recipe")
            if begun.get(name) is not None
            and name in settings.given
            and begun[name] != getattr(settings, name)
        },
    )


def keep(
    output: pathlib.Path,
    settings: dict[str, Any],
    begun: dict[str, Any] | None,
    allow_changes: bool,
    steps_per_epoch: int,
) -> bool | Collection[str]:
    """Writes settings, where a run may have them.

    Args:
        output: folder of the run.
        settings: as JSON has them.
        begun: of `settings_of`.
        allow_changes: whether they may be others than these.
        steps_per_epoch: batches in a whole epoch.

    Returns:
        What may have changed, as `pretrain` takes it.

    Raises:
        UsageError: if something has changed that may not.
    """
    from keras_vicregl.training import check_steps, keep_settings

    may_change: bool | Collection[str] = allow_changes
    free = settings if allow_changes or begun is None else FREE
    epochs = begun and begun.get("epochs")
    if epochs and epochs != settings["epochs"]:
        # Longer or shorter: it is the same training, at another pace.
        may_change = allow_changes or ["optimizer.learning_rate"]
        free = (*free, "epochs")
        print(
            f"epochs: {epochs} when it began, {settings['epochs']} now, by "
            "whose schedule the learning rate goes on."
        )
    now = json.loads(json.dumps(settings))  # tuples are lists there
    before = begun or {}
    _refuse(
        output,
        {
            name: (before.get(name), now.get(name))
            for name in {**before, **now}
            if before and name not in free and before.get(name) != now.get(name)
        },
    )
    with as_usage("--batch-size or images"):
        check_steps(output, steps_per_epoch, may_change)
    keep_settings(output, settings, free={*before, *settings})
    return may_change


def _refuse(output: pathlib.Path, changed: dict[str, tuple[Any, Any]]) -> None:
    """Raises a UsageError that tells of settings, before and now."""
    if not changed:
        return
    told = [
        words
        for name, (before, now) in sorted(changed.items())
        for words in _differences(name, before, now)
    ]
    raise UsageError(
        f"the run in {output} began otherwise: {'; '.join(told)}. Go on as it "
        "began, give another --output, or go on like this by --allow-changes."
    )


def _differences(name: str, before: Any, now: Any) -> list[str]:
    option = "FOLDER" if name == "data" else f"--{name.replace('_', '-')}"
    if not isinstance(before or {}, dict) or not isinstance(now or {}, dict):
        return [f"{option} was {_said(before)}, and is {_said(now)}"]
    before, now = before or {}, now or {}
    return [
        f"{option} {key} was {_said(before.get(key))}, and is "
        f"{_said(now.get(key))}"
        for key in {**before, **now}
        # That has an option of its own.
        if before.get(key) != now.get(key) and (name, key) != ("model", "alpha")
    ]


def _said(value: Any) -> str:
    if value is None:
        return "not given"
    return value if isinstance(value, str) else json.dumps(value)
