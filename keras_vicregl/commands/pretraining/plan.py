"""What is going to be done, said before it is."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pathlib

    import keras

_FEW_STEPS = 1_000
_WIDTH = 80


def plan(
    settings: argparse.Namespace,
    *,
    recipe: Any,
    source: Any,
    views: Any,
    model: keras.Model,
    steps: int,
    setup: Any,
    reasons: dict[str, str],
    exports: dict[str, pathlib.Path],
    is_begun: bool,
) -> Iterator[str]:
    """Lines, a heading each.

    Args:
        settings: all of them known.
        recipe: that is trained.
        source: of the images.
        views: `MultiView`.
        model: compiled.
        steps: of an epoch.
        setup: the devices.
        reasons: why "recipe", "batch" and "views" are what they are, as far as
            nobody asked for them, and which "values" images have.
        exports: paths by kind.
        is_begun: whether a step was trained in the folder.
    """
    sizes = " and ".join(
        f"{group.count} of {group.size[0]} x {group.size[1]} px"
        for group in views.groups
    )
    total = steps * settings.epochs
    epochs = f"{settings.epochs} epoch{'' if settings.epochs == 1 else 's'}"
    passed = f"{epochs} of {steps}"
    if total < _FEW_STEPS and not is_begun:
        enough = -(-_FEW_STEPS // steps)
        passed += f"; that is few, --epochs {enough} would make {_FEW_STEPS:,}"
    rows = {
        "images": f"{len(source):,} of {source.name}",
        "recipe": _because(recipe.name, reasons.get("recipe")),
        "network": f"{model.backbone.name}, {model.count_params() / 1e6:.1f} "
        f"million weights with its heads; {settings.precision}",
        "views": _because(sizes, reasons.get("views")),
        "batch": _because(str(settings.batch_size), reasons.get("batch")),
        "devices": f"{setup}, {settings.backend}",
        "steps": f"{total:,}: {passed}",
    }
    if "values" in reasons:
        rows["values"] = reasons["values"]
    if settings.evaluate:
        every = settings.evaluate_every
        rows["judged"] = (
            f"{', '.join(settings.evaluate)}, "
            f"{'each epoch' if every == 1 else f'every {every} epochs'}"
        )
    names = [path.name for path in exports.values()]
    rows["writes"] = (
        f"{settings.output}/: config.json, logs, curves, the last two "
        f"checkpoints, in the end {', '.join(names)}"
    )
    for name, text in rows.items():
        yield textwrap.fill(
            f"{name:8} {text}",
            _WIDTH,
            subsequent_indent=" " * 9,
            break_long_words=False,
            break_on_hyphens=False,
        )


def _because(what: str, reason: str | None) -> str:
    return f"{what}, {reason}" if reason else what
