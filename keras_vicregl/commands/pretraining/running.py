"""A pretraining from what was typed to the exported backbone."""

from __future__ import annotations

import argparse
import functools
import pathlib
import sys
from typing import Any

from keras_vicregl.commands.given.data import (
    SCENES,
    TEST_SPLITS,
    TRAIN_SPLITS,
    find_split,
    is_folder,
    open_images,
    segmentation_set,
)
from keras_vicregl.commands.given.options import as_usage
from keras_vicregl.commands.pretraining.arguments import NAMES
from keras_vicregl.commands.pretraining.beginning import (
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
from keras_vicregl.commands.pretraining.logs import check_logs, opened
from keras_vicregl.commands.pretraining.memory import batch_that_fits, need_of
from keras_vicregl.commands.pretraining.plan import plan
from keras_vicregl.commands.problems import UsageError
from keras_vicregl.commands.starting import quiet

_SUFFIXES = {"keras": ".keras", "saved_model": "", "onnx": ".onnx"}
_MOMENTS = {"lars": 1, "adamw": 2}


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
    from keras_vicregl.checkpoints import check_export, export
    from keras_vicregl.data import steps_per_epoch, view_batches
    from keras_vicregl.data.batches.pipeline import check_engine
    from keras_vicregl.recipes import RECIPES
    from keras_vicregl.training import TrainingInterrupted, pretrain

    if settings.deterministic:
        distribution.deterministic(settings.seed)
    with as_usage("--strategy"):
        setup = distribution.auto(settings.strategy)
    if settings.recipe is not None and settings.recipe not in RECIPES:
        raise UsageError(
            f"--recipe must be one of {', '.join(RECIPES)}; received "
            f"{settings.recipe!r}."
        )
    settings.output = settings.output or _usual_output(settings)
    begun = settings_of(settings.output)
    if begun is not None:
        take_over(settings, begun)
    if settings.data is None:
        settings.data = RECIPES[settings.recipe].data
    splits = find_splits(settings)
    source = _open(settings, splits[0], settings.train_masks)
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
    views = make_views(recipe, settings)
    exports = {"keras": settings.output / "backbone.keras"}
    for kind in settings.export:
        suffix = _SUFFIXES.get(kind, f".{kind}")
        exports[kind] = settings.output / f"backbone{suffix}"
    # What is missing is said before anything is built or written.
    check_logs(settings.log)
    for kind, path in exports.items():
        check_export(path, kind)
    with as_usage("--canvas or --views"):
        check_engine(source, views, canvas=settings.canvas)
    if len(source) < 2:
        raise UsageError(
            f"{source.name} has {len(source)} image: 2 are needed."
        )
    if settings.batch_size is not None and settings.batch_size > len(source):
        raise UsageError(
            f"--batch-size {settings.batch_size} is more than the "
            f"{len(source)} images of {source.name}."
        )

    import keras

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
        make_batches = setup.batches(
            functools.partial(
                view_batches,
                source,
                views,
                canvas=settings.canvas,
                seed=settings.seed,
            ),
            settings.batch_size,
        )
        make_batches(start=(0, 0))
        steps = steps_per_epoch(source, settings.batch_size)
    with setup.scope(), as_usage("--optimizer"):
        model.compile(make_optimizer(recipe, steps, settings))
    evaluate = _evaluation(settings, source, splits, views)
    allow_changes: Any = settings.allow_changes
    kept = {name: getattr(settings, name) for name in NAMES}
    logs = settings.log if setup.is_chief else ()
    if setup.is_chief:
        # Only now, for arguments that nothing can be made of are none.
        allow_changes = keep(settings.output, kept, begun, allow_changes)
        for line in plan(
            settings,
            recipe=recipe,
            source=source,
            views=views,
            model=model,
            steps=steps,
            setup=setup,
            reasons=reasons,
            exports=exports,
            is_begun=begun is not None,
        ):
            print(line, flush=True)
    elif begun and begun.get("epochs") not in (None, settings.epochs):
        allow_changes = allow_changes or ["optimizer.learning_rate"]
    try:
        with opened(logs, settings.output, kept) as callbacks:
            pretrain(
                model,
                make_batches,
                epochs=settings.epochs,
                output=settings.output,
                steps_per_epoch=steps,
                save_freq=settings.save_every or "epoch",
                log_every=settings.log_every,
                evaluate=evaluate,
                evaluate_every=settings.evaluate_every,
                allow_changes=allow_changes,
                skip_nonfinite=settings.skip_nonfinite,
                callbacks=callbacks,
            )
    except TrainingInterrupted as interruption:
        print(interruption, file=sys.stderr)
        return interruption.exit_code
    if setup.is_chief:
        with quiet():
            for kind, path in exports.items():
                export(model.backbone, path, kind)
        there = sorted(path.name for path in settings.output.iterdir())
        print(f"Done: {', '.join(there)}")
    distribution.end_together(model)
    return 0


def find_splits(
    settings: argparse.Namespace,
) -> tuple[str | None, str | None]:
    """What to train on and to test on, for `load`, and as words in settings.

    Raises:
        UsageError: if there is nothing to test on.
    """
    split = find_split(settings.data, settings.split, TRAIN_SPLITS)
    settings.split = split or "none"
    if not settings.evaluate:
        return split, None
    given = settings.evaluate_split
    test_split = find_split(settings.data, given, TEST_SPLITS)
    if given is None and test_split is None:
        if set(settings.evaluate) != {"rank"}:
            raise UsageError(
                f"--evaluate: {settings.data} has no folder "
                f"{', '.join(TEST_SPLITS)} to test on. Name one with "
                "--evaluate-split; only rank needs none."
            )
        test_split = split
    settings.evaluate_split = test_split or "none"
    return split, test_split


def _usual_output(settings: argparse.Namespace) -> pathlib.Path:
    """runs/RECIPE, or where that is to be chosen, the folder's name."""
    if settings.recipe is not None:
        return pathlib.Path("runs", settings.recipe)
    known = segmentation_set(settings.data)
    folder = known[1] if known else settings.data
    name = pathlib.Path(folder).expanduser().resolve().name
    return pathlib.Path("runs", name or "pretraining")


def _open(
    settings: argparse.Namespace, split: str | None, masks: str | None
) -> Any:
    """The images of a split. Of folders, what cannot be read is left out."""
    options = dict(settings.data_options)
    if is_folder(settings.data) or segmentation_set(settings.data):
        options.setdefault("on_error", "skip")
    return open_images(
        settings.data,
        split,
        masks=masks,
        limit=settings.limit,
        options=options,
    )


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


def _evaluation(
    settings: argparse.Namespace,
    source: Any,
    splits: tuple[str | None, str | None],
    views: Any,
) -> Any:
    """What judges the backbone as it trains, or None."""
    from keras_vicregl.evaluation import show_progress
    from keras_vicregl.training import feature_evaluation

    if not settings.evaluate:
        return None
    masks = settings.test_masks or settings.train_masks
    test = source
    if splits[1] != splits[0] or masks != settings.train_masks:
        test = _open(settings, splits[1], masks)
    size = views.groups[0].size[0]
    with as_usage("--evaluate"):
        evaluate = feature_evaluation(
            source, test, settings.evaluate, size=size
        )
    return _Shown(evaluate, show_progress)


class _Shown:
    """An evaluation that shows how far it is."""

    def __init__(self, evaluate: Any, show_progress: Any) -> None:
        self._evaluate, self._show = evaluate, show_progress

    def __call__(self, model: Any) -> dict[str, float]:
        with self._show():
            return self._evaluate(model)

    def check(self, model: Any) -> None:
        """See `FeatureEvaluation`."""
        with self._show():
            self._evaluate.check(model)
