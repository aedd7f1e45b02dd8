"""A pretraining from what was typed to the exported backbone."""

from __future__ import annotations

import argparse
import functools
import pathlib
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from keras_vicregl.commands.given.data import SCENES, is_folder
from keras_vicregl.commands.given.options import as_usage
from keras_vicregl.commands.given.outputs import written
from keras_vicregl.commands.pretraining.arguments import NAMES
from keras_vicregl.commands.pretraining.beginning import (
    check_same_images,
    keep,
    settings_of,
    take_over,
)
from keras_vicregl.commands.pretraining.building import (
    check_options,
    make_model,
    make_optimizer,
    make_views,
    views_on,
)
from keras_vicregl.commands.pretraining.choice import choose, shorter_side
from keras_vicregl.commands.pretraining.images import (
    evaluation,
    find_splits,
    open_split,
    usual_output,
)
from keras_vicregl.commands.pretraining.logs import check_logs, opened
from keras_vicregl.commands.pretraining.memory import batch_that_fits, need_of
from keras_vicregl.commands.pretraining.plan import plan
from keras_vicregl.commands.pretraining.values import fill_in
from keras_vicregl.commands.problems import UsageError
from keras_vicregl.commands.starting import quiet

if TYPE_CHECKING:
    import keras

    from keras_vicregl.data import ImageSource
    from keras_vicregl.distribution import Setup
    from keras_vicregl.recipes import Recipe
    from keras_vicregl.views import MultiView

_SUFFIXES = {"keras": ".keras", "saved_model": "", "onnx": ".onnx"}
_MOMENTS = {"lars": 1, "adamw": 2}


class _Parts(NamedTuple):
    """What is trained, and how."""

    recipe: Recipe
    source: ImageSource
    views: MultiView
    model: keras.Model
    make_batches: Callable[..., Any]
    steps: int
    evaluate: Any
    exports: dict[str, pathlib.Path]
    # Why things are what they are, as far as nobody asked for them.
    reasons: dict[str, str]


class _MadeOnce(functools.partial):
    """What makes batches, of which the first are made before they are wanted.

    So errors come early, and nothing is made twice. A `partial`, in which
    others find what is bound, such as a seed.
    """

    def make(self) -> None:
        """Makes those from the beginning on, for whoever asks first."""
        self.__dict__["made"] = super().__call__(start=(0, 0))

    def __call__(self, /, **kwargs: Any) -> Any:
        """Batches of the function."""
        made = self.__dict__.pop("made", None)
        if made is not None and kwargs == {"start": (0, 0)}:
            return made
        return super().__call__(**kwargs)


def train(settings: argparse.Namespace) -> int:
    """Trains, from wherever the folder of the run says that it is.

    Args:
        settings: of `arguments.settled`. What nobody said is filled in.

    Returns:
        The exit code: 0, or that of the signal that stopped it.

    Raises:
        UsageError: if nothing can be made of a setting.
    """
    import keras_vicregl.distribution as distribution
    from keras_vicregl.recipes import RECIPES
    from keras_vicregl.training import TrainingInterrupted

    if settings.deterministic:
        distribution.deterministic(settings.seed)
    with as_usage("--strategy"):
        setup = distribution.auto(settings.strategy)
    if settings.recipe is not None and settings.recipe not in RECIPES:
        raise UsageError(
            f"--recipe must be one of {', '.join(RECIPES)}; received "
            f"{settings.recipe!r}."
        )
    settings.output = settings.output or usual_output(settings)
    begun = settings_of(settings.output)
    if begun is not None:
        check_same_images(settings, begun)
        take_over(settings, begun)
    parts = _prepare(settings, setup)
    allow_changes: Any = settings.allow_changes
    if setup.is_chief:
        # Only now, for arguments that nothing can be made of are none.
        kept = _kept(settings)
        allow_changes = keep(
            settings.output, kept, begun, allow_changes, parts.steps
        )
        _say_plan(settings, parts, setup, begun is not None)
    elif begun is not None and not allow_changes:
        # The first process has looked at all settings.
        allow_changes = ["optimizer.learning_rate"]
    try:
        _fit(settings, parts, setup.is_chief, allow_changes)
    except TrainingInterrupted as interruption:
        print(interruption, file=sys.stderr)
        return interruption.exit_code
    if setup.is_chief:
        _export(settings, parts)
    distribution.end_together(parts.model)
    return 0


def _prepare(settings: argparse.Namespace, setup: Setup) -> _Parts:
    """All that is needed, or an error before anything is written."""
    import keras

    from keras_vicregl.data import steps_per_epoch, view_batches
    from keras_vicregl.recipes import RECIPES
    from keras_vicregl.recipes.recipe import PRECISIONS

    if settings.data is None:
        settings.data = RECIPES[settings.recipe].data
    if settings.precision not in (None, *PRECISIONS):
        raise UsageError(
            f"--precision must be one of {', '.join(PRECISIONS)}; received "
            f"{settings.precision!r}."
        )
    splits = find_splits(settings)
    source = open_split(settings, splits[0], settings.train_masks)
    reasons = {}
    if settings.recipe is None:
        reasons["recipe"] = _choose(settings, source)
    recipe = RECIPES[settings.recipe]
    for name in ("epochs", "precision"):
        if getattr(settings, name) is None:
            setattr(settings, name, getattr(recipe, name))
    if where := views_on(settings):
        settings.views["on"] = where
        reasons["views"] = "made by the model, for keras-cv is not installed"
    check_options(recipe, settings)
    if values := fill_in(settings, source):
        reasons["values"] = values
    views = make_views(recipe, settings)
    exports = _checked(settings, source, views)
    keras.utils.set_random_seed(settings.seed)
    with setup.scope():
        model = make_model(recipe, source, views, settings)
    if settings.batch_size is None:
        settings.batch_size, reasons["batch"] = _batch(
            recipe, model, views, len(source), setup
        )
    elif "batch_size" not in settings.given:
        reasons["batch"] = "as the run began"
    with as_usage("--batch-size or images"):
        made = functools.partial(
            view_batches,
            source,
            views,
            canvas=settings.canvas,
            seed=settings.seed,
        )
        make_batches = _MadeOnce(setup.batches(made, settings.batch_size))
        make_batches.make()
        steps = steps_per_epoch(source, settings.batch_size)
    with setup.scope(), as_usage("--optimizer"):
        model.compile(make_optimizer(recipe, steps, settings))
    evaluate = evaluation(settings, source, splits, views)
    return _Parts(
        recipe,
        source,
        views,
        model,
        make_batches,
        steps,
        evaluate,
        exports,
        reasons,
    )


def _checked(
    settings: argparse.Namespace, source: ImageSource, views: MultiView
) -> dict[str, pathlib.Path]:
    """Paths of what is exported, after all that can be known beforehand."""
    from keras_vicregl.checkpoints import check_export
    from keras_vicregl.data.batches.pipeline import check_engine

    exports = {"keras": settings.output / "backbone.keras"}
    for kind in settings.export:
        suffix = _SUFFIXES.get(kind, f".{kind}")
        exports[kind] = settings.output / f"backbone{suffix}"
    check_logs(settings.log)
    for kind, path in exports.items():
        check_export(path, kind)
    with as_usage("--canvas or --views"):
        check_engine(source, views, canvas=settings.canvas)
    count = len(source)
    if count < 2:
        raise UsageError(f"{source.name} has {count} image: 2 are needed.")
    if settings.batch_size is not None and settings.batch_size > count:
        raise UsageError(
            f"--batch-size {settings.batch_size} is more than the {count} "
            f"images of {source.name}."
        )
    return exports


def _kept(settings: argparse.Namespace) -> dict[str, Any]:
    return {name: getattr(settings, name) for name in NAMES}


def _say_plan(
    settings: argparse.Namespace, parts: _Parts, setup: Setup, is_begun: bool
) -> None:
    for line in plan(
        settings,
        recipe=parts.recipe,
        source=parts.source,
        views=parts.views,
        model=parts.model,
        steps=parts.steps,
        setup=setup,
        reasons=parts.reasons,
        exports=parts.exports,
        is_begun=is_begun,
    ):
        print(line, flush=True)


def _fit(
    settings: argparse.Namespace,
    parts: _Parts,
    is_chief: bool,
    allow_changes: Any,
) -> None:
    from keras_vicregl.training import pretrain

    logs = settings.log if is_chief else ()
    with opened(logs, settings.output, _kept(settings)) as callbacks:
        pretrain(
            parts.model,
            parts.make_batches,
            epochs=settings.epochs,
            output=settings.output,
            steps_per_epoch=parts.steps,
            save_freq=settings.save_every or "epoch",
            log_every=settings.log_every,
            evaluate=parts.evaluate,
            evaluate_every=settings.evaluate_every,
            allow_changes=allow_changes,
            skip_nonfinite=settings.skip_nonfinite,
            callbacks=callbacks,
        )


def _export(settings: argparse.Namespace, parts: _Parts) -> None:
    from keras_vicregl.checkpoints import export

    with quiet():
        for kind, path in parts.exports.items():
            with written(path, "the export"):
                export(parts.model.backbone, path, kind)
    there = sorted(path.name for path in settings.output.iterdir())
    print(f"Done: {', '.join(there)}")


def _choose(settings: argparse.Namespace, source: Any) -> str:
    """Fills in a recipe, and returns why it is that one."""
    from keras_vicregl.distribution import has_accelerator
    from keras_vicregl.recipes import RECIPES

    data = settings.data
    if not is_folder(data):
        meant = [r.name for r in RECIPES.values() if r.data == data]
        if data == SCENES or meant:
            settings.recipe = meant[0]
            return f"the first one for {data}"
    side = shorter_side(source)
    if side is None:
        raise UsageError(
            f"--recipe is needed for {data}, the sizes of whose images are not "
            f"known: one of {', '.join(RECIPES)}."
        )
    choice = choose(len(source), side, has_accelerator())
    settings.recipe = choice.recipe
    settings.model = {**choice.model, **settings.model}
    settings.precision = settings.precision or choice.precision
    return f"chosen {choice.why}"


def _batch(
    recipe: Any, model: Any, views: Any, count: int, setup: Any
) -> tuple[int, str]:
    from keras_vicregl.distribution import free_memory

    need = free = None
    # Each process would find something else.
    if setup.processes == 1:
        need = need_of(model, views, _MOMENTS[recipe.optimizer])
        free = free_memory()
    return batch_that_fits(recipe.batch_size, count, setup.replicas, need, free)
