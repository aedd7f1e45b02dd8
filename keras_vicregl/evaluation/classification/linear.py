"""Linear classification on frozen features."""

import math
from collections.abc import Mapping, Sequence

import keras
import numpy as np

from keras_vicregl.data.sources.image_source import ImageSource
from keras_vicregl.evaluation.checks import (
    check_batch_size,
    check_classes,
    check_training,
)
from keras_vicregl.evaluation.classification.accuracy import (
    linear_scores,
    top_k_accuracy,
    warn_of_scores,
)
from keras_vicregl.evaluation.classification.grid import (
    as_rates,
    choose_rate,
    hold_out,
)
from keras_vicregl.evaluation.features.batches import Data
from keras_vicregl.evaluation.features.extraction import (
    Preprocess,
    normalize_images,
    train_and_test,
)
from keras_vicregl.evaluation.progress import counted

_MOMENTUM = 0.9
_BLOCK = 16_384  # rows of scores at a time in float64


def evaluate_linear(
    backbone: keras.Model | None,
    train: Data | ImageSource,
    test: Data | ImageSource,
    *,
    size: int | None = None,
    resize: int | None = None,
    epochs: int = 100,
    learning_rate: float | Sequence[float] = 0.03,
    weight_decay: float = 1e-6,
    batch_size: int = 256,
    validation_fraction: float = 0.1,
    standardize: bool = True,
    seed: int = 0,
    num_classes: int | None = None,
    preprocess: Preprocess = normalize_images,
) -> dict[str, float]:
    """Accuracy of a linear classifier on frozen pooled features.

    One linear layer, weights drawn from N(0, 0.01^2), trained with softmax
    cross-entropy by SGD with momentum 0.9, weight decay added to the gradient
    (L2), and a learning rate that follows a cosine from epoch to epoch: the
    linear evaluation of Bardes et al., "VICRegL" (NeurIPS 2022), with two
    differences. The features are computed once and without augmentation.
    And they are standardised with the training set's statistics by default:
    features of an untrained backbone vary so little, and those of two
    pretraining methods differ so much in scale, that with one learning rate a
    comparison would measure the scale. `standardize=False` is the protocol
    of the paper, with a learning rate of 0.02 for ResNet and 0.3 for ConvNeXt.

    Several learning rates are trained at once, as one wide layer, on the same
    batches. The best is then chosen by accuracy on examples of the *training*
    set that were held out, and the layer trained with it on the whole training
    set, so that the figures are those of a call with this one rate. (Much of
    the field takes the best on the test set instead, which is higher.)

    `evaluate_augmented_linear` is the paper's protocol as it is. The layer here
    is trained in NumPy. At this size that takes a fraction of
    `fit`'s overhead, and the same features give the same figures on every
    backend.

    Args:
        backbone: Maps (B, H, W, 3) to one feature map (B, h, w, F); its
            spatial mean is classified. None if `train` and `test` come from
            `extract_features`.
        train: Images and labels: what `keras_vicregl.data.load` returns, a
            dictionary of arrays with `"images"` (N, H, W, 3) and `"labels"`
            (N,), an iterable over batches of such dictionaries or of pairs
            (images, labels), or what `extract_features` returned for any of
            them.
        test: As `train`. Of both, examples with the label -1 are left out.
        size: As for `extract_features`.
        resize: As for `extract_features`.
        epochs: Passes over the training features.
        learning_rate: At the start of the cosine. A sequence: rates to choose
            from.
        weight_decay: Multiple of the weights (and biases) added to their
            gradient.
        batch_size: Examples in a training step (all, if there are fewer; the
            rest of an epoch is dropped), and images per call of the backbone.
        validation_fraction: Share of the training examples, drawn at random
            by `seed`, that choose among several rates.
        standardize: Whether to shift and scale features to mean 0 and standard
            deviation 1 over the training set.
        seed: Of the initial weights and the order of the examples.
        num_classes: Default: one more than the largest training label, where
            every class of `test` must have examples in `train`.
        preprocess: Applied to each batch of images before the backbone, or
            None. See `extract_features`.

    Returns:
        `"top1"` and, if there are more than five classes, `"top5"`: accuracy
        on `test` as a fraction; `"train_top1"`, accuracy on `train`; and
        `"train_loss"`, mean cross-entropy on `train`. Of several rates also
        the chosen `"learning_rate"` and of each its `"validation_top1_{rate}"`,
        NaN where it diverged.

    Raises:
        ValueError: If an argument is outside what it may be, lengths differ,
            labels are out of range, a class is missing from `train`, the data
            is empty, a feature is not finite or training diverges (of several
            rates: with all of them).

    Example:

    >>> features = np.array([[-1.0], [-2.0], [1.0], [2.0]], dtype="float32")
    >>> data = {"features": features, "labels": np.array([0, 0, 1, 1])}
    >>> evaluate_linear(None, data, data)["top1"]
    1.0
    """
    rates = as_rates(learning_rate)
    for rate in rates:
        check_training(epochs, rate, weight_decay)
    (features, labels), (test_features, test_labels) = train_and_test(
        backbone,
        train,
        test,
        "labels",
        size=size,
        resize=resize,
        pooled=True,
        batch_size=batch_size,
        preprocess=preprocess,
    )
    num_classes = check_linear(
        labels,
        test_labels,
        epochs=epochs,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        batch_size=batch_size,
        validation_fraction=validation_fraction,
        seed=seed,
        num_classes=num_classes,
    )
    if standardize:
        mean, scale = _statistics(features)
        features = features - mean
        features /= scale
        test_features = (test_features - mean) / scale

    def trained(rates: Sequence[float], rows: np.ndarray) -> np.ndarray:
        return _train(
            features,
            labels,
            num_classes,
            rows=rows,
            epochs=epochs,
            learning_rates=rates,
            weight_decay=weight_decay,
            batch_size=batch_size,
            rng=np.random.default_rng(seed),
        )

    choice: Mapping[str, float] = {}
    if np.ndim(learning_rate):
        rows, held = hold_out(len(features), validation_fraction, seed)
        scores = linear_scores(features[held], trained(rates, rows))
        scores = scores.reshape(len(held), len(rates), num_classes)
        rate, choice = choose_rate(scores, labels[held], rates)
    parameters = trained([rate], np.arange(len(features)))
    scores = linear_scores(features, parameters)
    if not np.isfinite(scores).all():
        raise ValueError(
            "The linear classifier diverged. Lower learning_rate. Received: "
            f"learning_rate={rate}, standardize={standardize}"
        )
    test_scores = linear_scores(test_features, parameters)
    warn_of_scores(test_scores, test_labels)
    result = {"top1": top_k_accuracy(test_scores, test_labels, 1)}
    if num_classes > 5:
        result["top5"] = top_k_accuracy(test_scores, test_labels, 5)
    result["train_top1"] = top_k_accuracy(scores, labels, 1)
    result["train_loss"] = _cross_entropy(scores, labels)
    return {**result, **choice}


def check_linear(
    labels: np.ndarray,
    test_labels: np.ndarray,
    *,
    epochs: int,
    learning_rate: float | Sequence[float],
    weight_decay: float,
    batch_size: int,
    validation_fraction: float,
    seed: int,
    num_classes: int | None,
) -> int:
    """The number of classes, or what is wrong with arguments and labels.

    Raises:
        ValueError: As `evaluate_linear`, of all that needs no features.
    """
    check_batch_size(batch_size)
    for rate in as_rates(learning_rate):
        check_training(epochs, rate, weight_decay)
    if np.ndim(learning_rate):
        hold_out(len(labels), validation_fraction, seed)
    return check_classes(labels, test_labels, num_classes)


def _statistics(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation (F,) over examples, in float32.

    A feature that is constant, but for rounding, is given the scale 1.
    """
    mean = features.mean(axis=0, dtype=np.float64)
    std = features.std(axis=0, dtype=np.float64)
    rounding = np.finfo(np.float32).eps * np.abs(mean)
    return (
        mean.astype(np.float32),
        np.where(std > 10 * rounding, std, 1).astype(np.float32),
    )


# Divergence is reported as an error, not as a warning of every step.
@np.errstate(over="ignore", invalid="ignore")
def _train(
    features: np.ndarray,
    labels: np.ndarray,
    num_classes: int,
    *,
    rows: np.ndarray,
    epochs: int,
    learning_rates: Sequence[float],
    weight_decay: float,
    batch_size: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Softmax regressions by SGD, one a rate, all on the same batches.

    They lie side by side in one matrix: a product for all of them is up to
    twice as fast as one each, and what diverges stays in its columns.

    Args:
        features: (N, F).
        labels: (N,).
        num_classes: C.
        rows: Indices of the examples to train on.
        epochs: Passes over them.
        learning_rates: R rates.
        weight_decay: See `evaluate_linear`.
        batch_size: See `evaluate_linear`.
        rng: Draws the initial weights, the same for all rates, and the order.

    Returns:
        (F + 1, R * C): weights, and in the last row the biases.
    """
    count, size, heads = len(rows), features.shape[1], len(learning_rates)
    batch_size = min(batch_size, count)
    one_hot = np.eye(num_classes, dtype=np.float32)
    parameters = np.zeros((size + 1, heads * num_classes), np.float32)
    parameters[:size] = np.tile(rng.normal(0, 0.01, (size, num_classes)), heads)
    velocity = np.zeros_like(parameters)
    # The bias is the weight of a feature that is always 1.
    inputs = np.ones((batch_size, size + 1), np.float32)
    for epoch in counted(range(epochs), "linear classifier", "epochs"):
        cosine = 1 + math.cos(math.pi * epoch / epochs)
        rates = np.asarray(learning_rates) * 0.5 * cosine
        rates = np.repeat(rates.astype(np.float32), num_classes)
        order = rows[rng.permutation(count)]
        for start in range(0, count - batch_size + 1, batch_size):
            batch = order[start : start + batch_size]
            inputs[:, :size] = features[batch]
            scores = (inputs @ parameters).reshape(-1, heads, num_classes)
            error = _softmax(scores) - one_hot[labels[batch], None]
            gradient = inputs.T @ error.reshape(batch_size, -1) / batch_size
            gradient += weight_decay * parameters
            velocity = _MOMENTUM * velocity + gradient
            parameters -= rates * velocity
    return parameters


def _softmax(scores: np.ndarray) -> np.ndarray:
    exponentials = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def _cross_entropy(scores: np.ndarray, labels: np.ndarray) -> float:
    """Mean cross-entropy of scores (N, classes) with labels (N,)."""
    losses = np.empty(len(labels))
    for start in range(0, len(labels), _BLOCK):
        rows = slice(start, start + _BLOCK)
        block = scores[rows].astype(np.float64)
        block -= block.max(axis=1, keepdims=True)
        own = block[np.arange(len(block)), labels[rows]]
        losses[rows] = np.log(np.exp(block).sum(axis=1)) - own
    return float(np.mean(losses))
