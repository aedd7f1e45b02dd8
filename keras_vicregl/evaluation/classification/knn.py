"""Classification by the nearest neighbours in feature space."""

import numbers
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_vicregl.data.sources.image_source import ImageSource
from keras_vicregl.evaluation.checks import (
    check_labels,
    number_of_classes,
)
from keras_vicregl.evaluation.classification.accuracy import (
    top_k_accuracy,
    warn_of_scores,
)
from keras_vicregl.evaluation.features.batches import Data
from keras_vicregl.evaluation.features.extraction import (
    Preprocess,
    normalize_images,
    train_and_test,
)
from keras_vicregl.evaluation.progress import counted
from keras_vicregl.models.arguments import is_count
from keras_vicregl.precision import matmul

# Of the block of similarities that is held at a time: 128 MiB in float32.
_MAX_SIMILARITIES = 2**25


def evaluate_knn(
    backbone: keras.Model | None,
    train: Data | ImageSource,
    test: Data | ImageSource,
    *,
    size: int | None = None,
    resize: int | None = None,
    k: int = 20,
    temperature: float = 0.07,
    num_classes: int | None = None,
    batch_size: int = 256,
    preprocess: Preprocess = normalize_images,
) -> dict[str, float]:
    """Accuracy of a weighted k-nearest-neighbour classifier.

    Each test image takes the vote of the k training images with the most
    similar pooled features, an image of cosine similarity s voting for its
    class with the weight exp(s / temperature) (Wu et al., "Unsupervised
    Feature Learning via Non-Parametric Instance Discrimination", CVPR 2018).
    Nothing is trained, so this is the quickest look at a representation.

    Classes with equal votes rank in their order; a class without a vote never
    counts as right.

    Args:
        backbone: Maps (B, H, W, 3) to one feature map (B, h, w, F); its
            spatial mean is compared. None if `train` and `test` come from
            `extract_features`.
        train: Images and labels: what `keras_vicregl.data.load` returns, a
            dictionary of arrays with `"images"` (N, H, W, 3) and `"labels"`
            (N,), an iterable over batches of such dictionaries or of pairs
            (images, labels), or what `extract_features` returned for any of
            them.
        test: As `train`. Of both, examples with the label -1 are left out.
        size: As for `extract_features`.
        resize: As for `extract_features`.
        k: Number of neighbours that vote, at most N.
        temperature: Positive; the smaller, the more the closest count.
        num_classes: Default: one more than the largest training label.
        batch_size: Images per call of the backbone.
        preprocess: Applied to each batch of images before the backbone, or
            None. See `extract_features`.

    Returns:
        `"top1"` and, if there are more than five classes, `"top5"`: accuracy
        on `test` as a fraction.

    Raises:
        ValueError: If an argument is outside what it may be, lengths differ,
            labels are out of range, the data is empty or a feature is not
            finite.

    Example:

    >>> directions = np.eye(3, dtype="float32")
    >>> data = {"features": directions, "labels": np.arange(3)}
    >>> evaluate_knn(None, data, data, k=1)
    {'top1': 1.0}
    """
    _check_temperature(temperature)
    (bank, bank_labels), (queries, labels) = train_and_test(
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
    num_classes = check_knn(
        bank_labels,
        labels,
        k=k,
        temperature=temperature,
        num_classes=num_classes,
    )
    similarities, neighbours = _nearest(_unit(queries), _unit(bank), k)
    votes = _votes(
        similarities, bank_labels[neighbours], temperature, num_classes
    )
    warn_of_scores(votes, labels)
    result = {"top1": top_k_accuracy(votes, labels, 1)}
    if num_classes > 5:
        result["top5"] = top_k_accuracy(votes, labels, 5)
    return result


def check_knn(
    labels: np.ndarray,
    test_labels: np.ndarray,
    *,
    k: int,
    temperature: float,
    num_classes: int | None,
) -> int:
    """The number of classes, or what is wrong with arguments and labels.

    Raises:
        ValueError: As `evaluate_knn`, of all that needs no features.
    """
    _check_temperature(temperature)
    check_k(k, len(labels))
    num_classes = number_of_classes(num_classes, labels)
    check_labels(labels, num_classes, "train")
    check_labels(test_labels, num_classes, "test")
    return num_classes


def check_k(k: int, count: int) -> None:
    """Raises a ValueError unless there are k training examples, of `count`."""
    if not (is_count(k) and k <= count):
        raise ValueError(
            "k must be a whole number between 1 and the number of training "
            f"examples, {count}. Received: k={k!r}"
        )


def _check_temperature(temperature: float) -> None:
    if not isinstance(temperature, numbers.Real) or not temperature > 0:
        raise ValueError(
            "temperature must be a positive number. Received: "
            f"temperature={temperature!r}"
        )


def _unit(features: np.ndarray) -> np.ndarray:
    """Scales features (N, F) to unit length; a zero stays a zero."""
    norms = np.linalg.norm(features, axis=1, keepdims=True)
    return features / np.maximum(norms, np.finfo(np.float32).tiny)


def _nearest(
    queries: np.ndarray, bank: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """The k largest inner products with rows of the bank.

    Args:
        queries: (Q, F).
        bank: (N, F).
        k: At most N.

    Returns:
        (Q, k) inner products and (Q, k) indices into the bank.
    """
    transposed = ops.convert_to_tensor(bank.T)
    rows = max(1, _MAX_SIMILARITIES // len(bank))
    values, indices = [], []
    starts = range(0, len(queries), rows)
    for start in counted(starts, "neighbours", "blocks"):
        block = ops.convert_to_tensor(queries[start : start + rows])
        top = most_similar(block, transposed, k)
        values.append(ops.convert_to_numpy(top[0]))
        indices.append(ops.convert_to_numpy(top[1]))
    return np.concatenate(values), np.concatenate(indices)


def most_similar(queries: Any, bank: Any, k: int) -> tuple[Any, Any]:
    """The k largest of the inner products of queries (Q, F) and bank (F, N)."""
    return ops.top_k(matmul(queries, bank), k)


def _votes(
    similarities: np.ndarray,
    classes: np.ndarray,
    temperature: float,
    num_classes: int,
) -> np.ndarray:
    """Summed weights of the classes: (Q, num_classes), -inf without a vote."""
    # Relative to the closest neighbour, so that no exponential overflows.
    relative = similarities.astype(np.float64) - similarities[:, :1]
    votes = np.zeros((len(classes), num_classes))
    rows = np.arange(len(classes))[:, None]
    np.add.at(votes, (rows, classes), np.exp(relative / temperature))
    voted = np.zeros(votes.shape, bool)
    voted[rows, classes] = True
    return np.where(voted, votes, -np.inf)
