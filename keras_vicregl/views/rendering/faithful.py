"""The pixels of views, one operation after another.

What `fused` is compared with: crop and flip, jitter, grayscale, blur,
solarising and normalising as the single layers of this package do them, with
the roundings and clippings of their own. Slower by several times.
"""

from typing import TYPE_CHECKING, Any, cast

from keras_vicregl._tensorflow import tf
from keras_vicregl.views.keys import IMAGES
from keras_vicregl.views.layers.crop import RandomResizedCrop
from keras_vicregl.views.layers.photometric import (
    ColorJitter,
    Normalize,
    PhotometricLayer,
    RandomGaussianBlur,
    RandomGrayscale,
    RandomSolarize,
)
from keras_vicregl.views.pixels import color
from keras_vicregl.views.pixels.tensors import as_pixels

if TYPE_CHECKING:
    from keras_vicregl.views.multi_view import MultiView
    from keras_vicregl.views.view_group import ViewGroup


class FaithfulChain:
    """The chain of single layers of every view of a recipe.

    Args:
        recipe: what the views are.
    """

    def __init__(self, recipe: "MultiView") -> None:
        self._value_range = recipe.value_range
        self._chains: list[Any] = []
        for group in recipe.groups:
            for index in range(group.count):
                view = len(self._chains)
                self._chains.append(
                    (
                        _crop(recipe, group, view),
                        _photometric(recipe, group, index, view),
                    )
                )

    def views_of(
        self, images: tf.Tensor, keys: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        """Views (B, h, w, C) of images (B, H, W, C), by the examples' keys."""
        if self._value_range is not None:
            images = as_pixels(images, self._value_range)
        return tuple(
            _adjusted(
                crop.augment({IMAGES: images}, crop.keys_of_layer(keys))[
                    IMAGES
                ],
                layers,
                keys,
            )
            for crop, layers in self._chains
        )


def _crop(
    recipe: "MultiView", group: "ViewGroup", view: int
) -> RandomResizedCrop:
    height, width = cast("tuple[int, int]", group.size)
    return RandomResizedCrop(
        height,
        width,
        scale=group.scale,
        aspect_ratio=group.aspect_ratio,
        interpolation=recipe.interpolation,
        antialias=recipe.antialias,
        flip=recipe.flip,
        stream=view,
        channels=recipe.channels,
    )


def _photometric(
    recipe: "MultiView", group: "ViewGroup", index: int, view: int
) -> list[PhotometricLayer]:
    how = {"stream": view, "channels": recipe.channels}
    return [
        ColorJitter(
            recipe.brightness,
            recipe.contrast,
            recipe.saturation,
            recipe.hue,
            probability=recipe.jitter,
            **how,
        ),
        RandomGrayscale(recipe.grayscale, **how),
        RandomGaussianBlur(
            group.blur_sigma,
            probability=group.blur[index % len(group.blur)],
            **how,
        ),
        RandomSolarize(
            probability=group.solarize[index % len(group.solarize)],
            **how,
        ),
        Normalize(recipe.mean, recipe.std, channels=recipe.channels),
    ]


def _adjusted(
    images: tf.Tensor, layers: list[PhotometricLayer], keys: tf.Tensor
) -> tf.Tensor:
    pixels = color.to_planar(images)
    for layer in layers:
        pixels = layer.adjust(pixels, layer.keys_of_layer(keys))
    return color.to_channels_last(pixels)
