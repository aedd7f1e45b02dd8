"""From images to the views that VICRegL learns from, in one layer."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import keras
import numpy as np

from keras_vicregl.views._checks import (
    check_channels,
    check_choice,
    check_count,
    check_integer,
    check_number,
    check_probability,
    refuse_colors,
)
from keras_vicregl.views.device_inputs import device_inputs
from keras_vicregl.views.drawing import stateless
from keras_vicregl.views.drawing.parameters import SharedOptions, draw_groups
from keras_vicregl.views.keys import IMAGES
from keras_vicregl.views.normalization import (
    Normalization,
    default_mean,
    default_std,
)
from keras_vicregl.views.rendering.device import device_views
from keras_vicregl.views.values import (
    ChannelStatistics,
    ValueRange,
    check_finite,
    check_value_range,
    unmasked,
)
from keras_vicregl.views.view_group import ViewGroup

if TYPE_CHECKING:
    from keras_vicregl.views.rendering.fused import Rendering
    from keras_vicregl.views.rendering.host import HostViews

SCENES_COLORS = {
    "brightness": 0.8,
    "contrast": 0.8,
    "saturation": 0.8,
    "hue": 0.5,
    "jitter": 1.0,
    "grayscale": 0.5,
}


# What suits images of any channels: nothing is known of colours, and values
# turned around (solarised) are of things that there are not.
CHANNELS_CHANGES = {
    "brightness": 0.4,
    "contrast": 0.4,
    "saturation": 0.0,
    "hue": 0.0,
    "gamma": 0.3,
    "noise": 0.05,
    "jitter": 0.8,
    "grayscale": 0.0,
}


_OF_OTHER_IMAGES = {
    "channels": 3,
    "value_range": None,
    "gamma": 0.0,
    "noise": 0.0,
    "per_channel": False,
}


@keras.saving.register_keras_serializable(package="keras_vicregl")
class MultiView(keras.layers.Layer):
    """Make the views of images, each with its map to the source.

    Every view goes through, in this order: a random resized crop with a
    horizontal flip, colour jitter, grayscale, Gaussian blur, solarising and
    normalisation (appendix of the VICRegL paper). Views 0 and 1 are the large
    ones that the global criterion pairs with all others, so the group of the
    large views comes first.

    Images may have any number of channels C, and with `value_range` values of
    any kind: 12 or 16 bits, reflectances, counts. Of other channels than RGB
    there are brightness, contrast, gamma and noise, but no colours: saturation,
    hue and grayscale must be 0. `for_channels` has a recipe.

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
        contrast: largest change of the contrast: a blend with the mean of the
            grey values of RGB, of other channels with the mean of each.
        saturation: largest change of the saturation, of RGB.
        hue: largest turn of the hue, of RGB.
        jitter: probability of colour jitter, and of gamma and noise.
        grayscale: probability of grey values, of RGB.
        mean: C numbers, the channels' means on a scale of [0, 1], see
            `Normalize`. By default ImageNet's, and where C is not 3, 0.5.
        std: C numbers, their standard deviations. By default ImageNet's, and
            where C is not 3, 0.25. The authors' release pretrains with 0.228 in
            the first place. The backbone that is trained on the views of
            `view_batches` remembers mean, deviation and range, for evaluation
            and export.
        channels: number of channels C.
        value_range: pair `(low, high)`, the values of images that become 0 and
            1, or C such pairs, one a channel; values beyond become 0 and 1 too.
            What `keras_vicregl.data.channel_statistics` finds has such pairs.
            By default images have values of 0 to 255.
        gamma: x becomes x^g on a scale of [0, 1], g = exp(u), u uniform in
            [-gamma, gamma].
        noise: largest standard deviation of Gaussian noise, which every pixel
            and channel gets, on a scale of [0, 1]; it is drawn uniformly.
        per_channel: whether brightness, contrast and gamma are drawn for each
            channel by itself, instead of once for all.
        interpolation: see `RandomResizedCrop`.
        antialias: see `RandomResizedCrop`.
        return_masks: whether to return the views of `"segmentation_masks"`.
        faithful: whether to apply one operation after another, with the
            clippings and the hue in HSV space of torchvision and PIL, several
            times slower. By default they are fused, see below.
        on: `"host"`, in tf.data, or `"device"`: the layer then only draws what
            is to be done, and `VICRegL(views=...)` makes the views in its
            compiled step. `inputs` makes its batches of one's own images.
        jit_compile: whether XLA compiles the fused operations. It does so for
            each size of images that is known in advance; images of other sizes
            are resampled without it.
        seed: integer, for batches without `"seeds"`. None takes one that
            `keras.utils.set_random_seed` controls.
        stream: integer, tells two recipes with the same `"seeds"` apart.
        **kwargs: `name` and `dtype` of `keras.layers.Layer`; views have the
            compute dtype, by default float32.

    Inputs:
        Dictionary with `"images"` (B, H, W, C) or (H, W, C), uint8 or floating
        point in [0, 255], with `value_range` uint8, uint16 or floating point of
        any finite values, and optionally `"labels"`, `"segmentation_masks"`
        (B, H, W, 1), `"seeds"` (B, 2) int32 or int64, and, from earlier layers,
        `"view_to_source"` (B, 2, 3) and `"source_size"` (B, 2).

    Outputs:
        Dictionary with `"views"`, tuple of (B, h, w, C), normalised;
        `"view_to_source"`, tuple of (B, 2, 3) float32, from normalised
        coordinates of the view to pixels (x, y) of the source; `"source_size"`
        (B, 2) float32, height and width; with `return_masks`, `"view_masks"`,
        tuple of (B, h, w, 1) uint8; and every other key of the input but
        `"seeds"`. Single images give the same without B. With `on="device"`:
        `"images"` as they came, `"parameters"`, see there, and `"source_size"`.

    Fused operations are those of the single layers but for this: brightness,
    contrast, saturation, hue and grayscale are one matrix an image, with the
    hue turned around the axis of greys instead of in HSV space, which is the
    same for a third of a turn; values are clipped to [0, 255] once, in the end,
    instead of after each operation; blurs end at three standard deviations. On
    a photograph, views differ by 2.1 of 255 in the mean, nearly all of it the
    hue's: 0.2 without it.

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
        mean: tuple[float, ...] | None = None,
        std: tuple[float, ...] | None = None,
        interpolation: str = "bicubic",
        antialias: bool = True,
        return_masks: bool = False,
        faithful: bool = False,
        on: str = "host",
        jit_compile: bool = True,
        seed: int | None = None,
        stream: int = 0,
        channels: int = 3,
        value_range: ValueRange | None = None,
        gamma: float = 0.0,
        noise: float = 0.0,
        per_channel: bool = False,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        self.groups = _check_groups(groups)
        self.channels = check_count("channels", channels)
        self.value_range = check_value_range(value_range, self.channels)
        self.flip = check_probability("flip", flip)
        self.track_flips = bool(track_flips)
        self.brightness = check_number("brightness", brightness, 0.0)
        self.contrast = check_number("contrast", contrast, 0.0)
        self.saturation = check_number("saturation", saturation, 0.0)
        self.hue = check_number("hue", hue, 0.0, 0.5)
        self.jitter = check_probability("jitter", jitter)
        self.grayscale = check_probability("grayscale", grayscale)
        self.gamma = check_number("gamma", gamma, 0.0, 3.0)
        self.noise = check_number("noise", noise, 0.0, 1.0)
        self.per_channel = bool(per_channel)
        self._check_changes(faithful)
        mean = default_mean(self.channels) if mean is None else mean
        std = default_std(self.channels) if std is None else std
        self.mean = check_channels("mean", mean, self.channels)
        self.std = check_channels("std", std, self.channels, positive=True)
        self.interpolation = check_choice(
            "interpolation", interpolation, ("nearest", "bilinear", "bicubic")
        )
        self.antialias = bool(antialias)
        self.return_masks = bool(return_masks)
        self.faithful = bool(faithful)
        self.on = check_choice("on", on, ("host", "device"))
        if on == "device" and (faithful or return_masks):
            raise ValueError(
                "on='device' makes neither faithful views nor masks. Got "
                f"faithful={faithful!r}, return_masks={return_masks!r}: leave "
                "them out, or use on='host'."
            )
        self.jit_compile = bool(jit_compile)
        self.seed = None if seed is None else check_integer("seed", seed)
        self.stream = check_integer("stream", stream)
        # A function: Keras looks into layers for more of them when it saves.
        self._host = functools.cache(self._make_host)
        # There are no weights.
        self.built = True

    @classmethod
    def resnet(cls, **kwargs: Any) -> MultiView:
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
    def convnext(cls, **kwargs: Any) -> MultiView:
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
    ) -> MultiView:
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
        return cls([group], **{**SCENES_COLORS, **kwargs})

    @classmethod
    def for_channels(
        cls,
        channels: int | ChannelStatistics,
        size: int | tuple[int, int] = 224,
        scale: tuple[float, float] = (0.2, 1.0),
        blur: tuple[float, ...] = (0.5,),
        blur_sigma: tuple[float, float] = (0.1, 2.0),
        **kwargs: Any,
    ) -> MultiView:
        """Two views of images of any number of channels.

        A start for images that are no photographs: brightness, contrast, gamma,
        noise and blur, but no colours and no solarising. With what
        `channel_statistics` finds, values are mapped and normalised by what the
        images have, and raw images of any depth go in:

            statistics = channel_statistics(images)  # (N, H, W, C)
            views = MultiView.for_channels(statistics, size=96)
            batches = view_batches(load(images), views, batch_size=256, seed=0)

        Args:
            channels: their number, or what
                `keras_vicregl.data.channel_statistics` returns, whose number,
                range, mean and deviation are taken.
            size: rows and columns of a view.
            scale: pair, smallest and largest fraction of the image's area.
            blur: probabilities of a blur, see `ViewGroup`.
            blur_sigma: pair, standard deviations of the blur in pixels.
            **kwargs: arguments of `MultiView` other than `groups`.

        Raises:
            ValueError: for arguments outside of their range, and if the
                percentiles of a channel are the same.

        Example:

        >>> from keras_vicregl.views import MultiView
        >>> views = MultiView.for_channels(4, size=64, value_range=(0, 4095))
        >>> views.channels, views.hue, views.gamma
        (4, 0.0, 0.3)
        """
        group = ViewGroup(
            size,
            2,
            scale=scale,
            blur=blur,
            solarize=(0.0,),
            blur_sigma=blur_sigma,
        )
        if isinstance(channels, ChannelStatistics):
            known = channels.as_arguments(kwargs.get("value_range"))
        else:
            known = {"channels": channels}
        return cls([group], **{**CHANNELS_CHANGES, **known, **kwargs})

    @property
    def normalization(self) -> Normalization:
        """How the values of images become those of views."""
        return Normalization(self.mean, self.std, self.value_range)

    @staticmethod
    def to_fit(batch: Mapping[str, Any]) -> tuple[Any, ...]:
        """Arrange a dictionary of views as `Model.fit` takes it.

        Args:
            batch: what the layer returns.

        Returns:
            Tuple of the dictionary of `"views"`, `"view_to_source"` and
            `"source_size"` (with `on="device"`: `"images"`, `"parameters"` and
            `"source_size"`), and of `"labels"` where there are any.

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
        wanted = ("views", "view_to_source", "source_size")
        if "parameters" in batch:
            wanted = ("images", "parameters", "source_size")
        missing = [key for key in wanted if key not in batch]
        if missing:
            raise ValueError(
                f"to_fit takes what MultiView returns. Got the keys "
                f"{sorted(batch)}, without {missing}."
            )
        x = {key: batch[key] for key in wanted}
        return (x, batch["labels"]) if "labels" in batch else (x,)

    def __call__(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """Make the views of images, in tf.data or eagerly (see the class)."""
        given = inputs if isinstance(inputs, Mapping) else {IMAGES: inputs}
        for key, value in given.items():
            if isinstance(value, np.ma.MaskedArray):
                unmasked(value, key)  # which tensors do not know of
        # Not by way of Keras, which would turn tensors of tf.data into those of
        # its backend.
        return self._host()(inputs)

    def parameters(
        self,
        seeds: Any,
        source_size: Any,
        view_to_source: Any = None,
    ) -> tuple[dict[str, np.ndarray], ...]:
        """What is drawn for the views of examples, with NumPy alone.

        Args:
            seeds: (B, 2) integers, two numbers an example.
            source_size: height and width of the images, (2,) or (B, 2).
            view_to_source: (B, 2, 3), maps from the images to their sources
                where they are not the sources themselves.

        Returns:
            A dictionary for each group of n views: `"boxes"` (B, n, 4), top,
            left, height and width of the crop in whole pixels; `"flips"`
            (B, n), 0 or 1; `"matrix"` and `"from_mean"` (B, n, 3, 3), a pixel x
            in [0, 255] becoming `matrix @ x + from_mean @ mean`, with the mean
            over the view, or if the channels are not RGB, or have draws of
            their own, `"gain"` and `"lift"` (B, n, C), each becoming
            `gain * x + lift * mean`; `"sigma"` (B, n), the blur in pixels, 0
            for none; `"solarize"` (B, n), 0 or 1; `"view_to_source"` (B, n, 2,
            3); and with `gamma` the exponents `"gamma"` (B, n, 1 or C), with
            `noise` `"noise"` (B, n, 2), its deviation of 255 and its seed. All
            float32.

        Example:

        >>> from keras_vicregl.views import MultiView
        >>> large, small = MultiView.convnext().parameters(
        ...     [[0, 0], [0, 1]], (375, 500)
        ... )
        >>> large["boxes"].shape, small["boxes"].shape
        ((2, 2, 4), (2, 6, 4))
        """
        keys = self.keys_of(stateless.example_keys(np.asarray(seeds)))
        size = np.asarray(source_size)
        if view_to_source is None:
            view_to_source = np.zeros(
                (*np.atleast_2d(size).shape, 3), "float32"
            )
            view_to_source[:, 0, 0] = size[..., 1]
            view_to_source[:, 1, 1] = size[..., 0]
        return self.draw(keys, size, view_to_source)

    def inputs(
        self,
        images: Any,
        seeds: Any,
        labels: Any = None,
        *,
        canvas: tuple[int, int] | None = None,
        view_to_source: Any = None,
        source_size: Any = None,
    ) -> tuple[Any, ...]:
        """A batch of one's own images, for a model that makes their views.

        For loaders of one's own, with `on="device"`: `Model.fit` of
        `VICRegL(views=...)` takes what this returns. It is NumPy alone, and
        touches neither the backend nor a device, so that worker processes of a
        loader may call it. `keras_vicregl.data.ArrayBatches` does.

        Args:
            images: (B, H, W, 3) uint8; or a list of B images (H, W, 3), whose
                sizes may differ where there is a `canvas`.
            seeds: (B, 2) integers, on which alone the views of an image of a
                size depend: the seed of run or epoch, and the image's index.
            labels: (B,) integers, or None.
            canvas: height and width that all images fit into, the same in all
                batches. Each is put into its upper left corner, with its pixels
                as they are; views are of the image alone.
            view_to_source: (B, 2, 3), maps from normalised coordinates of the
                images to pixels of their sources, where images were cropped or
                resized before.
            source_size: (B, 2), height and width of these sources; goes with
                `view_to_source`.

        Returns:
            Tuple of a dictionary of `"images"`, (B, H, W, 3) uint8 of the
            canvas' size, `"parameters"`, see there, and `"source_size"`
            (B, 2) float32; and of the labels (B,) int32 where there are any.

        Raises:
            ValueError: if views are made on the host, an argument has not the
                shape or dtype above, or images differ in size without a canvas
                or are larger than it.

        Example:

        >>> import numpy as np
        >>> from keras_vicregl.views import MultiView
        >>> views = MultiView.scenes(size=32, on="device")
        >>> images = [np.zeros((60, 80, 3), "uint8"),
        ...           np.zeros((64, 48, 3), "uint8")]
        >>> (x,) = views.inputs(images, [[0, 0], [0, 1]], canvas=(64, 80))
        >>> x["images"].shape, x["source_size"].tolist()
        ((2, 64, 80, 3), [[60.0, 80.0], [64.0, 48.0]])
        """
        batch = device_inputs(
            self, images, seeds, labels, canvas, view_to_source, source_size
        )
        check_finite(batch[IMAGES])
        return self.to_fit(batch)

    def render(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """The views of a batch of inputs, as `VICRegL(views=...)` makes them.

        With `on="device"`, to look at views, or for a step of one's own: a
        model makes them itself. Runs on the backend, whichever it is, inside
        compiled functions too.

        Args:
            inputs: dictionary of `"images"` and `"parameters"`, as the layer,
                `inputs`, and the batches of `keras_vicregl.data` have it.

        Returns:
            What is in `inputs`, and `"views"`, tuple of (B, h, w, C), and
            `"view_to_source"`, tuple of (B, 2, 3) float32.

        Raises:
            ValueError: if views are made on the host, or `inputs` are not those
                of this recipe.

        Example:

        >>> import numpy as np
        >>> from keras_vicregl.views import MultiView
        >>> views = MultiView.scenes(size=32, on="device")
        >>> (x,) = views.inputs(np.zeros((2, 64, 64, 3), "uint8"),
        ...                     seeds=[[0, 0], [0, 1]])
        >>> [tuple(view.shape) for view in views.render(x)["views"]]
        [(2, 32, 32, 3), (2, 32, 32, 3)]
        """
        if self.on != "device":
            raise ValueError(
                "render is for views that are made on the device, "
                "MultiView(on='device'); this one has on='host': call it on "
                "images instead."
            )
        if not {"images", "parameters"} <= set(inputs):
            raise ValueError(
                "inputs must have 'images' and 'parameters', as "
                "MultiView.inputs and keras_vicregl.data make them; received "
                f"{', '.join(map(repr, inputs)) or 'nothing'}."
            )
        views, to_source = device_views(
            self, inputs["images"], inputs["parameters"]
        )
        return {**inputs, "views": views, "view_to_source": to_source}

    def keys_of(self, keys: Any) -> Any:
        """The recipe's own stream of the examples' keys (B,) uint64."""
        return stateless.fold(keys, f"MultiView/{self.stream}")

    def draw(self, keys: Any, size: Any, view_to_source: Any) -> tuple:
        """Parameters of all groups, in the arrays' own library.

        Args:
            keys: (B,) uint64.
            size: (2,), height and width of the images, or (B, 2).
            view_to_source: (B, 2, 3) float32.

        Returns:
            A dictionary a group, see `parameters`.
        """
        return draw_groups(
            keys, size, view_to_source, self.groups, self.shared_options()
        )

    def shared_options(self) -> SharedOptions:
        """What the draws of all groups have in common."""
        return SharedOptions(
            **{
                field.name: getattr(self, field.name)
                for field in dataclasses.fields(SharedOptions)
            }
        )

    def renderings(self) -> tuple[Rendering, ...]:
        """How the views of each group are made on the host."""
        from keras_vicregl.views.rendering.fused import Rendering

        return tuple(
            Rendering(
                size=cast("tuple[int, int]", group.size),
                interpolation=self.interpolation,
                antialias=self.antialias,
                mean=self.mean,
                std=self.std,
                value_range=self.value_range,
                largest_sigma=max(group.blur) and group.blur_sigma[1],
                solarizes=max(group.solarize) > 0.0,
                dtype=self.compute_dtype,
                jit_compile=self.jit_compile,
            )
            for group in self.groups
        )

    def _check_changes(self, faithful: bool) -> None:
        colors = {
            name: getattr(self, name)
            for name in ("saturation", "hue", "grayscale")
        }
        refuse_colors(self.channels, **colors)
        if self.per_channel and any(colors.values()):
            raise ValueError(
                "per_channel=True changes each channel by itself, and "
                "saturation, hue and grayscale change all together. Got "
                + ", ".join(
                    f"{name}={value:g}" for name, value in colors.items()
                )
                + ": pass 0 for these, or leave per_channel out."
            )
        if faithful and (self.gamma or self.noise or self.per_channel):
            raise ValueError(
                "faithful=True has what torchvision and PIL have. Got "
                f"gamma={self.gamma:g}, noise={self.noise:g}, "
                f"per_channel={self.per_channel}: leave one or the other out."
            )

    def _make_host(self) -> HostViews:
        from keras_vicregl.views.rendering.host import HostViews

        return HostViews(self)

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
            "faithful": self.faithful,
            "on": self.on,
            "jit_compile": self.jit_compile,
            "seed": self.seed,
            "stream": self.stream,
            # Of RGB of 8 bits, configurations, and the runs and files that have
            # them, are those of before there were other images.
            **{
                name: getattr(self, name)
                for name, default in _OF_OTHER_IMAGES.items()
                if getattr(self, name) != default
            },
        }


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
