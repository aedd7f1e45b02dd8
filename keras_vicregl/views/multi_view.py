"""From images to the views that VICRegL learns from, in one layer."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_vicregl.views import _color
from keras_vicregl.views._base import (
    IMAGES,
    LABELS,
    MASKS,
    SEEDS,
    SOURCE_SIZE,
    VIEW_TO_SOURCE,
    ViewLayer,
    with_geometry,
)
from keras_vicregl.views._checks import check_probability
from keras_vicregl.views.crop import RandomResizedCrop
from keras_vicregl.views.photometric import (
    ColorJitter,
    Normalize,
    PhotometricLayer,
    RandomGaussianBlur,
    RandomGrayscale,
    RandomSolarize,
)
from keras_vicregl.views.view_group import ViewGroup

VIEWS = "views"
VIEW_MASKS = "view_masks"

_SCENES_COLORS = {
    "brightness": 0.8,
    "contrast": 0.8,
    "saturation": 0.8,
    "hue": 0.5,
    "jitter": 1.0,
    "grayscale": 0.5,
}


@keras.saving.register_keras_serializable(package="keras_vicregl")
class MultiView(ViewLayer):
    """Make the views of images, each with its map to the source.

    Every view goes through, in this order: a random resized crop with a
    horizontal flip, colour jitter, grayscale, Gaussian blur, solarising and
    normalisation (appendix of the VICRegL paper). Views 0 and 1 are the large
    ones that the global criterion pairs with all others, so the group of the
    large views comes first.

    With a key `"seeds"` a view depends on its example's seed only, whatever the
    batch and however many threads make views. Two numbers an example, the run's
    or epoch's seed and the example's index, are enough.

    Args:
        groups: groups of views, `ViewGroup`s or dictionaries of their
            arguments.
        flip: probability of a horizontal flip.
        track_flips: whether the maps know of flips. The authors' release
            ignores them; `False` reproduces it.
        brightness: largest change of the brightness, see `ColorJitter`.
        contrast: largest change of the contrast.
        saturation: largest change of the saturation.
        hue: largest turn of the hue.
        jitter: probability of colour jitter.
        grayscale: probability of grey values.
        mean: three numbers, see `Normalize`.
        std: three numbers. The authors' release pretrains with 0.228 in the
            first place.
        interpolation: see `RandomResizedCrop`.
        antialias: see `RandomResizedCrop`.
        return_masks: whether to return the views of `"segmentation_masks"`.
        **kwargs: `seed`, `stream` and arguments of `keras.layers.Layer`.

    Inputs:
        Dictionary with `"images"` (B, H, W, 3) or (H, W, 3), uint8 or floating
        point in [0, 255], and optionally `"labels"`, `"segmentation_masks"`
        (B, H, W, 1), `"seeds"` (B, 2) int32 or int64, and, from earlier layers,
        `"view_to_source"` (B, 2, 3) and `"source_size"` (B, 2).

    Outputs:
        Dictionary with `"views"`, tuple of (B, h, w, 3) float32, normalised;
        `"view_to_source"`, tuple of (B, 2, 3) float32, from normalised
        coordinates of the view to pixels (x, y) of the source; `"source_size"`
        (B, 2) float32, height and width; with `return_masks`, `"view_masks"`,
        tuple of (B, h, w, 1) uint8; and every other key of the input but
        `"seeds"`. Single images give the same without B.

    Raises:
        ValueError: for arguments outside of their range, and for inputs of
            another shape, dtype or range.

    Example:

    >>> import numpy as np
    >>> from keras_vicregl.views import MultiView
    >>> make_views = MultiView.scenes(size=32, seed=0)
    >>> batch = make_views({"images": np.zeros((4, 64, 64, 3), "uint8")})
    >>> [tuple(view.shape) for view in batch["views"]]
    [(4, 32, 32, 3), (4, 32, 32, 3)]
    """

    def __init__(
        self,
        groups: Sequence[ViewGroup | Mapping[str, Any]],
        flip: float = 0.5,
        track_flips: bool = True,
        brightness: float = 0.4,
        contrast: float = 0.4,
        saturation: float = 0.2,
        hue: float = 0.1,
        jitter: float = 0.8,
        grayscale: float = 0.2,
        mean: tuple[float, float, float] = (0.485, 0.456, 0.406),
        std: tuple[float, float, float] = (0.229, 0.224, 0.225),
        interpolation: str = "bicubic",
        antialias: bool = True,
        return_masks: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.groups = _check_groups(groups)
        self.flip = check_probability("flip", flip)
        self.track_flips = bool(track_flips)
        self.brightness = brightness
        self.contrast = contrast
        self.saturation = saturation
        self.hue = hue
        self.jitter = check_probability("jitter", jitter)
        self.grayscale = check_probability("grayscale", grayscale)
        self.interpolation = interpolation
        self.antialias = bool(antialias)
        self.return_masks = bool(return_masks)
        normalize = Normalize(mean, std)
        self.mean, self.std = normalize.mean, normalize.std
        self._crops = []
        self._adjustments = []
        for group in self.groups:
            for index in range(group.count):
                view = len(self._crops)
                self._crops.append(self._crop(group, view))
                self._adjustments.append(
                    [*self._photometric(group, index, view), normalize]
                )

    @classmethod
    def resnet(cls, **kwargs: Any) -> "MultiView":
        """Views of the paper's ResNet recipe: 2 of 224 px.

        Args:
            **kwargs: arguments of `MultiView` other than `groups`.

        Example:

        >>> from keras_vicregl.views import MultiView
        >>> MultiView.resnet(track_flips=False).groups[0].scale
        (0.08, 1.0)
        """
        return cls([ViewGroup(224, 2, scale=(0.08, 1.0))], **kwargs)

    @classmethod
    def convnext(cls, **kwargs: Any) -> "MultiView":
        """Views of the paper's ConvNeXt recipe: 2 of 224 px and 6 of 96 px.

        Args:
            **kwargs: arguments of `MultiView` other than `groups`.

        Example:

        >>> from keras_vicregl.views import MultiView
        >>> [group.count for group in MultiView.convnext().groups]
        [2, 6]
        """
        groups = [
            ViewGroup(224, 2, scale=(0.4, 1.0)),
            ViewGroup(96, 6, scale=(0.08, 0.4)),
        ]
        return cls(groups, **kwargs)

    @classmethod
    def scenes(
        cls,
        size: int | tuple[int, int] = 48,
        scale: tuple[float, float] = (0.25, 1.0),
        blur: tuple[float, ...] = (0.5,),
        blur_sigma: tuple[float, float] = (0.1, 1.5),
        **kwargs: Any,
    ) -> "MultiView":
        """Two views of small images, made for scenes of 64 px.

        What two crops of a scene share most easily is the colour and the
        brightness of its background, and a small network on few scenes hardly
        learns anything else unless they are disturbed strongly: all views are
        jittered, two to five times as far as in the paper, and half of them
        are grey. Boxes are larger and blur is weaker than for images of 224
        px, since objects of a few pixels survive neither.

        Args:
            size: rows and columns of a view.
            scale: pair, smallest and largest fraction of the image's area.
            blur: probabilities of a blur, see `ViewGroup`.
            blur_sigma: pair, standard deviations of the blur in pixels.
            **kwargs: arguments of `MultiView` other than `groups`.

        Example:

        >>> from keras_vicregl.views import MultiView
        >>> MultiView.scenes(grayscale=0.2).groups[0].size
        (48, 48)
        """
        group = ViewGroup(
            size, 2, scale=scale, blur=blur, blur_sigma=blur_sigma
        )
        return cls([group], **{**_SCENES_COLORS, **kwargs})

    @staticmethod
    def to_fit(batch: Mapping[str, Any]) -> tuple[Any, ...]:
        """Arrange a dictionary of views as `Model.fit` takes it.

        Args:
            batch: what the layer returns.

        Returns:
            Tuple of the dictionary of `"views"`, `"view_to_source"` and
            `"source_size"`, and of `"labels"` where there are any.

        Raises:
            ValueError: if one of the three keys is missing.

        Example:

        >>> import numpy as np
        >>> from keras_vicregl.views import MultiView
        >>> images = {"images": np.zeros((4, 64, 64, 3), "uint8")}
        >>> (x,) = MultiView.to_fit(MultiView.scenes()(images))
        >>> sorted(x)
        ['source_size', 'view_to_source', 'views']
        """
        wanted = (VIEWS, VIEW_TO_SOURCE, SOURCE_SIZE)
        missing = [key for key in wanted if key not in batch]
        if missing:
            raise ValueError(
                f"to_fit takes what MultiView returns. Got the keys "
                f"{sorted(batch)}, without {missing}."
            )
        x = {key: batch[key] for key in wanted}
        return (x, batch[LABELS]) if LABELS in batch else (x,)

    def augment(
        self, inputs: dict[str, tf.Tensor], keys: tf.Tensor
    ) -> dict[str, Any]:
        """Make all views (see `ViewLayer.augment`)."""
        if self.return_masks and MASKS not in inputs:
            raise ValueError(
                f"return_masks=True needs the key {MASKS!r}. Got the keys "
                f"{sorted(inputs)}."
            )
        if VIEW_TO_SOURCE in inputs and SOURCE_SIZE not in inputs:
            raise ValueError(
                f"{VIEW_TO_SOURCE!r} came without {SOURCE_SIZE!r}, the height "
                "and width of the images it leads to: give both or neither."
            )
        inputs = with_geometry(inputs)
        outputs = {
            key: value
            for key, value in inputs.items()
            if key not in (IMAGES, MASKS, SEEDS)
        }
        if not self.return_masks:
            inputs = {k: v for k, v in inputs.items() if k != MASKS}
        crops = [
            crop.augment(inputs, crop.keys_of_layer(keys))
            for crop in self._crops
        ]
        outputs[VIEWS] = tuple(
            _adjusted(crop[IMAGES], layers, keys)
            for crop, layers in zip(crops, self._adjustments, strict=True)
        )
        outputs[VIEW_TO_SOURCE] = tuple(crop[VIEW_TO_SOURCE] for crop in crops)
        if self.return_masks:
            outputs[VIEW_MASKS] = tuple(
                tf.cast(crop[MASKS], tf.uint8) for crop in crops
            )
        return outputs

    def get_config(self) -> dict[str, Any]:
        """Arguments that make this layer again."""
        return {
            **super().get_config(),
            "groups": [dataclasses.asdict(group) for group in self.groups],
            "flip": self.flip,
            "track_flips": self.track_flips,
            "brightness": self.brightness,
            "contrast": self.contrast,
            "saturation": self.saturation,
            "hue": self.hue,
            "jitter": self.jitter,
            "grayscale": self.grayscale,
            "mean": self.mean,
            "std": self.std,
            "interpolation": self.interpolation,
            "antialias": self.antialias,
            "return_masks": self.return_masks,
        }

    def _crop(self, group: ViewGroup, view: int) -> RandomResizedCrop:
        height, width = group.size
        return RandomResizedCrop(
            height,
            width,
            scale=group.scale,
            aspect_ratio=group.aspect_ratio,
            interpolation=self.interpolation,
            antialias=self.antialias,
            flip=self.flip,
            track_flips=self.track_flips,
            stream=view,
        )

    def _photometric(
        self, group: ViewGroup, index: int, view: int
    ) -> list[PhotometricLayer]:
        return [
            ColorJitter(
                self.brightness,
                self.contrast,
                self.saturation,
                self.hue,
                probability=self.jitter,
                stream=view,
            ),
            RandomGrayscale(self.grayscale, stream=view),
            RandomGaussianBlur(
                group.blur_sigma,
                probability=group.blur[index % len(group.blur)],
                stream=view,
            ),
            RandomSolarize(
                probability=group.solarize[index % len(group.solarize)],
                stream=view,
            ),
        ]

    def _format_output(
        self, output: dict[str, Any], metadata: dict[str, Any]
    ) -> dict[str, Any]:
        # keras-cv's own can neither unbatch a tuple nor return a dictionary for
        # a tensor.
        if not metadata["batched"]:
            output = tf.nest.map_structure(
                lambda value: tf.squeeze(value, axis=0), output
            )
        if metadata["use_targets"]:
            output["targets"] = output.pop(LABELS)
        return output


def _adjusted(
    images: tf.Tensor, layers: list[PhotometricLayer], keys: tf.Tensor
) -> tf.Tensor:
    pixels = _color.to_planar(images)
    for layer in layers:
        pixels = layer.adjust(pixels, layer.keys_of_layer(keys))
    return _color.to_channels_last(pixels)


def _check_groups(groups: Any) -> tuple[ViewGroup, ...]:
    if (
        not isinstance(groups, Sequence)
        or not groups
        or not all(isinstance(group, (ViewGroup, Mapping)) for group in groups)
    ):
        raise ValueError(
            "groups must be a list of one or more ViewGroup or dictionaries of "
            f"their arguments. Got {groups!r}."
        )
    return tuple(
        group if isinstance(group, ViewGroup) else ViewGroup(**group)
        for group in groups
    )
