"""How the images of a backbone are normalised: one place that knows it.

Views arrive normalised by a mean and a deviation, after a range has mapped
their values to [0, 1]. A backbone remembers those that it was trained on, and
evaluations and exports take them from it. One that wants other pixels gets a
layer that makes them of normalised ones.
"""

from __future__ import annotations

from typing import Any, cast

import keras
import numpy as np
from keras import ops

from keras_vicregl._warnings import warn
from keras_vicregl.models.backbones.remembering import make_remember
from keras_vicregl.views.multi_view import MultiView
from keras_vicregl.views.normalization import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Normalization,
)
from keras_vicregl.views.values import ValueRange, check_value_range

Channels = tuple[float, ...]

# Of pixels in [0, 255]: what is subtracted and what is divided by, a channel of
# RGB each, and whether blue comes first.
_CAFFE_MEAN = (123.68, 116.779, 103.939)
PIXELS = {
    "raw": ((0.0,) * 3, (1.0,) * 3, False),
    "unit": ((0.0,) * 3, (255.0,) * 3, False),
    "tf": ((127.5,) * 3, (127.5,) * 3, False),
    "caffe": (_CAFFE_MEAN, (1.0,) * 3, True),
    "torch": (
        tuple(255 * m for m in IMAGENET_MEAN),
        tuple(255 * s for s in IMAGENET_STD),
        False,
    ),
}


# What is taken where nothing is told.
_USUAL = Normalization(IMAGENET_MEAN, IMAGENET_STD)

# Operations of `keras.ops` on images and a number, as `images / 255` makes.
_ARITHMETIC = ("Add", "Subtract", "Multiply", "Divide", "TrueDivide")


@keras.saving.register_keras_serializable(package="keras_vicregl")
class FromNormalized(keras.layers.Layer):
    """Makes of normalised images the pixels that a network wants.

    Args:
        pixels: A key of `PIXELS`; see `as_backbone`.
        mean: Of the channels on a scale of [0, 1], by which the images are
            normalised.
        std: Their standard deviations.
        **kwargs: Arguments of `keras.layers.Layer`. The result is float32.

    Call arguments:
        inputs: Images `(B, H, W, C)`, `(x / 255 - mean) / std` of pixels x.

    Returns:
        Tensor of the shape of `inputs`.

    Raises:
        ValueError: If `pixels` is another word.

    Example:

    >>> black = [-m / s for m, s in zip(IMAGENET_MEAN, IMAGENET_STD)]
    >>> images = ops.reshape(ops.convert_to_tensor(black), (1, 1, 1, 3))
    >>> ops.convert_to_numpy(FromNormalized("tf")(images)).round(4).tolist()
    [[[[-1.0, -1.0, -1.0]]]]
    """

    def __init__(
        self,
        pixels: str,
        mean: Channels = IMAGENET_MEAN,
        std: Channels = IMAGENET_STD,
        **kwargs: Any,
    ) -> None:
        # Lower precisions do not hold 255 values and fractions.
        super().__init__(**{**kwargs, "dtype": "float32"})
        if pixels not in PIXELS:
            raise ValueError(
                f"`pixels` must be None or one of {', '.join(PIXELS)}. "
                f"Received: pixels={pixels!r}"
            )
        if len(mean) != 3 and len(set(PIXELS[pixels][0])) > 1:
            raise ValueError(
                f"pixels={pixels!r} is of red, green and blue. Received: "
                f"{len(mean)} channels"
            )
        self.pixels = pixels
        self.mean, self.std = tuple(mean), tuple(std)

    def call(self, inputs: Any) -> Any:
        """Scales and shifts the channels."""
        less: Any
        by: Any
        less, by, blue_first = PIXELS[self.pixels]
        if len(self.mean) != 3:
            less, by = less[0], by[0]
        scale = 255 * np.array(self.std) / by
        shift = (255 * np.array(self.mean) - less) / by
        scale = ops.convert_to_tensor(scale, "float32")
        x = inputs * scale + ops.convert_to_tensor(shift, "float32")
        return ops.flip(x, axis=-1) if blue_first else x

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Returns the input's shape."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {
            **super().get_config(),
            "pixels": self.pixels,
            "mean": self.mean,
            "std": self.std,
        }


def normalization_of(backbone: Any) -> tuple[Channels, Channels] | None:
    """Mean and deviation of the images that a backbone was trained on.

    Args:
        backbone: Any model.

    Returns:
        Both, or None where nobody has told.
    """
    known = whole_normalization_of(backbone)
    return None if known is None else known[:2]


def whole_normalization_of(backbone: Any) -> Normalization | None:
    """`normalization_of`, and the range of values before it."""
    told = getattr(backbone, "_normalization", None)
    for layer in _layers(backbone):
        if isinstance(layer, FromNormalized):
            value_range = None if told is None else told.value_range
            return Normalization(layer.mean, layer.std, value_range)
    return told


def learn_normalization(backbone: keras.Model, views: Any) -> None:
    """Notes what a backbone is trained on; warns where that is another.

    Args:
        backbone: The model that remembers it, and with it its `.keras` file. A
            warning says so where its class keeps its file from it.
        views: What made the views; all but a `MultiView` tells nothing.
    """
    if not isinstance(views, MultiView):
        return
    given = views.normalization
    known = whole_normalization_of(backbone)
    if known is not None and getattr(backbone, "_normalization", None) is None:
        # Its own layer knows pixels, whatever range makes them.
        known = known._replace(value_range=given.value_range)
    if known is not None and not _same(known, given):
        warn(
            f"The views are normalised by {_words(given)}, and "
            f"{backbone.name!r} takes images normalised by {_words(known)}: "
            f"pass MultiView({_words(known)})."
        )
    if not remember(backbone, given):
        warn(
            f"The .keras file of {backbone.name!r}, a "
            f"{type(backbone).__name__}, will not know that its images are "
            f"normalised by {_words(given)}: pass these to evaluations and "
            "exports, or make the backbone keras.Model(model.input, "
            "model.output), whose file does."
        )


def remember(backbone: keras.Model, normalization: Normalization) -> bool:
    """Notes how what a backbone is trained on is normalised.

    Returns:
        Whether its `.keras` file will tell, or need not: it is what is taken
        where nothing is told.
    """
    mean, std, value_range = normalization
    given = Normalization(tuple(mean), tuple(std), value_range)
    backbone._normalization = given
    is_usual = _same(given, _USUAL)
    return is_usual or make_remember(backbone)


def resolved(
    backbone: Any,
    mean: Channels | None = None,
    std: Channels | None = None,
    value_range: ValueRange | None = None,
) -> Normalization:
    """Mean, deviation and range to use with a backbone.

    Args:
        backbone: Any model.
        mean: What the caller wants, or None for the backbone's own; ImageNet's
            where it has none.
        std: As `mean`.
        value_range: As `mean`, and [0, 255] where it has none.

    Returns:
        These. Where they are not the backbone's, a warning says so.

    Raises:
        ValueError: If they are not of as many channels as it takes.
    """
    known = whole_normalization_of(backbone)
    own = known or _USUAL
    mean = own.mean if mean is None else tuple(mean)
    std = own.std if std is None else tuple(std)
    channels = _input_channels(backbone)
    if {len(mean), len(std)} != {channels or len(mean)}:
        raise ValueError(
            f"The backbone {backbone.name!r} takes images of {channels} "
            f"channels, and mean={mean} and std={std} are not of as many. "
            + (
                "It has not been told how its images are normalised: pass "
                "mean and std, or preprocess=None for images that are."
                if known is None
                else "Pass a number a channel."
            )
        )
    if value_range is None:
        value_range = own.value_range
    value_range = check_value_range(value_range, len(mean))
    given = Normalization(mean, std, value_range)
    if known is not None and not _same(known, given):
        warn_of_difference(backbone, _words(given))
    return given


def _input_channels(backbone: Any) -> int | None:
    """Channels of a model's images, or None where it does not tell."""
    try:
        shape = backbone.input_shape
    except (AttributeError, ValueError):  # no Keras model, or not built
        return None
    return shape[-1] if isinstance(shape, tuple) and len(shape) == 4 else None


def warn_of_difference(backbone: keras.Model, given: str) -> None:
    """Says that a backbone gets other images than it was trained on."""
    known = cast("Normalization", whole_normalization_of(backbone))
    warn(
        f"{backbone.name!r} was trained on images normalised by "
        f"{_words(known)}, and gets them by {given}. Leave the arguments out "
        "to have the backbone's own."
    )


def channels_taken(model: Any) -> int | None:
    """Channels of a model's images (B, H, W, C), None if it does not tell."""
    shape = getattr(model, "input_shape", None)
    if isinstance(shape, tuple) and len(shape) == 4:
        return shape[-1]
    return None


def takes_integers(model: Any) -> bool:
    """Whether a model takes images as they are in files.

    As exports with their preprocessing do, `.keras`, ONNX and SavedModel alike.
    """
    inputs = getattr(model, "inputs", None) or [model]
    return "int" in str(getattr(inputs[0], "dtype", ""))


def makes_pixels(model: Any) -> bool:
    """Whether a model makes of normalised images the pixels it wants."""
    return any(isinstance(layer, FromNormalized) for layer in _layers(model))


def scales_images(model: Any) -> bool:
    """Whether a model changes the scale of images, of whatever it is given."""
    return not makes_pixels(model) and bool(_own_layers(model))


def warn_of_own_layers(model: Any) -> None:
    """Says that a model normalises images itself, and which layers do.

    Says nothing of one that makes the pixels it wants (`FromNormalized`).
    """
    if makes_pixels(model):
        return
    if own := _own_layers(model):
        warn(
            f"{model.name!r} changes the scale of images itself, in "
            f"{', '.join(own)}, but the images that it gets are normalised "
            "already. Make the backbone by "
            "keras_vicregl.models.backbones.as_backbone(model, pixels='raw'), "
            "which gives it pixels of 0 to 255 in training, evaluation and "
            "export, or leave these layers out of it."
        )


def warn_of_both(model: keras.Model, pixels: str) -> None:
    """Says that pixels that are scaled already will be scaled once more."""
    own = _own_layers(model)
    if own and pixels not in ("raw", "unit"):
        warn(
            f"pixels={pixels!r} scales images, and so does {model.name!r} "
            f"itself, in {', '.join(own)}. Models that do mostly want "
            "pixels='raw'."
        )


def _own_layers(model: Any) -> list[str]:
    """What changes the scale of images before a layer that learns sees them."""
    return [
        f"{each.name!r} ({type(each).__name__})"
        for each in _on_images(model)
        if isinstance(
            each,
            keras.layers.Rescaling
            | keras.layers.Normalization
            | keras.layers.Lambda,
        )
        or type(each).__name__ in _ARITHMETIC
    ]


def _on_images(model: Any) -> list[Any]:
    """Layers and operations up to the first ones with weights.

    All layers of a model without a graph.
    """
    graph = getattr(model, "_functional", None) or model
    if not getattr(graph, "_nodes_by_depth", None):
        return _layers(model)
    seen = {id(tensor) for tensor in graph.inputs}
    found = []
    for _, nodes in sorted(graph._nodes_by_depth.items(), reverse=True):
        for node in nodes:
            inputs = [id(tensor) for tensor in node.input_tensors]
            if not inputs or not seen.issuperset(inputs):
                continue
            operation = node.operation
            if isinstance(operation, keras.Model):
                found += _on_images(operation)
            elif len(inputs) == 1:
                found.append(operation)
            if not _learns(operation):
                seen |= {id(tensor) for tensor in node.output_tensors}
    return found


def _learns(operation: Any) -> bool:
    return any(
        layer.weights
        for layer in [*_layers(operation), operation]
        if isinstance(layer, keras.layers.Layer)
        and not isinstance(layer, keras.Model | keras.layers.Normalization)
    )


def _layers(model: Any) -> list[keras.layers.Layer]:
    flatten = getattr(model, "_flatten_layers", None)
    return list(flatten()) if flatten else []


def _same(first: Normalization, second: Normalization) -> bool:
    ranges = [
        (0.0, 255.0) if each.value_range is None else each.value_range
        for each in (first, second)
    ]
    if first.channels != second.channels or not np.allclose(
        np.subtract(*map(np.atleast_2d, ranges)),
        0,
        atol=1e-6 * np.max(np.ptp(ranges[0], axis=-1)),
    ):
        return False
    return np.allclose(first[:2], second[:2], rtol=0, atol=1e-6)


def _words(normalization: Normalization) -> str:
    mean, std = (tuple(map(float, each)) for each in normalization[:2])
    words = f"mean={mean}, std={std}"
    if normalization.value_range is None:
        return words
    return f"{words}, value_range={normalization.value_range}"
