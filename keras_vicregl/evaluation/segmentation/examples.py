"""Images and masks one by one, of any size, from any form of data."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, cast

import numpy as np

from keras_vicregl.data.engine import has_tensorflow
from keras_vicregl.data.sources.arrays import ArraySource
from keras_vicregl.data.sources.image_source import ImageSource
from keras_vicregl.data.streams.order import epoch_seeds, shuffled
from keras_vicregl.evaluation.checks import check_mask_range
from keras_vicregl.evaluation.features.batches import (
    Data,
    batches,
    check_key,
    select,
)
from keras_vicregl.evaluation.features.given import (
    check_source,
    check_target,
    with_channels,
)
from keras_vicregl.evaluation.features.middles import Middle
from keras_vicregl.views.keys import IMAGES, MASKS

UNLABELLED = -1
"""What pixels without a label have in an `Example`."""


class Example(NamedTuple):
    """An image and its mask."""

    image: np.ndarray  # (H, W, channels)
    mask: np.ndarray  # (H, W) int32: classes, or UNLABELLED


class Labels(NamedTuple):
    """Which labels masks may have."""

    num_classes: int
    ignored: int | None
    ignored_by_source: int | None = None


def examples(
    data: Data | ImageSource,
    name: str,
    labels: Labels,
    order_seed: int | None = None,
    cut: Middle | None = None,
) -> Iterator[Example]:
    """All examples of a data set once, none of them bad.

    Args:
        data: An `ImageSource` with masks, a dictionary of arrays, or an
            iterable over batches or single examples: dictionaries with
            `"images"` and `"segmentation_masks"`, or pairs of these.
        name: What to call it in errors.
        labels: Which labels masks may have.
        order_seed: Of the order, where `data` can be read in any. None: as it
            is.
        cut: What is taken of each image of a source or of arrays. None: all.

    Raises:
        ValueError: If the data are of another kind, or an iterable of which
            something is to be cut; a mask is missing, has another size than its
            image, is not of integers or has a label that there is not.
    """
    own = getattr(data, "ignore_label", None)
    labels = labels._replace(ignored_by_source=own)
    for count, pair in enumerate(_pairs(data, name, order_seed, cut)):
        yield _checked(*pair, f"{name}[{count}]", labels)


def endless_examples(
    data: Data | ImageSource,
    name: str,
    labels: Labels,
    seed: int,
    cut: Middle | None = None,
) -> Iterator[tuple[Example, tuple[int, int, int]]]:
    """Epoch after epoch, each in an order of its own.

    Args:
        data: As for `examples`.
        name: What to call it in errors.
        labels: Which labels masks may have.
        seed: Of the orders.
        cut: As for `examples`.

    Yields:
        Examples, and a seed for what is drawn for each: three integers.

    Raises:
        ValueError: As `examples`, or if an epoch is empty or has no pixel with
            a label.
    """
    epoch = 0
    while True:
        count = labelled = 0
        order_seed = int(epoch_seeds(seed, epoch)[0])
        for example in examples(data, name, labels, order_seed, cut):
            labelled += np.count_nonzero(example.mask != UNLABELLED)
            yield example, (seed, epoch, count)
            count += 1
        if not count:
            raise ValueError(
                f"{name} is empty: it has no images."
                if epoch == 0
                else f"{name} ended in epoch {epoch} and cannot be read again. "
                "Pass data that can be iterated over as often as wanted, such "
                "as a list or a tf.data.Dataset, not a generator."
            )
        if not labelled:
            raise ValueError(
                f"segmentation_masks of {name} have no pixel with a label "
                f"other than ignore_label={labels.ignored}."
            )
        epoch += 1


def _pairs(
    data: Data | ImageSource,
    name: str,
    order_seed: int | None,
    cut: Middle | None,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    if cut is not None:
        check_source(data, name, f"size={cut.size}")
    if isinstance(data, ImageSource):
        check_target(data, MASKS, name)
    if isinstance(data, ArraySource):
        data = data._arrays  # which need no TensorFlow
    if isinstance(data, ImageSource):
        for example in _images(data, order_seed, cut):
            yield example[IMAGES], example[MASKS]
        return
    data = select(data, MASKS, name)
    if isinstance(data, Mapping):
        # As a dictionary of arrays it is looked through here only.
        if next(batches(data, 1), None) is None:
            return
        arrays = with_channels(
            {key: np.asarray(value) for key, value in data.items()}
        )
        order = np.arange(len(arrays["images"]))
        if order_seed is not None:
            order = shuffled(len(order), order_seed)
        for row in order:
            example = {key: value[[row]] for key, value in arrays.items()}
            if cut is not None:
                example = cut.of_batch(example)
            yield example[IMAGES][0], example[MASKS][0]
    elif isinstance(data, np.ndarray) or not hasattr(data, "__iter__"):
        next(batches(data, 1), None)  # raises
    else:
        for batch in data:
            yield from _rows(cast("Mapping[str, Any]", batch), name)


def _images(
    source: ImageSource, order_seed: int | None, cut: Middle | None
) -> Iterator[dict[str, np.ndarray]]:
    """Examples of a source, cut where they are read."""
    if cut is None:
        return source.examples(order_seed)
    if has_tensorflow():
        images = source.dataset(order_seed).map(cut.of_example)
        return images.as_numpy_iterator()
    return source.examples_in_python(order_seed, cut.of_array)


def _rows(
    batch: Mapping[str, Any], name: str
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Examples of a batch, or the one that it is."""
    for key in ("images", MASKS):
        check_key(batch, key, f"Every batch of {name}")
    images, masks = np.asarray(batch["images"]), np.asarray(batch[MASKS])
    if images.ndim == 3:
        images, masks = images[None], masks[None]
    if images.ndim != 4 or masks.shape[:1] != images.shape[:1]:
        raise ValueError(
            f"images of {name} must be (H, W, channels), or (B, H, W, channels)"
            " with as many segmentation_masks. Received: shapes "
            f"{np.shape(batch['images'])} and {np.shape(batch[MASKS])}"
        )
    yield from zip(images, masks, strict=True)


def _checked(
    image: np.ndarray, mask: np.ndarray, name: str, labels: Labels
) -> Example:
    if mask.ndim == 3 and mask.shape[-1] == 1:
        mask = mask[..., 0]
    if mask.ndim != 2:
        raise ValueError(
            f"segmentation_masks of {name} must have the shape (H, W, 1) or "
            f"(H, W). Received: shape {mask.shape}"
        )
    if not np.issubdtype(mask.dtype, np.integer):
        raise ValueError(
            f"segmentation_masks of {name} must be integers. Received: "
            f"{mask.dtype}"
        )
    if mask.shape != image.shape[:2]:
        raise ValueError(
            f"segmentation_masks of {name} must have the size of the image, "
            f"{image.shape[0]} x {image.shape[1]} pixels. Received: "
            f"{mask.shape[0]} x {mask.shape[1]}"
        )
    if not mask.size:
        raise ValueError(f"{name} is an image without pixels: {mask.shape}.")
    left_out = [
        label
        for label in dict.fromkeys((labels.ignored, labels.ignored_by_source))
        if label is not None
    ]
    ignored = np.isin(mask, left_out)
    told = " and ".join(map(str, left_out))
    but = f" (but for {told})" if told else ""
    check_mask_range(mask[~ignored], labels.num_classes, f"{name}{but}")
    mask = np.where(ignored, UNLABELLED, mask.astype(np.int32))
    return Example(image, mask)
