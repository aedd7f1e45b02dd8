"""Linear segmentation on frozen feature maps."""

from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from keras_vicregl.data.batches.identity import left_out
from keras_vicregl.data.sources.image_source import ImageSource
from keras_vicregl.evaluation.checks import (
    check_batch_size,
    check_mask_range,
    check_training,
    number_of_classes,
)
from keras_vicregl.evaluation.features.batches import Data
from keras_vicregl.evaluation.features.extraction import (
    Preprocess,
    normalize_images,
    train_and_test,
)
from keras_vicregl.evaluation.features.image_batches import (
    as_labels,
    label_in_batches,
)
from keras_vicregl.evaluation.progress import counted, say_once
from keras_vicregl.evaluation.segmentation.confusion import confusion_matrix
from keras_vicregl.evaluation.segmentation.head import (
    PixelCrossEntropy,
    decay,
    linear_head,
    segmentation_figures,
)
from keras_vicregl.evaluation.segmentation.resizing import upsample_scores


def evaluate_segmentation(
    backbone: keras.Model | None,
    train: Data | ImageSource,
    test: Data | ImageSource,
    *,
    size: int | None = None,
    resize: int | None = None,
    num_classes: int | None = None,
    ignore_label: int | Sequence[int] | None = 255,
    epochs: int = 15,
    learning_rate: float = 0.1,
    weight_decay: float = 5e-4,
    batch_size: int = 32,
    seed: int = 0,
    preprocess: Preprocess = normalize_images,
) -> dict[str, float]:
    """Mean intersection over union of a linear segmentation head.

    Batch normalisation and a 1 x 1 convolution on the frozen feature map; its
    scores, upsampled bilinearly to the size of the mask (pixel centres at half
    coordinates, corners not aligned), are trained with softmax cross-entropy
    by SGD with momentum 0.9 and a learning rate that falls polynomially, with
    power 0.9, to a thousandth: the linear frozen evaluation of Bardes et al.,
    "VICRegL" (NeurIPS 2022). The features are computed once and without
    augmentation, and batch size, learning rate and length suit thousands of
    small images rather than 40,000 iterations on Pascal VOC, for which there is
    `train_segmentation`. Any size of map and mask will do, as long as it is the
    same for all examples of a set.

    The intersection over union of a class is taken over all test pixels at
    once. A class that is neither in the labels nor in the predictions has none,
    and is left out of the mean.

    Args:
        backbone: Maps (B, H, W, 3) to one feature map (B, h, w, F). None if
            `train` and `test` come from `extract_features`.
        train: Images and masks: what `keras_vicregl.data.load` returns, a
            dictionary of arrays with `"images"` (N, H, W, 3) and integer
            `"segmentation_masks"` (N, H', W', 1) or (N, H', W'), an iterable
            over batches of such dictionaries or of pairs (images, masks), or
            what `extract_features` returned for any of them.
        test: As `train`.
        size: As for `extract_features`.
        resize: As for `extract_features`.
        num_classes: Default: one more than the largest training label.
        ignore_label: Pixels with this label, or one of these, are left out of
            training and test, and those with the `ignore_label` of a source, or
            batches of one. None: there are no others.
        epochs: Passes over the training features.
        learning_rate: At the start.
        weight_decay: Multiple of the convolution's weights added to their
            gradient (L2, not decoupled).
        batch_size: Examples in a training step (all, if there are fewer; the
            rest of an epoch is dropped), and images per call of the backbone.
        seed: Of the initial weights, N(0, 0.01^2), and of the order of the
            examples.
        preprocess: Applied to each batch of images before the backbone, or
            None. See `extract_features`.

    Returns:
        On `test`, as fractions: `"mean_iou"`, `"pixel_accuracy"` and
        `"iou_0"` to `"iou_{num_classes - 1}"`, NaN for a class that is left
        out.

    Raises:
        ValueError: If an argument is outside what it may be, lengths differ,
            labels are not integers in range, the data is empty or has no pixel
            with a label, features are not finite 4-D maps or training diverges.

    Example:

    >>> maps = np.zeros((4, 2, 2, 2), dtype="float32")
    >>> maps[:, :, 0, 0] = maps[:, :, 1, 1] = 1
    >>> masks = maps[..., 1].astype(int)
    >>> data = {"features": maps, "segmentation_masks": masks}
    >>> evaluate_segmentation(None, data, data)["mean_iou"]
    1.0
    """
    check_training(epochs, learning_rate, weight_decay)
    ignore_label = label_in_batches(ignore_label, train, test)
    (maps, masks), (test_maps, test_masks) = train_and_test(
        backbone,
        train,
        test,
        "segmentation_masks",
        size=size,
        resize=resize,
        pooled=False,
        batch_size=batch_size,
        preprocess=preprocess,
    )
    num_classes, ignore_label, masks, test_masks = check_segmentation(
        masks,
        test_masks,
        num_classes=num_classes,
        ignore_label=ignore_label,
        epochs=epochs,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        batch_size=batch_size,
    )
    head = _train(
        maps,
        masks,
        num_classes,
        ignore_label,
        epochs=epochs,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        batch_size=batch_size,
        seed=seed,
    )
    confusion = np.zeros((num_classes, num_classes), np.int64)
    for start in range(0, len(test_maps), batch_size):
        rows = slice(start, start + batch_size)
        scores = head.predict_on_batch(test_maps[rows])
        if not np.isfinite(scores).all():
            raise ValueError(
                "The segmentation head diverged. Lower learning_rate. "
                f"Received: learning_rate={learning_rate}"
            )
        scores = upsample_scores(scores, test_masks.shape[1:3])
        confusion += confusion_matrix(
            test_masks[rows, ..., 0],
            ops.convert_to_numpy(ops.argmax(scores, axis=1)),
            num_classes,
            ignore_label,
        )
    return segmentation_figures(confusion, test_masks.size)


def check_segmentation(
    masks: np.ndarray,
    test_masks: np.ndarray,
    *,
    num_classes: int | None,
    ignore_label: int | Sequence[int] | None,
    epochs: int,
    learning_rate: float,
    weight_decay: float,
    batch_size: int,
) -> tuple[int, int | None, np.ndarray, np.ndarray]:
    """What there is to train on, or what is wrong.

    Returns:
        The number of classes, one label of what is left out, and masks (N, H,
        W, 1) that have it.

    Raises:
        ValueError: As `evaluate_segmentation`, of all that needs no features.
    """
    check_batch_size(batch_size)
    check_training(epochs, learning_rate, weight_decay)
    first, *others = as_labels(ignore_label) or (None,)
    masks, test_masks = (
        np.where(np.isin(each, others), first, each) if others else each
        for each in (masks, test_masks)
    )
    num_classes = number_of_classes(num_classes, masks, first)
    return (
        num_classes,
        first,
        _checked_masks(masks, num_classes, first, "train"),
        _checked_masks(test_masks, num_classes, first, "test"),
    )


def _checked_masks(
    masks: np.ndarray, num_classes: int, ignore_label: int | None, name: str
) -> np.ndarray:
    """Masks as (N, H, W, 1), if they are of use."""
    if masks.ndim == 3:
        masks = masks[..., None]
    if masks.ndim != 4 or masks.shape[-1] != 1:
        raise ValueError(
            f"segmentation_masks of {name} must have the shape (N, H, W, 1) or "
            f"(N, H, W). Received: shape {masks.shape}"
        )
    labels = masks if ignore_label is None else masks[masks != ignore_label]
    if not labels.size:
        raise ValueError(
            f"segmentation_masks of {name} have no pixel with a label other "
            f"than ignore_label={ignore_label}."
        )
    check_mask_range(labels, num_classes, name)
    return masks


def _train(
    maps: np.ndarray,
    masks: np.ndarray,
    num_classes: int,
    ignore_label: int | None,
    *,
    epochs: int,
    learning_rate: float,
    weight_decay: float,
    batch_size: int,
    seed: int,
) -> keras.Model:
    """The trained head: (B, h, w, F) to scores (B, h, w, classes)."""
    batch_size = min(batch_size, len(maps))
    steps = len(maps) // batch_size
    if rest := left_out(len(maps), batch_size):
        say_once(f"segmentation head: {rest}")
    head = linear_head(maps.shape[-1], num_classes, seed=seed)
    decay([head.layers[-1].kernel], weight_decay)
    schedule = keras.optimizers.schedules.PolynomialDecay(
        learning_rate,
        decay_steps=epochs * steps,
        end_learning_rate=learning_rate / 1000,
        power=0.9,
    )
    head.compile(
        optimizer=keras.optimizers.SGD(schedule, momentum=0.9),
        loss=PixelCrossEntropy(ignore_label),
    )
    rng = np.random.default_rng(seed)
    for _ in counted(range(epochs), "segmentation head", "epochs"):
        order = rng.permutation(len(maps))
        for step in range(steps):
            rows = order[step * batch_size : (step + 1) * batch_size]
            head.train_on_batch(maps[rows], masks[rows])
    return head
