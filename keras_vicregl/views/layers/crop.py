"""Geometric layers: crops and flips that keep the map to the source."""

from typing import Any

import keras

from keras_vicregl._tensorflow import tf
from keras_vicregl.views._checks import (
    check_choice,
    check_count,
    check_interval,
    check_probability,
)
from keras_vicregl.views.drawing import stateless
from keras_vicregl.views.drawing.boxes import DRAWS_PER_BOX, sample_boxes
from keras_vicregl.views.drawing.parameters import (
    compose_along_axes,
    compose_boxes,
)
from keras_vicregl.views.keys import IMAGES, MASKS, VIEW_TO_SOURCE
from keras_vicregl.views.layers.base import ViewLayer, with_geometry
from keras_vicregl.views.pixels.resize import KERNELS, resize, resize_nearest
from keras_vicregl.views.pixels.tensors import apply_to, as_float
from keras_vicregl.views.pixels.tracing import traced


@keras.saving.register_keras_serializable(package="keras_vicregl")
class RandomResizedCrop(ViewLayer):
    """Cut a random box out of an image and resize it, keeping the geometry.

    The box is drawn as torchvision draws it: the area uniformly from `scale`,
    the aspect ratio of pixels log-uniformly from `aspect_ratio`, ten tries,
    then the largest centred box with a legal aspect ratio; its sides and its
    offsets are whole pixels. Resizing is PIL's: half-pixel centres and, where
    `antialias`, a kernel as wide as the reduction asks for. Pixels outside of
    the box have no influence.

    Under `"view_to_source"` the layer puts its own box on top of the map it
    finds, or starts from the whole image where there is none. Segmentation
    masks follow the image by their nearest pixels.

    Args:
        height: rows of the result.
        width: columns of the result.
        scale: pair, smallest and largest fraction of the image's area.
        aspect_ratio: pair, smallest and largest width / height of the box.
        interpolation: `"nearest"`, `"bilinear"` or `"bicubic"`.
        antialias: whether the kernel widens when a box is made smaller.
        flip: probability of mirroring the result left to right, in the same
            resampling.
        track_flips: whether the map knows of these flips. The authors' release
            ignores them; `False` reproduces it.
        **kwargs: `seed`, `stream`, `channels` and arguments of
            `keras.layers.Layer`.

    Inputs:
        Image, (H, W, C) or (B, H, W, C), uint8 or floating point in [0, 255];
        or a dictionary with it under `"images"` and optionally
        `"segmentation_masks"` (B, H, W, 1), `"view_to_source"` (B, 2, 3),
        `"source_size"` (B, 2) and `"seeds"` (B, 2).

    Outputs:
        The same structure with (B, height, width, C) float32 images in
        [0, 255]; a dictionary also has `"view_to_source"` and `"source_size"`.

    Raises:
        ValueError: for arguments outside of their range, and for images of
            another shape, dtype or range.

    Example:

    >>> import numpy as np
    >>> from keras_vicregl.views import RandomResizedCrop
    >>> crop = RandomResizedCrop(32, 24, scale=(0.2, 1.0), seed=0)
    >>> views = crop({"images": np.zeros((2, 60, 96, 3), "uint8")})
    >>> tuple(views["images"].shape), tuple(views["view_to_source"].shape)
    ((2, 32, 24, 3), (2, 2, 3))
    """

    def __init__(
        self,
        height: int,
        width: int,
        scale: tuple[float, float] = (0.08, 1.0),
        aspect_ratio: tuple[float, float] = (3 / 4, 4 / 3),
        interpolation: str = "bicubic",
        antialias: bool = True,
        flip: float = 0.0,
        track_flips: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.height = check_count("height", height)
        self.width = check_count("width", width)
        self.scale = check_interval("scale", scale, high=1.0)
        self.aspect_ratio = check_interval("aspect_ratio", aspect_ratio)
        self.interpolation = check_choice(
            "interpolation", interpolation, ("nearest", *KERNELS)
        )
        self.antialias = bool(antialias)
        self.flip = check_probability("flip", flip)
        self.track_flips = bool(track_flips)

    def augment(
        self, inputs: dict[str, tf.Tensor], keys: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """Crop, resize and compose (see `ViewLayer.augment`)."""
        inputs = with_geometry(inputs)
        images = inputs[IMAGES]
        size = tf.shape(images)[1:3]
        draws = stateless.uniform(keys, DRAWS_PER_BOX + 1)
        boxes = _sample_boxes(
            draws[:, :DRAWS_PER_BOX], size, self.scale, self.aspect_ratio
        )
        flips = draws[:, DRAWS_PER_BOX] < self.flip
        outputs = {
            **inputs,
            IMAGES: resize(
                images,
                boxes,
                flips,
                self.height,
                self.width,
                self.interpolation,
                self.antialias,
            ),
            VIEW_TO_SOURCE: _compose_boxes(
                inputs[VIEW_TO_SOURCE],
                boxes,
                size,
                flips if self.track_flips else tf.zeros_like(flips),
            ),
        }
        if MASKS in inputs:
            outputs[MASKS] = resize_nearest(
                inputs[MASKS], boxes, flips, self.height, self.width
            )
        return outputs

    def get_config(self) -> dict[str, Any]:
        """Arguments that make this layer again."""
        return {
            **super().get_config(),
            "height": self.height,
            "width": self.width,
            "scale": self.scale,
            "aspect_ratio": self.aspect_ratio,
            "interpolation": self.interpolation,
            "antialias": self.antialias,
            "flip": self.flip,
            "track_flips": self.track_flips,
        }


@keras.saving.register_keras_serializable(package="keras_vicregl")
class RandomHorizontalFlip(ViewLayer):
    """Mirror an image left to right, and say so in its map to the source.

    Args:
        probability: probability of a flip.
        track: whether `"view_to_source"` knows of the flip. The authors'
            release ignores flips when it matches positions; `False` reproduces
            it.
        **kwargs: `seed`, `stream`, `channels` and arguments of
            `keras.layers.Layer`.

    Inputs and outputs are those of `RandomResizedCrop`, the size of the images
    unchanged.

    Raises:
        ValueError: if `probability` is outside of [0, 1], and for images of
            another shape, dtype or range.

    Example:

    >>> import numpy as np
    >>> from keras import ops
    >>> from keras_vicregl.views import RandomHorizontalFlip, positions
    >>> flip = RandomHorizontalFlip(probability=1.0)
    >>> views = flip({"images": np.zeros((1, 60, 80, 3), "uint8")})
    >>> x_and_y = positions(views["view_to_source"], height=1, width=2)
    >>> ops.convert_to_numpy(x_and_y)[0].tolist()
    [[60.0, 30.0], [20.0, 30.0]]
    """

    def __init__(
        self, probability: float = 0.5, track: bool = True, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.probability = check_probability("probability", probability)
        self.track = bool(track)

    def augment(
        self, inputs: dict[str, tf.Tensor], keys: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """Flip and compose (see `ViewLayer.augment`)."""
        outputs = with_geometry(inputs)
        flips = stateless.uniform(keys, 1)[:, 0] < self.probability
        outputs = {
            **outputs,
            IMAGES: apply_to(_mirror, flips, as_float(inputs[IMAGES])),
        }
        if MASKS in inputs:
            outputs[MASKS] = apply_to(_mirror, flips, inputs[MASKS])
        if self.track:
            flips = tf.cast(flips, tf.float64)
            zero = tf.zeros_like(flips)
            outputs[VIEW_TO_SOURCE] = compose_along_axes(
                outputs[VIEW_TO_SOURCE],
                tf.stack([1.0 - 2.0 * flips, zero + 1.0], axis=-1),
                tf.stack([flips, zero], axis=-1),
            )
        return outputs

    def get_config(self) -> dict[str, Any]:
        """Arguments that make this layer again."""
        return {
            **super().get_config(),
            "probability": self.probability,
            "track": self.track,
        }


@traced
def _sample_boxes(
    draws: tf.Tensor,
    size: tf.Tensor,
    scale: tuple[float, float],
    aspect_ratio: tuple[float, float],
) -> tf.Tensor:
    boxes = sample_boxes(draws, size, scale, aspect_ratio)
    return tf.cast(boxes, tf.int32)


_compose_boxes = traced(compose_boxes)


def _mirror(values: tf.Tensor) -> tf.Tensor:
    return tf.reverse(values, axis=[2])
