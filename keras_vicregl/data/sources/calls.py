"""Sources whose examples Python reads, in tf.data."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_vicregl.data._checks import check_example
from keras_vicregl.data.boxes import BOX_CLASSES, BOXES
from keras_vicregl.views.keys import IMAGES, LABELS, MASKS

if TYPE_CHECKING:
    import tensorflow as tf

    from keras_vicregl.data.sources.image_source import ImageSource


def called(source: ImageSource) -> Callable[[Any, Any], dict[str, tf.Tensor]]:
    """`_reader` of a source that has `example`, which Python is called for."""
    from keras_vicregl._tensorflow import tf

    form = source._form()
    image = (None, None, form.channels)
    specs = {IMAGES: tf.TensorSpec(image, tf.as_dtype(form.dtype))}
    if source.num_classes is not None:
        specs[LABELS] = tf.TensorSpec((), tf.int32)
    if source.has_masks:
        specs[MASKS] = tf.TensorSpec((None, None, 1), tf.uint8)
    if source.has_boxes:
        specs[BOXES] = tf.TensorSpec((None, 4), tf.float32)
        specs[BOX_CLASSES] = tf.TensorSpec((None,), tf.int32)

    def call(index: np.int64) -> list[np.ndarray]:
        example = source._in_time(int(index))
        check_example(example, form, list(specs))
        return [
            np.asarray(example[key], spec.dtype.as_numpy_dtype)
            for key, spec in specs.items()
        ]

    def read(index: tf.Tensor, element: Any) -> dict[str, tf.Tensor]:
        values = tf.numpy_function(
            call, [index], [spec.dtype for spec in specs.values()]
        )
        return {
            key: tf.ensure_shape(value, spec.shape)
            for (key, spec), value in zip(specs.items(), values, strict=True)
        }

    return read
