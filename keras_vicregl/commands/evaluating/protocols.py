"""Protocols by name: what each is given, and its figures."""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from keras_vicregl.commands.given.data import mask_classes
from keras_vicregl.commands.given.evaluations import ON_FEATURES, TRAINED
from keras_vicregl.commands.given.options import (
    as_usage,
    check_names,
    names_of,
)
from keras_vicregl.commands.problems import UsageError

Figures = Mapping[str, float]

_FUNCTIONS = {
    "knn": "evaluate_knn",
    "linear": "evaluate_linear",
    "segmentation": "evaluate_segmentation",
    "rank": "effective_rank",
    "linear_augmented": "evaluate_augmented_linear",
    "finetuning": "evaluate_finetuning",
    "train_segmentation": "train_segmentation",
    "detection": "train_detection",
}
# What is given by other options, or is there already.
_TAKEN = {"backbone", "train", "test", "features", "preprocess", "changes"}
_OF_FEATURES = {"size", "resize"}


def check_options(settings: argparse.Namespace) -> None:
    """Raises a UsageError for --options that no protocol has."""
    import keras_vicregl.evaluation as evaluation

    for protocol, options in settings.options.items():
        function = getattr(evaluation, _FUNCTIONS[protocol])
        known = names_of(function) - _TAKEN
        if protocol in ON_FEATURES:
            known -= _OF_FEATURES
        if protocol == "train_segmentation":
            known |= names_of(evaluation.SegmentationProtocol)
        if protocol == "detection":
            known |= {"shuffle"}
        check_names(f"--options {protocol}", options, known)
    if "detection" in settings.options and not (
        settings.size or settings.options["detection"].get("size")
    ):
        raise UsageError(
            "detection needs --size, or detection.size=[HEIGHT,WIDTH]."
        )
    if (
        "train_segmentation" in settings.options
        and mask_classes(settings.data) is None
        and "num_classes" not in settings.options["train_segmentation"]
    ):
        raise UsageError(
            "train_segmentation.num_classes is needed for these data."
        )


def figures_of(
    model: Any, sources: Mapping[str, Any], settings: argparse.Namespace
) -> dict[str, Figures]:
    """Figures by protocol, of frozen features first.

    Args:
        model: of `checkpoints.load_backbone`.
        sources: `"train"` and `"test"`.
        settings: of `arguments.settled`.

    Raises:
        UsageError: if an argument of a protocol cannot be.
    """
    figures: dict[str, Figures] = {}
    chosen = settings.options
    on_features = [each for each in chosen if each in ON_FEATURES]
    if on_features:
        figures |= _on_features(model, sources, on_features, settings)
    for protocol in chosen:
        if protocol in TRAINED:
            with as_usage(f"{protocol} (--options sets arguments)"):
                figures[protocol] = _TRAININGS[protocol](
                    model, sources, settings, **chosen[protocol]
                )
    return figures


def _on_features(
    model: Any,
    sources: Mapping[str, Any],
    protocols: Sequence[str],
    settings: argparse.Namespace,
) -> dict[str, Figures]:
    """Figures of protocols that share one pass of the model."""
    import keras_vicregl.evaluation as evaluation
    from keras_vicregl.evaluation.features.image_batches import label_in_batches

    with as_usage("features"):
        train, test = (
            evaluation.extract_features(
                model,
                evaluation.image_batches(
                    sources[part],
                    size=settings.size,
                    resize=settings.resize,
                    batch_size=settings.batch_size,
                ),
                # Maps only where they are needed: they take h * w the memory.
                pooled="segmentation" not in protocols,
                **_preprocessing(settings),
            )
            for part in ("train", "test")
        )
    of_labels = {"num_classes": sources["train"].num_classes}
    of_masks = _mask_classes(settings)
    figures: dict[str, Figures] = {}
    for protocol in protocols:
        options = settings.options[protocol]
        function: Callable[..., Any] = getattr(evaluation, _FUNCTIONS[protocol])
        with as_usage(f"{protocol} (--options sets arguments)"):
            if protocol == "rank":
                pooled = train["features"]
                if pooled.ndim == 4:
                    pooled = pooled.mean(axis=(1, 2))
                rank = function(pooled, **options)
                figures[protocol] = {"effective_rank": rank}
                continue
            if "ignore_label" in options:
                label = label_in_batches(
                    options["ignore_label"], *sources.values()
                )
                options = {**options, "ignore_label": label}
            classes = of_masks if protocol == "segmentation" else of_labels
            figures[protocol] = function(
                None, train, test, **{**classes, **options}
            )
    return figures


def _preprocessing(settings: argparse.Namespace) -> dict[str, Any]:
    """What images go through before a model that takes them as they are."""
    return {"preprocess": None} if settings.preprocessed else {}


def _mask_classes(settings: argparse.Namespace) -> dict[str, int]:
    known = mask_classes(settings.data)
    return {} if known is None else {"num_classes": known}


def _on_crops(
    name: str,
    model: Any,
    sources: Mapping[str, Any],
    settings: argparse.Namespace,
    **options: Any,
) -> Figures:
    """Figures of a function of `evaluation` that classifies random crops."""
    import keras_vicregl.evaluation as evaluation

    usual = {
        "size": settings.size,
        "resize": settings.resize,
        "num_classes": sources["train"].num_classes,
    }
    function = getattr(evaluation, name)
    return function(model, **sources, **{**usual, **options})


def _train_segmentation(
    model: Any,
    sources: Mapping[str, Any],
    settings: argparse.Namespace,
    **options: Any,
) -> Figures:
    from keras_vicregl.evaluation import train_segmentation

    usual = {
        "size": settings.size,
        "resize": settings.resize,
        **_preprocessing(settings),
        **_mask_classes(settings),
    }
    result = train_segmentation(model, **sources, **{**usual, **options})
    return result.figures


def _detection(
    model: Any,
    sources: Mapping[str, Any],
    settings: argparse.Namespace,
    **options: Any,
) -> Figures:
    from keras_vicregl.data import detection_batches
    from keras_vicregl.evaluation import train_detection

    size = options.pop("size", settings.size)
    size = (size, size) if isinstance(size, int) else size
    batch_size = options.pop("batch_size", 16)
    # As many decoded images as fit into a gigabyte.
    shuffle = options.pop("shuffle", 2**30 // (3 * size[0] * size[1]))
    names = sources["train"].box_class_names
    usual = {"num_classes": None if names is None else len(names)}
    return train_detection(
        model,
        detection_batches(sources["train"], size, batch_size, shuffle=shuffle),
        detection_batches(sources["test"], size, batch_size),
        **{**usual, **_preprocessing(settings), **options},
    ).figures


_TRAININGS: dict[str, Callable[..., Any]] = {
    "linear_augmented": functools.partial(
        _on_crops, "evaluate_augmented_linear"
    ),
    "finetuning": functools.partial(_on_crops, "evaluate_finetuning"),
    "train_segmentation": _train_segmentation,
    "detection": _detection,
}
