"""Classification with augmented images: a linear layer, or all weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import keras
import numpy as np

from keras_vicregl.evaluation.checks import check_classes, check_training
from keras_vicregl.evaluation.classification.accuracy import (
    linear_scores,
    top_k_accuracy,
    warn_of_scores,
)
from keras_vicregl.evaluation.classification.classifier import (
    Classifier,
    augmented_batches,
)
from keras_vicregl.evaluation.classification.grid import (
    as_rates,
    choose_rate,
    hold_out,
)
from keras_vicregl.evaluation.classification.label_subset import label_subset
from keras_vicregl.evaluation.features.extraction import extract_features
from keras_vicregl.evaluation.features.given import check_source
from keras_vicregl.evaluation.features.image_batches import (
    common_size,
    image_batches,
    of_channels,
)
from keras_vicregl.models.backbones.normalization import (
    remember,
    resolved,
    warn_of_own_layers,
)
from keras_vicregl.models.plumbing import check_image_shape

if TYPE_CHECKING:
    from keras_vicregl.data import ImageSource

    Source: TypeAlias = ImageSource | Mapping[str, np.ndarray]

Channels = tuple[float, ...]


def evaluate_augmented_linear(
    backbone: keras.Model,
    train: Source,
    test: Source,
    *,
    size: int | None = None,
    resize: int | None = None,
    scale: tuple[float, float] = (0.08, 1.0),
    epochs: int = 100,
    learning_rate: float | Sequence[float] = 0.02,
    weight_decay: float = 1e-6,
    batch_size: int = 256,
    validation_fraction: float = 0.1,
    seed: int = 0,
    num_classes: int | None = None,
    mean: Channels | None = None,
    std: Channels | None = None,
) -> dict[str, float]:
    """Accuracy of a linear classifier, trained with augmentation.

    The linear evaluation of Bardes et al., "VICRegL" (NeurIPS 2022): the
    backbone frozen and in inference mode, one linear layer on its pooled
    features, weights from N(0, 0.01^2), trained on random resized crops and
    flips, which are new in each epoch, with softmax cross-entropy by SGD with
    momentum 0.9, weight decay added to the gradient (L2) and a learning rate
    that follows a cosine from epoch to epoch. `size=224`, `resize=256` and a
    learning rate of 0.02 for ResNet and 0.3 for ConvNeXt are the paper's.
    `evaluate_linear` is much quicker: it sees each image once.

    Several learning rates are trained at once, in one pass of the backbone, and
    chosen between as in `evaluate_linear`: by accuracy on examples of the
    training set that are held out. A second training, with the best rate and
    the whole training set, gives the figures, so a sequence takes twice the
    time of a number, however long it is.

    Args:
        backbone: Maps (B, H, W, C) to one feature map (B, h, w, F), of which
            the spatial mean is classified. A copy of it is used.
        train: Labelled images: what `keras_vicregl.data.load` returns, or a
            dictionary of arrays with `"images"` (N, H, W, C) and
            `"labels"` (N,), which needs no TensorFlow.
        test: As `train`. Of both, examples with the label -1 are left out, and
            classes that have names are matched by these.
        size: Side of training crops and test images, in pixels. None: crops
            are as large as the images, which must be of one size, and test
            images stay as they are.
        resize: Shorter side that test images get before their middle is cut
            out. Default: 8/7 of `size`.
        scale: Smallest and largest fraction of the area of an image in a crop.
        epochs: Passes over the training images.
        learning_rate: At the start of the cosine. A sequence: rates to choose
            from.
        weight_decay: Multiple of weights (and biases) added to their gradient.
        batch_size: Examples in a training step (all, if there are fewer; the
            rest of an epoch is dropped).
        validation_fraction: Share of the training examples, drawn at random by
            `seed`, that choose among several rates.
        seed: Of initial weights, order, crops and flips.
        num_classes: Default: one more than the largest training label, where
            every class of `test` must have examples in `train`.
        mean: Of the channels, on a scale of [0, 1]: images become
            (x / 255 - mean) / std, after the range of their values, if the
            backbone has one, has made them of 0 to 255. Default: what the
            backbone was trained on, where it knows that, or ImageNet's; a
            warning says where it is another.
        std: Their standard deviations.

    Returns:
        `"top1"` and, if there are more than five classes, `"top5"`: accuracy
        on `test` as a fraction; `"train_loss"`, the mean cross-entropy of the
        crops in the last epoch. Of several rates also the chosen
        `"learning_rate"` and of each its `"validation_top1_{rate}"`, NaN where
        it diverged.

    Raises:
        ValueError: If an argument is outside what it may be, there are no
            labels, they are out of range, a class is missing from `train`, a
            feature is not finite or training diverges (of several rates: with
            all of them).

    Example:

    ```python
    source = functools.partial(load, "imagenet2012")
    evaluate_augmented_linear(
        backbone("resnet50", weights="resnet50_alpha0.9"),
        source("train"), source("validation"), size=224,
    )
    ```
    """
    rates = as_rates(learning_rate)
    for rate in rates:
        check_training(epochs, rate, weight_decay)
    task = _Task(
        backbone,
        train,
        test,
        size=size,
        resize=resize,
        scale=scale,
        epochs=epochs,
        weight_decay=weight_decay,
        batch_size=batch_size,
        seed=seed,
        num_classes=num_classes,
        mean=mean,
        std=std,
    )
    choice: Mapping[str, float] = {}
    if np.ndim(learning_rate):
        rate, choice = task.chosen_rate(rates, validation_fraction)
    return {**task.result(rate, backbone_learning_rate=0.0), **choice}


def evaluate_finetuning(
    backbone: keras.Model,
    train: Source,
    test: Source,
    *,
    fraction: float | None = None,
    size: int | None = None,
    resize: int | None = None,
    scale: tuple[float, float] = (0.08, 1.0),
    epochs: int = 20,
    learning_rate: float = 0.1,
    backbone_learning_rate: float = 0.01,
    weight_decay: float = 0.0,
    batch_size: int = 256,
    seed: int = 0,
    num_classes: int | None = None,
    mean: Channels | None = None,
    std: Channels | None = None,
) -> dict[str, float]:
    """Accuracy after fine-tuning all weights, on a few labels or all.

    The semi-supervised evaluation of the field, with `fraction=0.01` and 0.1: a
    linear layer is put on a copy of the backbone, which is then trained in
    training mode together with it, as in `evaluate_augmented_linear` but for
    the learning rates: the layer, which starts from nothing, has a higher one
    than the backbone. The examples are those of `label_subset`, the same for a
    seed whatever the backbone.

    The VICRegL paper does not say with what settings. The defaults are of the
    order that is usual for a ResNet-50 and 10 % of ImageNet's labels: 20 epochs
    and no weight decay, since there are few steps; 0.1 for the layer and 0.01
    for the backbone. They have not been tuned. With 1 %, 0.03 for the backbone
    is a start. Choose rates on a part of the training set, not on `test`.

    Args:
        backbone: As for `evaluate_augmented_linear`. It is not changed.
        train: As for `evaluate_augmented_linear`.
        test: As `train`.
        fraction: Of the training examples to use, see `label_subset`. None:
            all.
        size: As for `evaluate_augmented_linear`.
        resize: As for `evaluate_augmented_linear`.
        scale: As for `evaluate_augmented_linear`.
        epochs: Passes over the examples that are used.
        learning_rate: Of the linear layer, at the start of the cosine.
        backbone_learning_rate: Of all other weights.
        weight_decay: Multiple of all weights added to their gradient.
        batch_size: As for `evaluate_augmented_linear`.
        seed: Of the choice of examples, initial weights, order, crops and
            flips.
        num_classes: As for `evaluate_augmented_linear`.
        mean: As for `evaluate_augmented_linear`.
        std: As for `evaluate_augmented_linear`.

    Returns:
        As `evaluate_augmented_linear` with one rate.

    Raises:
        ValueError: As `evaluate_augmented_linear`, or if `fraction` is too
            small for an example of each class.

    Example:

    ```python
    for fraction in (0.01, 0.1):
        evaluate_finetuning(
            model.backbone, train, test, fraction=fraction, size=224
        )
    ```
    """
    for rate in (learning_rate, backbone_learning_rate):
        check_training(epochs, rate, weight_decay)
    task = _Task(
        backbone,
        train,
        test,
        fraction=fraction,
        size=size,
        resize=resize,
        scale=scale,
        epochs=epochs,
        weight_decay=weight_decay,
        batch_size=batch_size,
        seed=seed,
        num_classes=num_classes,
        mean=mean,
        std=std,
    )
    return task.result(learning_rate, backbone_learning_rate)


class _Task:
    """What is trained on and tested on, and how."""

    def __init__(
        self,
        backbone: keras.Model,
        train: Source,
        test: Source,
        *,
        fraction: float | None = None,
        size: int | None,
        resize: int | None,
        scale: tuple[float, float],
        epochs: int,
        weight_decay: float,
        batch_size: int,
        seed: int,
        num_classes: int | None,
        mean: Channels | None,
        std: Channels | None,
    ) -> None:
        from keras_vicregl.data.sources.arrays import as_source
        from keras_vicregl.data.sources.classes import match_classes
        from keras_vicregl.data.sources.subset import (
            labelled,
            labels_of,
            subset,
        )

        self._subset = subset
        self._backbone = backbone
        for name, data in (("train", train), ("test", test)):
            check_source(data, name, "training on crops")
        warn_of_own_layers(backbone)
        self._normalization = resolved(backbone, mean, std)
        self._train, self._test = map(
            labelled, match_classes(as_source(train), as_source(test))
        )
        self._labels = labels_of(self._train)
        self.num_classes = check_classes(
            self._labels, labels_of(self._test), num_classes
        )
        if fraction is not None:
            rows = label_subset(self._labels, fraction, seed)
            self._train = subset(self._train, rows, cache=True)
            self._labels = self._labels[rows]
        self._testing: dict[str, Any] = {
            "size": size,
            "resize": resize,
            "batch_size": batch_size,
        }
        image_batches(self._test, **self._testing)  # for its checks
        side = size or common_size(self._train)
        if side is None:
            raise ValueError(
                f"size must be given: the images of {self._train!r} may differ "
                "in size."
            )
        shape = (side, side) if isinstance(side, int) else tuple(side)
        channels = self._normalization.channels
        self._train = of_channels(self._train, channels)
        self._test = of_channels(self._test, channels)
        check_image_shape(backbone, (*shape, channels), "crops")
        self._views = {
            "size": side,
            "scale": scale,
            **self._normalization._asdict(),
            "batch_size": batch_size,
            "seed": seed,
        }
        self._seed = seed
        self._epochs = epochs
        self._weight_decay = weight_decay

    def chosen_rate(
        self, rates: Sequence[float], validation_fraction: float
    ) -> tuple[float, Mapping[str, float]]:
        """See `choose_rate`."""
        rows, held = hold_out(len(self._train), validation_fraction, self._seed)
        model, _ = self._trained(self._subset(self._train, rows), rates)
        scores, labels = self._scores(model, self._subset(self._train, held))
        scores = scores.reshape(-1, len(rates), self.num_classes)
        return choose_rate(scores, labels, rates)

    def result(
        self, learning_rate: float, backbone_learning_rate: float
    ) -> dict[str, float]:
        """Accuracies of one training on the whole training set."""
        model, loss = self._trained(
            self._train, [learning_rate], backbone_learning_rate
        )
        if not np.isfinite(loss):
            raise ValueError(
                "The classifier diverged. Lower learning_rate. Received: "
                f"learning_rate={learning_rate}"
                + (
                    f", backbone_learning_rate={backbone_learning_rate}"
                    if backbone_learning_rate
                    else ""
                )
            )
        scores, labels = self._scores(model, self._test)
        warn_of_scores(scores, labels)
        result = {"top1": top_k_accuracy(scores, labels, 1)}
        if self.num_classes > 5:
            result["top5"] = top_k_accuracy(scores, labels, 5)
        return {**result, "train_loss": float(loss)}

    def _trained(
        self,
        source: ImageSource,
        learning_rates: Sequence[float],
        backbone_learning_rate: float = 0.0,
    ) -> tuple[Classifier, float]:
        views, batches = augmented_batches(source, **self._views)
        model = Classifier(
            self._backbone,
            self.num_classes,
            learning_rates=learning_rates,
            backbone_learning_rate=backbone_learning_rate,
            seed=self._seed,
            views=views,
        )
        remember(model.backbone, self._normalization)
        loss = model.fit_on(batches, self._epochs, self._weight_decay)
        return model, loss

    def _scores(
        self, model: Classifier, source: ImageSource
    ) -> tuple[np.ndarray, np.ndarray]:
        """Scores (N, heads * C) of test images, and their labels."""
        data = extract_features(
            model.backbone,
            image_batches(source, **self._testing),
            pooled=True,
            # It has `__call__`, which mypy does not see in a NamedTuple.
            preprocess=self._normalization,  # type: ignore[arg-type]
        )
        return linear_scores(data["features"], model.head_parameters), data[
            "labels"
        ]
