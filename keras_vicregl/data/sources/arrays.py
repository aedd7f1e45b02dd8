"""Images that are arrays in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_vicregl._warnings import warn
from keras_vicregl.data._checks import check_images, check_labels, check_masks
from keras_vicregl.data.boxes import BOXES, check_box_arrays
from keras_vicregl.data.decoding.forms import Form
from keras_vicregl.data.sources.array_rows import native, row_reader, take
from keras_vicregl.data.sources.image_source import ImageSource
from keras_vicregl.data.sources.mask_labels import IGNORED
from keras_vicregl.data.streams.order import shuffled
from keras_vicregl.views.keys import IMAGES, LABELS, MASKS

if TYPE_CHECKING:
    import tensorflow as tf

# Other names of what may be in a dictionary of arrays.
_ALIASES = {
    LABELS: ("label", "target", "targets", "y", "class", "classes"),
    MASKS: (
        "mask",
        "masks",
        "segmentation_mask",
        "segmentation",
        "annotations",
    ),
    BOXES: ("box", "bbox", "bboxes", "bounding_box", "bounding_boxes"),
}
_LOOKED_AT = 16


def as_dataset(arrays: Mapping[str, np.ndarray]) -> tf.data.Dataset:
    """A `tf.data.Dataset` of the single examples in a dictionary of arrays.

    They are read from the arrays one by one, not copied into TensorFlow.

    Args:
        arrays: Arrays (N, ...) such as `digit_scenes` returns.

    Returns:
        N dictionaries with the same keys, in order, not batched.

    Raises:
        ValueError: If there are no arrays, they are empty or differ in length.

    Example:

    >>> dataset = as_dataset({"images": np.zeros((5, 8, 8, 3), "uint8")})
    >>> dataset.cardinality().numpy().item(), dataset.element_spec["images"]
    (5, TensorSpec(shape=(8, 8, 3), dtype=tf.uint8, name=None))
    """
    from keras_vicregl._tensorflow import tf

    count = common_length(arrays)
    # Not on a GPU, where they would stay.
    with tf.device("cpu"):
        read = row_reader({k: native(v, k) for k, v in arrays.items()})
        return tf.data.Dataset.range(count).map(read)


def common_length(arrays: Mapping[str, np.ndarray]) -> int:
    """The length of arrays that have one and are not empty."""
    shapes = {key: np.shape(value) for key, value in arrays.items()}
    lengths = {shape[0] if shape else 0 for shape in shapes.values()}
    if len(lengths) != 1 or 0 in lengths:
        raise ValueError(
            "arrays must have one length, which is not zero. Received the "
            f"shapes {shapes}"
        )
    return lengths.pop()


class ArraySource(ImageSource):
    """Arrays (N, ...): passed on as they are, so that anything may be in them.

    Args:
        arrays: Dictionary of arrays.
        name: See `ImageSource`.
        num_classes: See `ImageSource`.
        class_names: See `ImageSource`.
        box_class_names: See `ImageSource`.
        ignore_label: See `ImageSource`.
    """

    _is_decoded = True
    _is_batched = True

    def __init__(
        self,
        arrays: Mapping[str, np.ndarray],
        name: str = "arrays",
        num_classes: int | None = None,
        class_names: Sequence[str] | None = None,
        box_class_names: Sequence[str] | None = None,
        ignore_label: int = IGNORED,
    ) -> None:
        super().__init__(
            name,
            common_length(arrays),
            num_classes=num_classes,
            class_names=class_names,
            has_masks=MASKS in arrays,
            has_boxes=BOXES in arrays,
            box_class_names=box_class_names,
            ignore_label=ignore_label,
        )
        self._arrays = dict(arrays)
        if IMAGES in arrays:
            images = arrays[IMAGES]
            self._known_form = Form(images.shape[-1], images.dtype.name)

    def dataset(self, order_seed: int | None = None) -> tf.data.Dataset:
        """See `ImageSource.dataset`."""
        if order_seed is None:
            return as_dataset(self._arrays)
        from keras_vicregl._tensorflow import tf

        with tf.device("cpu"):
            order = shuffled(len(self), order_seed)
            read = self._reader()
            return tf.data.Dataset.from_tensor_slices(order).map(
                lambda index: read(index, {})
            )

    def example(self, index: int) -> dict[str, np.ndarray]:
        """See `ImageSource.example`."""
        return {key: take(value, index) for key, value in self._arrays.items()}

    def _reader(self) -> Callable[[Any, Any], dict]:
        read = row_reader(self._arrays)
        return lambda index, element: read(index)

    def _all_labels(self) -> np.ndarray:
        return np.asarray(self._arrays[LABELS], np.int32)

    def _renumbered(
        self, table: np.ndarray, class_names: Sequence[str]
    ) -> ArraySource:
        other = self._with_class_names(class_names)
        other._arrays = {**self._arrays, LABELS: table[self._all_labels()]}
        return other


def as_source(
    data: ImageSource | Mapping[str, np.ndarray] | np.ndarray,
) -> ImageSource:
    """Sources as they are, and arrays as a source; see `from_arrays`."""
    return data if isinstance(data, ImageSource) else from_arrays(data)


def from_arrays(
    arrays: Mapping[str, np.ndarray] | np.ndarray,
    name: str = "arrays",
    class_names: Sequence[str] | None = None,
    box_class_names: Sequence[str] | None = None,
    ignore_label: int = IGNORED,
) -> ArraySource:
    """A source of arrays that are images, labels and so on, as they must be.

    Args:
        arrays: Images (N, H, W, C), uint8, uint16 or float32, or a dictionary
            of `"images"` and optionally `"labels"` (N,),
            `"segmentation_masks"` (N, H, W, 1), and `"boxes"` (N, M, 4) with
            `"box_classes"` (N, M).
        name: See `ImageSource`.
        class_names: See `ImageSource`.
        box_class_names: See `ImageSource`.
        ignore_label: See `ImageSource`.

    Raises:
        ValueError: If they are not.
    """
    if not isinstance(arrays, Mapping):
        arrays = {IMAGES: arrays}
    if IMAGES not in arrays:
        raise ValueError(
            f"a dictionary of arrays must have the key {IMAGES!r}. Received "
            f"the keys {sorted(arrays)}"
        )
    _warn_of_keys(arrays)
    arrays = {key: native(value, key) for key, value in arrays.items()}
    common_length(arrays)
    shape = arrays[IMAGES].shape
    check_images(shape, arrays[IMAGES].dtype)
    _warn_of_two_values(arrays[IMAGES], name)
    if MASKS in arrays and arrays[MASKS].shape != (*shape[:3], 1):
        raise ValueError(
            f"{MASKS} must have the size of their images, shape "
            f"{(*shape[:3], 1)}. Received: shape {arrays[MASKS].shape}"
        )
    if MASKS in arrays:
        check_masks(arrays[MASKS])
    arrays |= check_box_arrays(arrays, shape[0])
    num_classes = None
    if LABELS in arrays:
        arrays[LABELS], num_classes = check_labels(
            arrays[LABELS], shape[0], class_names
        )
    return ArraySource(
        arrays, name, num_classes, class_names, box_class_names, ignore_label
    )


def _warn_of_keys(arrays: Mapping[str, np.ndarray]) -> None:
    """Says which keys are passed on unread, though they look like others."""
    unread = {
        key: meant
        for key in arrays
        for meant, words in _ALIASES.items()
        if str(key).lower() in words and meant not in arrays
    }
    if unread:
        told = ", ".join(
            f"{meant!r} for {key!r}" for key, meant in unread.items()
        )
        warn(
            f"The dictionary of arrays has {', '.join(map(repr, unread))}, "
            f"which nothing reads. Is it meant to be {told}?"
        )


def _warn_of_two_values(images: np.ndarray, name: str) -> None:
    """Says where a few images have no values but 0 and 1."""
    if images.dtype != np.uint8:
        return
    some = images[np.arange(min(len(images), _LOOKED_AT))]
    if some.size and some.max() == 1 and not some.min():
        warn(
            f"The images of {name} have no values but 0 and 1, of 0 to 255: "
            "all are nearly black. Multiply images of 0 to 1 by 255 before "
            "they become uint8."
        )
