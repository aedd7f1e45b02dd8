"""An evaluation from what was typed to the figures."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from keras_vicregl.commands.evaluating.protocols import (
    check_options,
    figures_of,
)
from keras_vicregl.commands.given.data import (
    TEST_SPLITS,
    TRAIN_SPLITS,
    find_split,
    open_images,
)
from keras_vicregl.commands.given.evaluations import ON_FEATURES, TRAINED
from keras_vicregl.commands.given.models import any_model_file, load_any
from keras_vicregl.commands.given.options import as_usage
from keras_vicregl.commands.given.outputs import check_output, written
from keras_vicregl.commands.given.values import tell_backbone
from keras_vicregl.commands.problems import UsageError

_OF_LABELS = ("knn", "linear", "linear_augmented", "finetuning")
_OF_MASKS = ("segmentation", "train_segmentation")


def evaluate(settings: argparse.Namespace) -> None:
    """Prints figures, and writes them where that was asked for.

    Args:
        settings: of `arguments.settled`.

    Raises:
        UsageError: if nothing can be made of a setting.
    """
    from keras_vicregl.evaluation import show_progress
    from keras_vicregl.evaluation.detection.average_precision import (
        import_pycocotools,
    )
    from keras_vicregl.storage.files import write_text

    # What is missing is said before anything is computed.
    if "detection" in settings.options:
        import_pycocotools()
    check_options(settings)
    model = None if is_named(settings) else find_model(settings)
    sources = open_splits(settings)
    if model is None:
        model = named_model(settings, sources["train"].channels)
    if settings.output is not None:
        check_output(settings.output, "figures")
    print(f"{settings.model} on {sources['train']!r}, {sources['test']!r}")
    if found := tell_backbone(model, sources["train"], settings):
        print(found)
    with show_progress():
        figures = figures_of(model, sources, settings)
    for protocol, values in figures.items():
        for name, value in values.items():
            print(f"{protocol:18} {name:20} {value:.4f}")
    if settings.output is not None:
        with written(settings.output, "figures"):
            folder = settings.output.absolute().parent
            folder.mkdir(parents=True, exist_ok=True)
            write_text(settings.output, _as_json(figures))


def _as_json(figures: Mapping[str, Mapping[str, float]]) -> str:
    """JSON, which has no NaN: of classes that do not occur it is null."""
    known = {
        protocol: {
            name: value if math.isfinite(value) else None
            for name, value in values.items()
        }
        for protocol, values in figures.items()
    }
    return json.dumps(known, indent=1, allow_nan=False) + "\n"


def is_named(settings: argparse.Namespace) -> bool:
    """Whether the model is meant by the name of a backbone."""
    from keras_vicregl.models.backbones import BACKBONES

    return settings.model in BACKBONES


def named_model(settings: argparse.Namespace, channels: int | None) -> Any:
    """A backbone by its name, for the channels of the images.

    Published weights of RGB become those of other channels; without weights
    they are random, the same in each call.

    Args:
        settings: with `model` and `weights`.
        channels: of the images, or None where nobody knows: RGB.

    Raises:
        UsageError: if there are no such weights.
    """
    import keras

    from keras_vicregl.models.backbones import backbone

    if not settings.weights:
        keras.utils.set_random_seed(0)
    options: dict[str, Any] = {}
    if channels not in (None, 3):
        options["input_shape"] = (None, None, channels)
        if settings.weights:
            options["stem"] = "mean"
            print(
                f"{channels} channels: the first convolution has the mean of "
                "the weights for red, green and blue."
            )
    with as_usage("--weights" if settings.weights else "MODEL"):
        try:
            return backbone(settings.model, weights=settings.weights, **options)
        except FileNotFoundError as error:
            raise UsageError(f"--weights: {error}") from error


def find_model(settings: argparse.Namespace) -> Any:
    """The model that is meant: a file, or a run.

    Raises:
        UsageError: if there is none, or the protocols cannot use it.
    """
    import keras

    from keras_vicregl.models.backbones import BACKBONES

    if settings.weights:
        raise UsageError("--weights needs the name of a backbone, not a file.")
    try:
        path = any_model_file(settings.model)
    except UsageError as error:
        raise UsageError(
            f"{error} Names of backbones are {', '.join(BACKBONES)}."
        ) from error
    model = load_any(path, settings.preprocessed)
    trained = [name for name in settings.options if name in TRAINED]
    if trained and not isinstance(model, keras.Model):
        raise UsageError(
            f"{', '.join(trained)}: a SavedModel or ONNX file cannot be "
            f"trained on. Use its .keras file, or {', '.join(ON_FEATURES)}."
        )
    return model


def open_splits(settings: argparse.Namespace) -> dict[str, Any]:
    """The images to train on and to test on, with one number a class.

    Raises:
        UsageError: if there is nothing to test on.
    """
    from keras_vicregl.data import match_classes

    given = {"train": settings.train_split, "test": settings.test_split}
    usual = {"train": TRAIN_SPLITS, "test": TEST_SPLITS}
    splits = {
        part: find_split(settings.data, given[part], usual[part])
        for part in given
    }
    if splits["test"] is None and given["test"] is None:
        if set(settings.protocols) != {"rank"}:
            raise UsageError(
                f"{settings.data} has no folder {', '.join(TEST_SPLITS)} to "
                "test on. Name one with --test-split; only rank needs none."
            )
        splits["test"] = splits["train"]
    sources = [open_split(settings, *split) for split in splits.items()]
    for part, source in zip(splits, sources, strict=True):
        _check_targets(part, source, settings.protocols)
    return dict(zip(splits, match_classes(*sources), strict=True))


def _check_targets(part: str, source: Any, protocols: Sequence[str]) -> None:
    """Raises a UsageError where labels or masks are missing."""
    for protocol in protocols:
        if protocol in _OF_LABELS and source.num_classes is None:
            raise UsageError(
                f"{protocol} needs labels, which {source!r} has not: a folder "
                "a class."
            )
        if protocol in _OF_MASKS and not source.has_masks:
            raise UsageError(
                f"{protocol} needs masks, which {source!r} has not: name their "
                f"folder with --{part}-masks."
            )


def open_split(
    settings: argparse.Namespace, part: str, split: str | None
) -> Any:
    """The images of a split, to `"train"` or to `"test"`."""
    options = dict(settings.data_options)
    if "detection" in settings.protocols:
        options["boxes"] = True
    return open_images(
        settings.data,
        split,
        masks=getattr(settings, f"{part}_masks"),
        limit=settings.limit,
        options=options,
    )
