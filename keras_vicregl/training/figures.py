"""Evaluations of features as a function of the model, checked before."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import keras
import numpy as np

from keras_vicregl.evaluation import (
    effective_rank,
    evaluate_knn,
    evaluate_linear,
    evaluate_segmentation,
    extract_features,
    image_batches,
    normalize_images,
)
from keras_vicregl.evaluation.checks import count_classes
from keras_vicregl.evaluation.classification.knn import check_k, check_knn
from keras_vicregl.evaluation.classification.linear import check_linear
from keras_vicregl.evaluation.features.extraction import pooled_features
from keras_vicregl.evaluation.features.image_batches import (
    common_size,
    image_count,
    label_in_batches,
)
from keras_vicregl.evaluation.progress import counted
from keras_vicregl.evaluation.segmentation.linear import check_segmentation
from keras_vicregl.views.keys import IMAGES, LABELS, MASKS, NO_LABEL

if TYPE_CHECKING:
    from keras_vicregl.data import ImageSource


def feature_evaluation(
    train: ImageSource | Mapping[str, np.ndarray],
    test: ImageSource | Mapping[str, np.ndarray],
    evaluations: Sequence[str] | Mapping[str, Mapping[str, Any]] = ("knn",),
    *,
    size: int | None = None,
    resize: int | None = None,
    limit: int = 10_000,
    batch_size: int = 256,
    preprocess: Callable[[np.ndarray], np.ndarray] | None = normalize_images,
) -> FeatureEvaluation:
    """A function for `pretrain(evaluate=...)` or the callback `Evaluation`.

    The features of both sets are computed once for all evaluations:

    - `"knn"`: `evaluate_knn`, logged as `knn_top1` and so on;
    - `"linear"`: `evaluate_linear`, as `linear_top1` and so on;
    - `"segmentation"`: `evaluate_segmentation`, as `segmentation_mean_iou` and
      `segmentation_pixel_accuracy`;
    - `"rank"`: `effective_rank` of the pooled features of `train`, as `rank`.

    Args:
        train: Images with the labels or masks that are needed: what
            `keras_vicregl.data.load` returns, or a dictionary of arrays.
        test: The same, not seen in training. Classes that have names are
            matched by these, see `keras_vicregl.data.match_classes`; examples
            with the label -1 count for none.
        evaluations: Names of the above; or a dictionary of names and of further
            arguments of these functions, such as `{"knn": {"k": 5}}`.
        size: Where images differ in size, side of the square that they are cut
            to, from their middle, after their shorter side has become `resize`.
            Images that are known to have one size stay as they are: arrays and
            scenes.
        resize: See `size`. Default: 8/7 of it.
        limit: Images used of either set, evenly spread over it. Segmentation
            keeps their feature maps in memory.
        batch_size: Images per call of the backbone.
        preprocess: See `extract_features`.

    Returns:
        A function from a model with a `backbone`, such as `VICRegL`, to figures
        by name. `Evaluation` and `pretrain` have its method `check` read all
        images once before anything is trained, so that what an evaluation would
        fail at is known by then: an image that cannot be read or has another
        size, labels out of range, a backbone that does not take these images.

    Raises:
        ValueError: If there is no such evaluation or it has no such argument, a
            set lacks the labels or masks that one needs, or there are fewer
            images than neighbours.

    Example:

    ```python
    evaluate = feature_evaluation(
        load("imagenet2012", "train"),
        load("imagenet2012", "validation"),
        ["knn", "linear", "rank"],
        size=224,
    )
    pretrain(model, batches, epochs=100, output="run", evaluate=evaluate)
    ```
    """
    from keras_vicregl.data.sources.arrays import as_source
    from keras_vicregl.data.sources.classes import match_classes
    from keras_vicregl.data.sources.image_source import ImageSource

    if isinstance(evaluations, str):
        evaluations = (evaluations,)
    unknown = sorted(set(evaluations) - set(_EVALUATIONS))
    if unknown or not evaluations:
        raise ValueError(
            f"evaluations must be some of {', '.join(_EVALUATIONS)}. Received: "
            f"{', '.join(map(repr, unknown)) or 'none'}"
        )
    if not isinstance(evaluations, Mapping):
        evaluations = {name: {} for name in evaluations}
    for name, arguments in evaluations.items():
        _check_arguments(name, arguments)
    for name, data in (("train", train), ("test", test)):
        if not isinstance(data, (ImageSource, Mapping, np.ndarray)):
            raise ValueError(
                f"{name} must be what `load` returns, or a dictionary of "
                "arrays with 'images', to be read as often as it is evaluated. "
                f"Received: {type(data).__name__}"
            )
    sources = match_classes(*(as_source(data) for data in (train, test)))
    for source in sources:
        _check_targets(source, evaluations)
    evaluations = {
        name: _with_label_in_batches(arguments, sources)
        for name, arguments in evaluations.items()
    }
    batches = [
        image_batches(
            source,
            size=None if common_size(source) else size,
            resize=None if common_size(source) else resize,
            limit=limit,
            batch_size=batch_size,
        )
        for source in sources
    ]
    if "knn" in evaluations:
        k = _arguments("knn", evaluations["knn"])["k"]
        check_k(k, min(limit, len(sources[0])))
    return FeatureEvaluation(
        batches, sources[0].num_classes, evaluations, preprocess
    )


def _with_label_in_batches(
    arguments: Mapping[str, Any], sources: Sequence[ImageSource]
) -> dict[str, Any]:
    """Arguments whose `ignore_label` is that in the sources' batches."""
    if "ignore_label" not in arguments:
        return dict(arguments)
    label = label_in_batches(arguments["ignore_label"], *sources)
    return {**arguments, "ignore_label": label}


Features = dict[str, np.ndarray]


class FeatureEvaluation:
    """What `feature_evaluation` returns."""

    def __init__(
        self,
        batches: Sequence[Iterable[Features]],
        num_classes: int | None,
        evaluations: Mapping[str, Mapping[str, Any]],
        preprocess: Callable[[np.ndarray], np.ndarray] | None,
    ) -> None:
        self._batches = batches
        self._num_classes = num_classes
        self._evaluations = evaluations
        self._preprocess = preprocess

    def __call__(self, model: keras.Model) -> dict[str, float]:
        """Figures of a model's backbone, by name."""
        data = [self._features(model, each) for each in self._batches]
        figures = {}
        for name, arguments in self._evaluations.items():
            arguments = self._with_classes(name, data, arguments)
            result = _EVALUATIONS[name].figures(*data, arguments)
            for key, value in result.items():
                figures["_".join(filter(None, (name, key)))] = value
        return figures

    def check(self, model: keras.Model) -> None:
        """Finds out what an evaluation would fail at, but for training.

        All images are read once, so that a damaged one, or one of another size,
        is known of before anything is trained. The backbone sees the first
        batch of both sets. `Evaluation` calls this when training begins.

        Args:
            model: See `feature_evaluation`.

        Raises:
            ValueError: As the evaluations.
            tf.errors.InvalidArgumentError: If an image cannot be read.
        """
        if not hasattr(model, "backbone"):
            raise ValueError(
                "feature_evaluation needs a model with a `backbone`, such as "
                f"VICRegL. Received: {model!r}"
            )
        data = [self._targets(model, each) for each in self._batches]
        for name, arguments in self._evaluations.items():
            check = _EVALUATIONS[name].check
            if check is None:
                continue
            arguments = _arguments(
                name, self._with_classes(name, data, arguments)
            )
            needed = inspect.signature(check).parameters
            target = cast("str", _EVALUATIONS[name].target)
            check(
                *(each[target] for each in data),
                **{k: v for k, v in arguments.items() if k in needed},
            )

    def _features(
        self, model: keras.Model, batches: Iterable[Features]
    ) -> Features:
        return extract_features(
            model.backbone,
            batches,
            pooled=MASKS not in self._keys(),
            preprocess=self._preprocess,
        )

    def _targets(
        self, model: keras.Model, batches: Iterable[Features]
    ) -> Features:
        """Labels that there are, and masks, as far as they are needed."""
        found: dict[str, list] = {key: [] for key in self._keys()}
        read = counted(
            batches, "looking at images", "images", image_count(batches), _rows
        )
        for number, batch in enumerate(read):
            if number == 0:
                self._features(model, [batch])
            for key, values in found.items():
                values.append(batch[key])
        targets = {key: np.concatenate(each) for key, each in found.items()}
        if LABELS in targets:
            labels = targets[LABELS]
            targets[LABELS] = labels[labels != NO_LABEL]
        return targets

    def _keys(self) -> set[str]:
        targets = (_EVALUATIONS[name].target for name in self._evaluations)
        return {target for target in targets if target is not None}

    def _with_classes(
        self, name: str, data: Sequence[Features], arguments: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Arguments, among them the number of classes if it is one."""
        if "num_classes" not in _allowed(name):
            return dict(arguments)
        if _EVALUATIONS[name].target == LABELS:
            return {"num_classes": self._num_classes, **arguments}
        # A class may be in few images, and in none of those for training.
        ignored = _arguments(name, arguments)["ignore_label"]
        classes = (count_classes(each[MASKS], ignored) for each in data)
        return {"num_classes": max(classes), **arguments}


def _knn(
    train: Features, test: Features, arguments: Mapping[str, Any]
) -> dict[str, float]:
    return evaluate_knn(None, train, test, **arguments)


def _linear(
    train: Features, test: Features, arguments: Mapping[str, Any]
) -> dict[str, float]:
    return evaluate_linear(None, train, test, **arguments)


def _segmentation(
    train: Features, test: Features, arguments: Mapping[str, Any]
) -> dict[str, float]:
    result = evaluate_segmentation(None, train, test, **arguments)
    return {key: result[key] for key in ("mean_iou", "pixel_accuracy")}


def _rank(
    train: Features, test: Features, arguments: Mapping[str, Any]
) -> dict[str, float]:
    return {"": effective_rank(pooled_features(train["features"]))}


def _rows(batch: Features) -> int:
    return len(batch[IMAGES])


class _OfFeatures(NamedTuple):
    """An evaluation of features that are there.

    Attributes:
        figures: From features of both sets and arguments to figures.
        function: What has these arguments, but for those of `without`.
        without: Those that are not for features.
        target: Key of what it needs besides features.
        check: What checks targets of both sets and arguments.
    """

    figures: Callable[..., dict[str, float]]
    function: Callable[..., Any]
    without: Sequence[str]
    target: str | None = None
    check: Callable[..., Any] | None = None


# What is done to images, which `feature_evaluation` has arguments for.
_OF_IMAGES = ("size", "resize", "preprocess")
_EVALUATIONS = {
    "knn": _OfFeatures(
        _knn, evaluate_knn, (*_OF_IMAGES, "batch_size"), LABELS, check_knn
    ),
    "linear": _OfFeatures(
        _linear, evaluate_linear, _OF_IMAGES, LABELS, check_linear
    ),
    "segmentation": _OfFeatures(
        _segmentation,
        evaluate_segmentation,
        _OF_IMAGES,
        MASKS,
        check_segmentation,
    ),
    "rank": _OfFeatures(_rank, effective_rank, (*_OF_IMAGES, "batch_size")),
}


def _allowed(name: str) -> dict[str, Any]:
    """Arguments of an evaluation, and what they are by default."""
    evaluation = _EVALUATIONS[name]
    parameters = inspect.signature(evaluation.function).parameters.values()
    return {
        each.name: each.default
        for each in parameters
        if each.kind == each.KEYWORD_ONLY
        and each.name not in evaluation.without
    }


def _arguments(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """All arguments of an evaluation, some of which were given."""
    return {**_allowed(name), **given}


def _check_arguments(name: str, given: Any) -> None:
    if not isinstance(given, Mapping):
        raise ValueError(
            f"evaluations[{name!r}] must be a dictionary of arguments. "
            f"Received: {given!r}"
        )
    allowed = _allowed(name)
    unknown = sorted(set(given) - set(allowed))
    if unknown:
        raise ValueError(
            f"{name} has no argument {', '.join(map(repr, unknown))} here. It "
            f"takes {', '.join(sorted(allowed)) or 'none'}; what is done to "
            "images is said by arguments of feature_evaluation."
        )


def _check_targets(source: ImageSource, evaluations: Mapping) -> None:
    for name in evaluations:
        target = _EVALUATIONS[name].target
        if target == LABELS and source.num_classes is None:
            raise ValueError(f"{name} needs labels, which {source!r} has not.")
        if target == MASKS and not source.has_masks:
            raise ValueError(f"{name} needs masks, which {source!r} has not.")
