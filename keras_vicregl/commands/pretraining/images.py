"""The images of a pretraining: to train on, and to judge by."""

from __future__ import annotations

import argparse
import pathlib
from typing import TYPE_CHECKING, Any

from keras_vicregl.commands.given.data import (
    TEST_SPLITS,
    TRAIN_SPLITS,
    find_split,
    open_images,
    segmentation_set,
)
from keras_vicregl.commands.given.options import as_usage
from keras_vicregl.commands.problems import UsageError

if TYPE_CHECKING:
    import keras


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


def usual_output(settings: argparse.Namespace) -> pathlib.Path:
    """runs/RECIPE, or where that is to be chosen, the folder's name."""
    if settings.recipe is not None:
        return pathlib.Path("runs", settings.recipe)
    known = segmentation_set(settings.data)
    folder = known[1] if known else settings.data
    name = pathlib.Path(folder).expanduser().resolve().name
    return pathlib.Path("runs", name or "pretraining")


def open_split(
    settings: argparse.Namespace, split: str | None, masks: str | None
) -> Any:
    """The images of a split.

    Args:
        settings: with `data` and what is done with them.
        split: of `find_splits`.
        masks: folder of their masks.
    """
    return open_images(
        settings.data,
        split,
        masks=masks,
        limit=settings.limit,
        options=settings.data_options,
    )


def evaluation(
    settings: argparse.Namespace,
    source: Any,
    splits: tuple[str | None, str | None],
    views: Any,
) -> Any:
    """What judges the backbone as it trains, or None.

    Args:
        settings: with `evaluate`.
        source: of the images that are trained on.
        splits: of `find_splits`.
        views: `MultiView`, whose first group has the size of images.

    Raises:
        UsageError: if there are no labels or masks, and they are needed.
    """
    from keras_vicregl.training import feature_evaluation

    if not settings.evaluate:
        return None
    masks = settings.test_masks or settings.train_masks
    test = source
    if splits[1] != splits[0] or masks != settings.train_masks:
        test = open_split(settings, splits[1], masks)
    size = views.groups[0].size[0]
    with as_usage("--evaluate"):
        evaluate = feature_evaluation(
            source, test, settings.evaluate, size=size
        )
    return _Shown(evaluate)


class _Shown:
    """An evaluation that shows how far it is."""

    def __init__(self, evaluate: Any) -> None:
        self._evaluate = evaluate

    def __call__(self, model: keras.Model) -> dict[str, float]:
        from keras_vicregl.evaluation import show_progress

        with show_progress():
            return self._evaluate(model)

    def check(self, model: keras.Model) -> None:
        """See `FeatureEvaluation`."""
        from keras_vicregl.evaluation import show_progress

        with show_progress():
            self._evaluate.check(model)
