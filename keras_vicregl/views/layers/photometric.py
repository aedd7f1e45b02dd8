"""Photometric layers: colours and sharpness change, the geometry does not."""

import math
from typing import Any

import keras

from keras_vicregl._tensorflow import tf
from keras_vicregl.views._checks import (
    check_channels,
    check_interval,
    check_number,
    check_probability,
    refuse_colors,
)
from keras_vicregl.views.drawing import stateless
from keras_vicregl.views.drawing.parameters import jitter_factors, jitter_shift
from keras_vicregl.views.keys import IMAGES
from keras_vicregl.views.layers.base import ViewLayer
from keras_vicregl.views.normalization import IMAGENET_MEAN, IMAGENET_STD
from keras_vicregl.views.pixels import color
from keras_vicregl.views.pixels.tensors import apply_to, as_float


class PhotometricLayer(ViewLayer):
    """Base of the layers that change the pixels of a view and nothing else.

    A subclass implements `adjust(pixels, keys)`. Inputs are images, (H, W, C)
    or (B, H, W, C), uint8 or floating point in [0, 255], or a dictionary with
    them under `"images"`; outputs have the same structure with float32 images.
    All other keys of a dictionary are kept.
    """

    def adjust(self, pixels: tf.Tensor, keys: tf.Tensor) -> tf.Tensor:
        """Change pixels.

        Args:
            pixels: (B, C, H, W) float32 in [0, 255].
            keys: (B,) uint64, the examples' keys for this layer's draws.

        Returns:
            (B, C, H, W) float32.
        """
        raise NotImplementedError

    def augment(
        self, inputs: dict[str, tf.Tensor], keys: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """Adjust the images (see `ViewLayer.augment`)."""
        pixels = color.to_planar(as_float(inputs[IMAGES]))
        images = color.to_channels_last(self.adjust(pixels, keys))
        return {**inputs, IMAGES: images}


class RandomlyApplied(PhotometricLayer):
    """Base of the photometric layers that change only some images.

    A subclass implements `change(pixels, draws)` for the images drawn, with
    `draws_per_image` numbers an image to do it by.

    Args:
        probability: probability that an image is changed.
        **kwargs: `seed`, `stream`, `channels` and arguments of
            `keras.layers.Layer`.
    """

    draws_per_image = 0

    def __init__(self, probability: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.probability = check_probability("probability", probability)

    def change(self, pixels: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
        """Change the images drawn.

        Args:
            pixels: (N, C, H, W) float32 in [0, 255].
            draws: (N, draws_per_image), uniform in [0, 1).

        Returns:
            (N, C, H, W) float32 in [0, 255].
        """
        raise NotImplementedError

    def adjust(self, pixels: tf.Tensor, keys: tf.Tensor) -> tf.Tensor:
        """Change the images drawn (see `PhotometricLayer.adjust`)."""
        if self.probability == 0.0:
            return pixels
        draws = stateless.uniform(keys, 1 + self.draws_per_image)
        if self.probability == 1.0:
            return self.change(pixels, draws[:, 1:])
        chosen = draws[:, 0] < self.probability
        return apply_to(self.change, chosen, pixels, draws[:, 1:])

    def get_config(self) -> dict[str, Any]:
        """Arguments that make this layer again."""
        return {**super().get_config(), "probability": self.probability}


@keras.saving.register_keras_serializable(package="keras_vicregl")
class ColorJitter(RandomlyApplied):
    """Change brightness, contrast, saturation and hue, in random order.

    As torchvision's ColorJitter: the first three blend the image with black,
    with the mean of its grey values and with its grey values, by factors
    uniform in [max(0, 1 - x), 1 + x]; the hue turns by a uniform share of a
    turn in [-hue, hue]. Results are clipped to [0, 255] after each. Every image
    has its own factors and its own order.

    Args:
        brightness: x of the brightness.
        contrast: x of the contrast.
        saturation: x of the saturation.
        hue: largest turn of the hue, at most 0.5.
        probability: probability that an image is changed.
        **kwargs: `seed`, `stream`, `channels` and arguments of
            `keras.layers.Layer`.

    Raises:
        ValueError: for arguments outside of their range, and for images of
            another shape, dtype or range.

    Example:

    >>> import numpy as np
    >>> from keras_vicregl.views import ColorJitter
    >>> jitter = ColorJitter(brightness=0.4, seed=0)
    >>> tuple(jitter(np.full((2, 32, 32, 3), 90, "uint8")).shape)
    (2, 32, 32, 3)
    """

    # Three factors, a hue, and four numbers whose order is the order.
    draws_per_image = 8

    def __init__(
        self,
        brightness: float = 0.4,
        contrast: float = 0.4,
        saturation: float = 0.2,
        hue: float = 0.1,
        probability: float = 0.8,
        **kwargs: Any,
    ) -> None:
        super().__init__(probability, **kwargs)
        self.brightness = check_number("brightness", brightness, 0.0)
        self.contrast = check_number("contrast", contrast, 0.0)
        self.saturation = check_number("saturation", saturation, 0.0)
        self.hue = check_number("hue", hue, 0.0, 0.5)
        refuse_colors(self.channels, saturation=self.saturation, hue=self.hue)

    def change(self, pixels: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
        """Jitter (see `RandomlyApplied.change`)."""
        factors = jitter_factors(
            draws[:, :3], (self.brightness, self.contrast, self.saturation)
        )
        shift = jitter_shift(draws[:, 3], self.hue) if self.hue else None
        return color.jitter(pixels, factors, shift, draws[:, 4:])

    def get_config(self) -> dict[str, Any]:
        """Arguments that make this layer again."""
        return {
            **super().get_config(),
            "brightness": self.brightness,
            "contrast": self.contrast,
            "saturation": self.saturation,
            "hue": self.hue,
        }


@keras.saving.register_keras_serializable(package="keras_vicregl")
class RandomGrayscale(RandomlyApplied):
    """Turn images grey, by the luminance weights of ITU-R 601.

    Args:
        probability: probability that an image is changed.
        **kwargs: `seed`, `stream`, `channels` and arguments of
            `keras.layers.Layer`.

    Raises:
        ValueError: if `probability` is outside of [0, 1], and for images of
            another shape, dtype or range.

    Example:

    >>> import numpy as np
    >>> from keras_vicregl.views import RandomGrayscale
    >>> red = np.array([[[100, 0, 0]]], "uint8")
    >>> gray = RandomGrayscale(probability=1.0)(red)
    >>> [round(float(value), 3) for value in gray[0, 0]]
    [29.9, 29.9, 29.9]
    """

    def __init__(self, probability: float = 0.2, **kwargs: Any) -> None:
        super().__init__(probability, **kwargs)
        refuse_colors(self.channels, probability=self.probability)

    def change(self, pixels: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
        """Take the grey values (see `RandomlyApplied.change`)."""
        return color.grayscale(pixels)


@keras.saving.register_keras_serializable(package="keras_vicregl")
class RandomGaussianBlur(RandomlyApplied):
    """Blur images with Gaussians, each of its own width.

    The kernel reaches four of the largest standard deviations to either side,
    and images go on beyond their edges with the value at the edge.

    Args:
        sigma: pair, smallest and largest standard deviation in pixels; it is
            drawn uniformly between.
        probability: probability that an image is changed.
        **kwargs: `seed`, `stream`, `channels` and arguments of
            `keras.layers.Layer`.

    Raises:
        ValueError: for arguments outside of their range, and for images of
            another shape, dtype or range.

    Example:

    >>> import numpy as np
    >>> from keras_vicregl.views import RandomGaussianBlur
    >>> blur = RandomGaussianBlur(sigma=(1.0, 1.0), probability=1.0)
    >>> dot = np.zeros((9, 9, 3), "uint8")
    >>> dot[4, 4] = 255
    >>> round(float(blur(dot)[4, 4, 0]), 1)  # 255 / (2 pi)
    40.6
    """

    draws_per_image = 1

    def __init__(
        self,
        sigma: tuple[float, float] = (0.1, 2.0),
        probability: float = 0.5,
        **kwargs: Any,
    ) -> None:
        super().__init__(probability, **kwargs)
        self.sigma = check_interval("sigma", sigma)

    def change(self, pixels: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
        """Blur (see `RandomlyApplied.change`)."""
        low, high = self.sigma
        sigma = low + (high - low) * draws[:, 0]
        return color.gaussian_blur(pixels, sigma, math.ceil(4.0 * high))

    def get_config(self) -> dict[str, Any]:
        """Arguments that make this layer again."""
        return {**super().get_config(), "sigma": self.sigma}


@keras.saving.register_keras_serializable(package="keras_vicregl")
class RandomSolarize(RandomlyApplied):
    """Invert the pixel values from a threshold on: x becomes 255 - x.

    Args:
        threshold: smallest value that is inverted.
        probability: probability that an image is changed.
        **kwargs: `seed`, `stream`, `channels` and arguments of
            `keras.layers.Layer`.

    Raises:
        ValueError: for arguments outside of their range, and for images of
            another shape, dtype or range.

    Example:

    >>> import numpy as np
    >>> from keras_vicregl.views import RandomSolarize
    >>> pixel = np.array([[[127, 128, 255]]], "uint8")
    >>> inverted = RandomSolarize(probability=1.0)(pixel)
    >>> [float(value) for value in inverted[0, 0]]
    [127.0, 127.0, 0.0]
    """

    def __init__(
        self,
        threshold: float = 128.0,
        probability: float = 0.2,
        **kwargs: Any,
    ) -> None:
        super().__init__(probability, **kwargs)
        self.threshold = check_number("threshold", threshold, 0.0, 256.0)

    def change(self, pixels: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
        """Solarise (see `RandomlyApplied.change`)."""
        return color.solarize(pixels, self.threshold)

    def get_config(self) -> dict[str, Any]:
        """Arguments that make this layer again."""
        return {**super().get_config(), "threshold": self.threshold}


@keras.saving.register_keras_serializable(package="keras_vicregl")
class Normalize(PhotometricLayer):
    """Scale images from [0, 255] to (x / 255 - mean) / std, a channel each.

    It has to be the last layer: the others expect values in [0, 255].

    Args:
        mean: a number a channel, their means on a scale of [0, 1]. The default
            is that of ImageNet.
        std: a positive number a channel, their standard deviations.
        **kwargs: `channels` and arguments of `keras.layers.Layer`.

    Raises:
        ValueError: for arguments outside of their range, and for images of
            another shape, dtype or range.

    Example:

    >>> import numpy as np
    >>> from keras_vicregl.views import Normalize
    >>> half = Normalize(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    >>> pixel = half(np.array([[[0, 51, 255]]], "uint8"))[0, 0]
    >>> [round(float(value), 3) for value in pixel]
    [-1.0, -0.6, 1.0]
    """

    def __init__(
        self,
        mean: tuple[float, ...] = IMAGENET_MEAN,
        std: tuple[float, ...] = IMAGENET_STD,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.mean = check_channels("mean", mean, self.channels)
        self.std = check_channels("std", std, self.channels, positive=True)

    def adjust(self, pixels: tf.Tensor, keys: tf.Tensor) -> tf.Tensor:
        """Normalise (see `PhotometricLayer.adjust`)."""
        mean = tf.constant(self.mean)[:, None, None]
        std = tf.constant(self.std)[:, None, None]
        return (pixels - 255.0 * mean) / (255.0 * std)

    def get_config(self) -> dict[str, Any]:
        """Arguments that make this layer again."""
        return {**super().get_config(), "mean": self.mean, "std": self.std}
