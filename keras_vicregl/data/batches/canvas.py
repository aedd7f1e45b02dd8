"""Images of many sizes as arrays of one, for views made on the device.

Programs for accelerators have static shapes. So an image lies in the upper left
corner of a canvas, of which nothing else is looked at: boxes are drawn for the
image alone, and its views are those of the image without a canvas. An image
that is larger than the canvas is made smaller first, by whole pixels that both
engines agree on; its views then lead to positions in the image as it was.
"""

from __future__ import annotations

import threading
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_vicregl.data._checks import check_pair
from keras_vicregl.data.decoding.resizing import resized
from keras_vicregl.data.sources.image_source import ImageSource
from keras_vicregl.views import MultiView
from keras_vicregl.views.keys import (
    IMAGES,
    LABELS,
    PARAMETERS,
    SEEDS,
    SOURCE_SIZE,
)

if TYPE_CHECKING:
    import tensorflow as tf

LARGEST = 512
"""Side of a canvas that is as large as nobody asked for, in pixels."""

_SIZE = "size_on_canvas"


class Canvas:
    """Puts images on canvases, and draws what is to be done to them.

    Args:
        source: Of the images.
        multi_view: With `on="device"`.
        size: Height and width in pixels.
    """

    def __init__(
        self, source: ImageSource, multi_view: MultiView, size: tuple[int, int]
    ) -> None:
        self.size = size
        self._source = source
        self._multi_view = multi_view
        self._lock = threading.Lock()
        self._is_told = False

    def reduced(self, image: np.ndarray, index: int) -> np.ndarray:
        """An image (H, W, C), made smaller if it is too large."""
        height, width = image.shape[:2]
        if height <= self.size[0] and width <= self.size[1]:
            return image
        self._tell(index, height, width)
        return resized(image, smaller(height, width, self.size))

    def drawn(
        self, before: np.ndarray, after: np.ndarray, seeds: np.ndarray
    ) -> tuple[dict[str, np.ndarray], ...]:
        """Parameters of the views of images.

        Args:
            before: Heights and widths of the images in the source, (B, 2).
            after: Those on the canvas, (B, 2).
            seeds: (B, 2) int64.
        """
        maps = np.zeros((len(before), 2, 3), np.float32)
        maps[:, 0, 0], maps[:, 1, 1] = before[:, 1], before[:, 0]
        return self._multi_view.parameters(seeds, after, maps)

    def placed(self, example: dict[str, Any]) -> dict[str, tf.Tensor]:
        """`reduced` in tf.data: in a `multi_view`'s place.

        Batches of it are to be padded to `padded_shapes`.

        Args:
            example: With `"images"` (H, W, C) and `"seeds"` (2,).
        """
        from keras_vicregl._tensorflow import tf
        from keras_vicregl.data.decoding.orientation import in_one

        image, index = example[IMAGES], example[SEEDS][1]
        before = tf.shape(image)[:2]
        height, width = before[0], before[1]

        def make_smaller() -> tf.Tensor:
            told = tf.numpy_function(
                lambda *args: np.int64(self._tell(*map(int, args))),
                [index, height, width],
                tf.int64,
            )
            with tf.control_dependencies([told]):
                new = _smaller_in_tensorflow(height, width, self.size)
            if image.dtype != tf.uint8 or image.shape[-1] != 3:
                # Python has read it, and the other engine resizes it so.
                less = tf.numpy_function(resized, [image, new], image.dtype)
                return tf.ensure_shape(less, image.shape)
            less = tf.image.resize(image, new, antialias=True)
            return tf.cast(tf.round(less), tf.uint8)

        image = tf.cond(
            (height > self.size[0]) | (width > self.size[1]),
            in_one(make_smaller),
            lambda: image,
        )
        after = tf.shape(image)[:2]
        # Masks and the like have many sizes, and views do without them.
        kept = {key: example[key] for key in (LABELS, SEEDS) if key in example}
        return {
            **kept,
            IMAGES: tf.ensure_shape(
                image, (None, None, self._multi_view.channels)
            ),
            SOURCE_SIZE: tf.cast(before, tf.float32),
            _SIZE: tf.cast(after, tf.int64),
        }

    def padded_shapes(self, spec: dict[str, Any]) -> dict[str, Any]:
        """Shapes of what `placed` gives, with the image on a canvas."""
        shapes = {key: each.shape for key, each in spec.items()}
        return {**shapes, IMAGES: (*self.size, spec[IMAGES].shape[-1])}

    def with_parameters(self, batch: dict[str, Any]) -> dict[str, Any]:
        """A batch of what `placed` gives, with what is drawn for it."""
        from keras_vicregl._tensorflow import tf

        batch = dict(batch)
        given = [batch[SOURCE_SIZE], batch.pop(_SIZE), batch.pop(SEEDS)]
        # By NumPy: an iterator would instantiate all of it anew each epoch.
        like = self.drawn(np.ones((1, 2)), np.ones((1, 2)), np.zeros((1, 2)))
        drawn = tf.numpy_function(
            lambda *arrays: tf.nest.flatten(self.drawn(*arrays)),
            given,
            [tf.float32 for _ in tf.nest.flatten(like)],
        )
        count = batch[IMAGES].shape[0]
        drawn = [
            tf.ensure_shape(values, (count, *one.shape[1:]))
            for values, one in zip(drawn, tf.nest.flatten(like), strict=True)
        ]
        return {**batch, PARAMETERS: tf.nest.pack_sequence_as(like, drawn)}

    def _tell(self, index: int, height: int, width: int) -> int:
        """Warns of the first image that is too large; returns 0."""
        with self._lock:
            new, self._is_told = not self._is_told, True
        if new:
            name = self._source._name_of(index, {})
            warnings.warn(
                f"{name} is larger than the canvas that views on the device "
                f"are made of, {height} x {width} pixels of {self.size[0]} x "
                f"{self.size[1]}: such images are made smaller to fit. Pass "
                "canvas=(height, width) of the largest to keep what is in "
                "them, at the price of memory. (Others are not told of.)",
                stacklevel=1,
            )
        return 0


def canvas_size(
    source: ImageSource, canvas: int | tuple[int, int] | None
) -> tuple[int, int]:
    """Height and width of the canvas for the images of a source.

    Args:
        source: Of images that may differ in size.
        canvas: What was asked for. None: as large as the largest of some
            images, evenly spread over the source, and of `LARGEST` at most.

    Raises:
        ValueError: If it is no size.
    """
    if canvas is not None:
        pair = (canvas, canvas) if hasattr(canvas, "__index__") else canvas
        size = check_pair("canvas", pair, "height and width in pixels")
        if not min(size):
            raise ValueError(
                f"canvas must be positive. Received: canvas={canvas!r}"
            )
        return size
    if not source._has_example:
        raise ValueError(
            f"canvas must be given: how large the images of {source!r} are is "
            "not known, and programs for views on the device have static "
            "shapes. Pass canvas=(height, width), or make views on the host."
        )
    count = min(len(source), source._looked_at)
    rows = np.linspace(0, len(source) - 1, count).astype(int)
    sizes = [source._size_of(int(row)) for row in np.unique(rows)]
    known = np.array([size for size in sizes if size is not None] or [(0, 0)])
    largest = known.max(axis=0)
    if not largest.min():
        return LARGEST, LARGEST
    height, width = np.minimum(largest, LARGEST)
    return int(height), int(width)


def smaller(
    height: int, width: int, canvas: tuple[int, int]
) -> tuple[int, int]:
    """The size in which a larger image just fits, in whole numbers.

    Example:

    >>> smaller(3000, 4000, (512, 512)), smaller(600, 10, (512, 512))
    ((384, 512), (512, 8))
    """
    if canvas[0] * width <= canvas[1] * height:
        return canvas[0], max(width * canvas[0] // height, 1)
    return max(height * canvas[1] // width, 1), canvas[1]


def _smaller_in_tensorflow(
    height: tf.Tensor, width: tf.Tensor, canvas: tuple[int, int]
) -> tf.Tensor:
    from keras_vicregl._tensorflow import tf

    height, width = tf.cast(height, tf.int64), tf.cast(width, tf.int64)
    new = tf.where(
        canvas[0] * width <= canvas[1] * height,
        tf.stack(
            [
                tf.constant(canvas[0], tf.int64),
                tf.maximum(width * canvas[0] // height, 1),
            ]
        ),
        tf.stack(
            [
                tf.maximum(height * canvas[1] // width, 1),
                tf.constant(canvas[1], tf.int64),
            ]
        ),
    )
    return tf.cast(new, tf.int32)
