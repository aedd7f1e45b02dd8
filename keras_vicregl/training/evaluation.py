"""Figures of merit during training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

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
from keras_vicregl.evaluation.features.extraction import pooled_features
from keras_vicregl.evaluation.features.image_batches import common_size
from keras_vicregl.views.keys import MASKS

if TYPE_CHECKING:
    from keras_vicregl.data import ImageSource


class Evaluation(keras.callbacks.Callback):
    """Puts figures of merit into the logs of epochs.

    They are then in what `fit` returns, and in the logs that callbacks after
    this one get: put it before `CSVLogger`, `TensorBoard` or `ModelCheckpoint`.
    (`CSVLogger` has the columns of the first epoch, and so needs `every=1`.)
    `keras_vicregl.training.pretrain(evaluate=...)` adds one by itself.

    Args:
        function: Takes the model and returns figures by name, such as what
            `feature_evaluation` returns.
        every: Epochs between evaluations. The last is evaluated too.
        epochs: Of the whole training. Default: those of `fit`.

    Raises:
        ValueError: If `every` is not positive.

    Example:

    ```python
    evaluate = feature_evaluation(train, test, ["knn", "rank"])
    model.fit(batches, epochs=100, callbacks=[Evaluation(evaluate, every=5)])
    ```
    """

    def __init__(
        self,
        function: Callable[[keras.Model], Mapping[str, float]],
        every: int = 1,
        epochs: int | None = None,
    ) -> None:
        super().__init__()
        if every < 1:
            raise ValueError(
                f"every must be at least 1 epoch. Received: every={every}"
            )
        self._function = function
        self._every = every
        self._epochs = epochs

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Evaluates the model, as far as it is."""
        done = epoch + 1
        last = self._epochs or self.params["epochs"]
        if done % self._every == 0 or done == last:
            logs.update(self._function(self.model))


def feature_evaluation(
    train: ImageSource | Mapping[str, np.ndarray],
    test: ImageSource | Mapping[str, np.ndarray],
    evaluations: Sequence[str] | Mapping[str, Mapping[str, Any]] = ("knn",),
    *,
    size: int | None = None,
    limit: int = 10_000,
    batch_size: int = 256,
    preprocess: Callable[[np.ndarray], np.ndarray] | None = normalize_images,
) -> Callable[[keras.Model], dict[str, float]]:
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
        test: The same, not seen in training.
        evaluations: Names of the above; or a dictionary of names and of further
            arguments of these functions, such as `{"knn": {"k": 5}}`.
        size: Where images differ in size, side of the square that they are cut
            to, from their middle, after their shorter side has become 8/7 of
            it. Images that are known to have one size stay as they are: arrays
            and scenes.
        limit: Images used of either set, evenly spread over it. Segmentation
            keeps their feature maps in memory.
        batch_size: Images per call of the backbone.
        preprocess: See `extract_features`.

    Returns:
        A function from a model with a `backbone`, such as `VICRegL`, to figures
        by name.

    Raises:
        ValueError: If there is no such evaluation, or a set lacks the labels or
            masks that one needs.

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

    if isinstance(evaluations, str):
        evaluations = (evaluations,)
    unknown = sorted(set(evaluations) - set(_FUNCTIONS))
    if unknown or not evaluations:
        raise ValueError(
            f"evaluations must be some of {', '.join(_FUNCTIONS)}. Received: "
            f"{', '.join(map(repr, unknown)) or 'none'}"
        )
    if not isinstance(evaluations, Mapping):
        evaluations = {name: {} for name in evaluations}
    sources = [as_source(data) for data in (train, test)]
    for source in sources:
        _check_targets(source, evaluations)
    num_classes = sources[0].num_classes
    batches = [
        image_batches(
            source,
            size=None if common_size(source) else size,
            limit=limit,
            batch_size=batch_size,
        )
        for source in sources
    ]

    def evaluate(model: keras.Model) -> dict[str, float]:
        data = [
            extract_features(
                model.backbone,
                each,
                pooled="segmentation" not in evaluations,
                preprocess=preprocess,
            )
            for each in batches
        ]
        figures = {}
        for name, arguments in evaluations.items():
            result = _FUNCTIONS[name](*data, num_classes, **arguments)
            for key, value in result.items():
                figures["_".join(filter(None, (name, key)))] = value
        return figures

    return evaluate


Features = dict[str, np.ndarray]


def _knn(
    train: Features, test: Features, num_classes: int, **arguments: Any
) -> dict[str, float]:
    arguments = {"num_classes": num_classes, **arguments}
    return evaluate_knn(None, train, test, **arguments)


def _linear(
    train: Features, test: Features, num_classes: int, **arguments: Any
) -> dict[str, float]:
    arguments = {"num_classes": num_classes, **arguments}
    return evaluate_linear(None, train, test, **arguments)


def _segmentation(
    train: Features, test: Features, num_classes: int, **arguments: Any
) -> dict[str, float]:
    # A class may be in few images, and in none of those for training.
    ignored = arguments.get("ignore_label", 255)
    classes = max(count_classes(data[MASKS], ignored) for data in (train, test))
    arguments = {"num_classes": classes, **arguments}
    result = evaluate_segmentation(None, train, test, **arguments)
    return {key: result[key] for key in ("mean_iou", "pixel_accuracy")}


def _rank(
    train: Features, test: Features, num_classes: int
) -> dict[str, float]:
    return {"": effective_rank(pooled_features(train["features"]))}


_FUNCTIONS = {
    "knn": _knn,
    "linear": _linear,
    "segmentation": _segmentation,
    "rank": _rank,
}


def _check_targets(source: ImageSource, evaluations: Mapping) -> None:
    for name in evaluations:
        if name in ("knn", "linear") and source.num_classes is None:
            raise ValueError(f"{name} needs labels, which {source!r} has not.")
        if name == "segmentation" and not source.has_masks:
            raise ValueError(f"{name} needs masks, which {source!r} has not.")
