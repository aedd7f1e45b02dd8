"""Images to test on, of one size and in batches."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_vicregl.data.engine import has_tensorflow
from keras_vicregl.data.sources.mask_labels import IGNORED
from keras_vicregl.data.streams.ahead import prefetched
from keras_vicregl.evaluation.checks import check_batch_size
from keras_vicregl.evaluation.features.middles import Middle, middle
from keras_vicregl.models.arguments import is_count
from keras_vicregl.views.keys import IMAGES, MASKS

if TYPE_CHECKING:
    from keras_vicregl.data import ImageSource


def image_batches(
    source: ImageSource | Mapping[str, np.ndarray],
    *,
    size: int | None = None,
    resize: int | None = None,
    limit: int | None = None,
    batch_size: int = 256,
) -> ImageBatches:
    """Batches of a source as `extract_features` and the evaluations take them.

    They make them by themselves where they are given a source. This is for
    `limit`, and for batches of one's own that come after.

    With a size, images are resized (bilinear, antialiased) until their shorter
    side is `resize`, and a square is cut out of their middle: the test images
    of the paper with `size=224`, `resize=256`. Masks follow by their nearest
    pixels.

    Args:
        source: What `load` returns, or a dictionary of arrays. Arrays need no
            TensorFlow.
        size: Side of the square in pixels. None: images stay as they are, and
            must be of one size.
        resize: Their shorter side before that. Default: 8/7 of `size`.
        limit: Images to take at the most, evenly spread over the source. None:
            all.
        batch_size: Images in a batch; the last may have fewer.

    Returns:
        An iterable, any number of times, over dictionaries of `"images"` (B, H,
        W, C), of the dtype and values that they have, or where they were
        resized float32, and where
        there are any `"labels"` (B,) and `"segmentation_masks"` (B, H, W, 1),
        in which the `ignore_label` of the source has become 255. Boxes are left
        out.

    Raises:
        ValueError: If an argument is outside what it may be; and from the
            iterator, if images are to stay as they are and differ in size.

    Example:

    >>> images = np.zeros((5, 30, 40, 3), "uint8")
    >>> batches = image_batches({"images": images}, size=16, batch_size=3)
    >>> [batch["images"].shape for batch in batches]
    [(3, 16, 16, 3), (2, 16, 16, 3)]
    """
    from keras_vicregl.data.sources.arrays import as_source
    from keras_vicregl.data.sources.subset import subset

    if limit is not None and not is_count(limit):
        raise ValueError(
            f"limit must be positive, a whole number. Received: {limit!r}"
        )
    check_batch_size(batch_size)
    cut = middle(size, resize)
    source = as_source(source)
    if limit is not None and limit < len(source):
        source = subset(source, np.arange(limit) * len(source) // limit)
    return ImageBatches(source, cut, batch_size)


def common_size(
    source: ImageSource | Mapping[str, np.ndarray],
) -> tuple[int, int] | None:
    """Height and width of all images, or None if it is not known beforehand."""
    from keras_vicregl.data.sources.arrays import ArraySource, as_source

    source = as_source(source)
    if isinstance(source, ArraySource):
        return source._arrays[IMAGES].shape[1:3]
    if not has_tensorflow():
        return None
    shape = source.dataset().element_spec[IMAGES].shape
    return tuple(shape[:2]) if shape.is_fully_defined() else None


def of_channels(source: ImageSource, channels: int) -> ImageSource:
    """A source of so many channels: pictures may become grey values.

    Raises:
        ValueError: If its images have others.
    """
    source = source._of_channels(channels)
    if source.channels not in (None, channels):
        raise ValueError(
            f"The backbone takes images of {channels} channels. Received: "
            f"{source!r}, of {source.channels}"
        )
    return source


def label_in_batches(
    ignore_label: int | Sequence[int] | None, *data: Any
) -> int | Sequence[int] | None:
    """Labels to leave out: that of the caller, and 255 in batches of sources.

    In these it is what the source ignores, whatever the caller says.
    """
    if all(getattr(each, "ignore_label", None) is None for each in data):
        return ignore_label
    labels = {IGNORED, *as_labels(ignore_label)}
    return IGNORED if len(labels) == 1 else tuple(sorted(labels, reverse=True))


def as_labels(ignore_label: int | Sequence[int] | None) -> tuple[int, ...]:
    """One label, several or none as a tuple."""
    if ignore_label is None:
        return ()
    labels = np.atleast_1d(ignore_label)
    if labels.dtype.kind not in "iu":
        raise ValueError(
            "ignore_label must be an integer, several, or None. Received: "
            f"ignore_label={ignore_label!r}"
        )
    return tuple(labels.tolist())


def image_count(data: Any) -> int | None:
    """How many images there are, None where it is not known beforehand."""
    if isinstance(data, ImageBatches):
        return data.count
    if isinstance(data, Mapping) and IMAGES in data:
        return len(data[IMAGES])
    return None


class ImageBatches:
    """What `image_batches` returns."""

    def __init__(
        self, source: ImageSource, cut: Middle | None, batch_size: int
    ) -> None:
        self._source = source
        self._middle = cut
        self._batch_size = batch_size

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        from keras_vicregl.data.sources.arrays import ArraySource

        if isinstance(self._source, ArraySource):
            batches = self._of_arrays(self._source._arrays)
        elif has_tensorflow():
            batches = self._of_dataset()
        else:
            batches = self._of_examples()
        return map(self._with_ignored, batches)

    @property
    def count(self) -> int:
        """Images, those that cannot be read included."""
        return len(self._source)

    @property
    def ignore_label(self) -> int:
        """The label of the source that is 255 in the batches."""
        return self._source.ignore_label

    def _with_ignored(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Pixels of no class as all evaluations leave them out."""
        if MASKS not in batch or self.ignore_label == IGNORED:
            return batch
        masks = np.asarray(batch[MASKS])
        is_void = masks == self.ignore_label
        return {**batch, MASKS: np.where(is_void, IGNORED, masks)}

    def _of_arrays(
        self, arrays: Mapping[str, np.ndarray]
    ) -> Iterator[dict[str, np.ndarray]]:
        from keras_vicregl.data.boxes import without_boxes

        for start in range(0, len(self._source), self._batch_size):
            rows = slice(start, start + self._batch_size)
            batch = {
                key: value[rows] for key, value in without_boxes(arrays).items()
            }
            yield (
                batch if self._middle is None else self._middle.of_batch(batch)
            )

    def _of_dataset(self) -> Iterator[dict[str, np.ndarray]]:
        from keras_vicregl._tensorflow import tf
        from keras_vicregl.data.boxes import without_boxes

        with tf.device("cpu"):
            examples = self._source.dataset().map(without_boxes)
            if self._middle is None:
                examples = examples.prefetch(self._batch_size)
                batches = self._stacked(examples.as_numpy_iterator())
            else:
                examples = examples.map(
                    self._middle.of_example, tf.data.AUTOTUNE
                )
                batches = examples.batch(self._batch_size)
                batches = batches.prefetch(tf.data.AUTOTUNE)
                batches = batches.as_numpy_iterator()
        # Not within: what goes through them would be on the CPU as well.
        yield from batches

    def _of_examples(self) -> Iterator[dict[str, np.ndarray]]:
        """As `_of_dataset`, where Python reads the images."""
        from keras_vicregl.data.boxes import without_boxes

        cut = self._middle
        examples = self._source.examples_in_python(
            then=without_boxes
            if cut is None
            else lambda example: cut.of_array(without_boxes(example))
        )
        # The next one is put together while the model has this one.
        with contextlib.closing(
            prefetched(lambda: self._stacked(examples), 1)
        ) as batches:
            yield from batches

    def _stacked(
        self, examples: Iterator[dict[str, np.ndarray]]
    ) -> Iterator[dict[str, np.ndarray]]:
        """Batches of images as they are, which must have one size."""
        size, count = None, 0
        while group := list(itertools.islice(examples, self._batch_size)):
            for example in group:
                own = example[IMAGES].shape[:2]
                size = size or own
                if own != size:
                    raise ValueError(
                        "All images must have one size where none is given. "
                        f"{self._source.name} has images of {size[0]} x "
                        f"{size[1]} pixels, and as number {count} one of "
                        f"{own[0]} x {own[1]}. Pass size, the side of the "
                        "square that is cut out of each."
                    )
                count += 1
            yield {
                key: np.stack([example[key] for example in group])
                for key in group[0]
            }
