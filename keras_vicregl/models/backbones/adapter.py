"""Any Keras model as a backbone."""

from __future__ import annotations

from typing import Any

import keras

from keras_vicregl.models.backbones.normalization import (
    FromNormalized,
    makes_pixels,
    warn_of_both,
    warn_of_own_layers,
)
from keras_vicregl.models.backbones.tokens import (
    TokensToMap,
    are_tokens,
    layout_of,
    tell,
)
from keras_vicregl.views.normalization import default_mean, default_std

_TO_CHANNELS_FIRST = (3, 1, 2)
_TO_CHANNELS_LAST = (2, 3, 1)


def as_backbone(
    model: keras.Model,
    layer_name: str | None = None,
    *,
    batch_norm_momentum: float | None = None,
    pixels: str | None = None,
    patch_size: int | tuple[int, int] | None = None,
    special_tokens: int | None = None,
) -> keras.Model:
    """Cuts a Keras model off at a feature map, or at its tokens.

    Models of `keras.applications` and the like end in pooling and a
    classifier, or at a stride that is too coarse. What is returned shares its
    layers and weights with the model, up to one feature map. A model whose
    channels come first is put between two transpositions.

    The tokens `(B, N, F)` of a transformer (ViT, DINOv2, DINOv3) become a map
    `(B, h, w, F)` of its patches; those that stand for no patch, a class and
    registers, are left out. Such a model mostly takes images of one size, and
    so views of one.

    A model of one of Keras' own classes, as `keras.Model(inputs, outputs)` is,
    keeps the range, mean and deviation of the views it is trained on in its
    file, where they are others than ImageNet's: to load it, import
    keras_vicregl first.

    Views, evaluations and exports give normalised images. With `pixels` the
    backbone takes these and makes of them, in its first layer, the pixels that
    the model wants; nothing else needs to know. It is needed where a model
    changes the scale itself - a warning names the layers that do - and
    where its weights were trained on other pixels:

    | `pixels` | what the model gets | of `keras.applications` |
    |---|---|---|
    | `"raw"` | RGB, 0 to 255 | ConvNeXt, EfficientNet, EfficientNetV2, \
MobileNetV3 |
    | `"tf"` | RGB, -1 to 1 | MobileNet, MobileNetV2, ResNetV2, Inception, \
Xception, NASNet |
    | `"caffe"` | BGR less its mean, of 0 to 255 | ResNet, VGG |
    | `"torch"` | normalised by ImageNet's mean and deviation | DenseNet |
    | `"unit"` | RGB, 0 to 1 | |

    Args:
        model: A functional or sequential model from images `(B, H, W, C)`, or
            `(B, C, H, W)` where its layers have their channels first.
        layer_name: The layer whose output is the feature map, or a level of
            the pyramid, `"P2"` to `"P5"`, of a backbone of this package,
            KerasHub or keras-cv. Defaults to the model's output where that is
            one such map, and to the last layer that gives one otherwise.
            Needed where the model has several outputs.
        batch_norm_momentum: What all its batch normalisations keep of their
            moving averages in a step, also in `model`, whose layers they are.
            Some of `keras.applications` have 0.999, with which they need
            thousands of steps to follow a training; 0.9 is that of the
            backbones of this package. Defaults to what each of them has.
        pixels: What the model wants, see above, of views with the default mean
            and deviation. `None`: images go to it as they come.
        patch_size: Pixels of a patch along a side, or (rows, columns), where
            tokens are given. Defaults to the model's attribute of that name.
        special_tokens: How many tokens come before those of the patches.
            Defaults to those that are left over. Where nothing says how large
            patches are, both are guessed, which a warning tells.

    Returns:
        A model from images `(B, H, W, C)` to one feature map `(B, h, w, F)`;
        `model` itself where nothing needs changing.

    Raises:
        ValueError: If the model has no layer of that name, if that layer's
            output is no feature map, or if the model has none at all; if it
            has several inputs, or several outputs and no `layer_name` says
            which is meant; if it is subclassed or not built; if
            `batch_norm_momentum` is not in [0, 1), or `pixels` another word or
            given twice; if tokens are not patches and special ones.

    Example:

    >>> model = keras.Sequential([
    ...     keras.Input((32, 32, 3)),
    ...     keras.layers.Conv2D(8, 3, strides=2, padding="same"),
    ...     keras.layers.GlobalAveragePooling2D(),
    ...     keras.layers.Dense(10),
    ... ])
    >>> as_backbone(model).output_shape
    (None, 16, 16, 8)
    """
    _check_graph(model)
    if pixels is not None and makes_pixels(model):
        raise ValueError(
            f"`model` {model.name!r} was given its pixels already, and takes "
            f"normalised images. Leave out pixels={pixels!r}."
        )
    if batch_norm_momentum is not None:
        _set_momentum(model, batch_norm_momentum)
    layout: dict[str, Any] = {
        "patch_size": patch_size,
        "special_tokens": special_tokens,
    }
    is_map = _is_feature_map(model.outputs)
    if layer_name is not None:
        output = _named_feature_map(model, layer_name)
    elif len(model.outputs) > 1:
        _last_feature_map(model)  # an error where there is none
        raise ValueError(
            f"`model` {model.name!r} has {len(model.outputs)} outputs, of "
            f"shapes {', '.join(str(o.shape) for o in model.outputs)}: pass "
            "the layer whose output is to be the feature map as `layer_name`, "
            f"such as {' or '.join(map(repr, _candidates(model)))}."
        )
    else:
        output = model.outputs[0] if is_map else _last_feature_map(model)
    of_tokens = are_tokens(output)
    if of_tokens:
        output = _map_of_tokens(model, output, **layout)
    elif any(value is not None for value in layout.values()):
        raise ValueError(
            "`patch_size` and `special_tokens` are of tokens (B, N, F), and "
            f"the output of {model.name!r} that is taken has shape "
            f"{output.shape}."
        )
    whole = is_map and layer_name is None
    backbone = model if whole else _cut(model, output)
    if channels_come_first(model):
        backbone = _channels_last(backbone, of_tokens)
    if pixels is None:
        warn_of_own_layers(backbone)
        return backbone
    normalized = _from_normalized(backbone, pixels)
    warn_of_both(backbone, pixels)
    return normalized


def _set_momentum(model: keras.Model, momentum: float) -> None:
    if not 0 <= momentum < 1:
        raise ValueError(
            "`batch_norm_momentum` must be at least 0 and below 1. Received: "
            f"batch_norm_momentum={momentum!r}"
        )
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = float(momentum)


def feature_map_layers(model: keras.Model) -> list[str]:
    """Layers that could serve: the last one of each spatial size.

    Args:
        model: A Keras model.

    Returns:
        Names, from fine to coarse; none where the model has no graph.
    """
    if not _is_graph(model):
        return []
    last = {}
    axes = slice(2, 4) if channels_come_first(model) else slice(1, 3)
    for name, output in _feature_maps(model).items():
        # Of models for any size, only the channels tell the stages apart.
        sizes = output.shape[axes]
        last[sizes if None not in sizes else output.shape] = name
    return list(last.values())


def channels_come_first(model: keras.Model) -> bool:
    """Whether a model takes images `(B, C, H, W)`.

    Its layers say that they have their channels first, and the shape of its
    images that they do: there are fewer channels than rows or columns.
    """
    shape = getattr(model, "input_shape", None)
    if not isinstance(shape, tuple) or len(shape) != 4 or shape[1] is None:
        return False
    fewer = shape[3] is None or shape[1] < shape[3]
    return fewer and any(
        getattr(layer, "data_format", None) == "channels_first"
        for layer in model._flatten_layers()
    )


def several_inputs(model: keras.Model) -> str:
    """What to do about a model that takes more than images, in a sentence."""
    names = ", ".join(repr(each.name) for each in model.inputs)
    return (
        f"{model.name!r} has {len(model.inputs)} inputs ({names}), and a "
        "backbone takes images alone: cut out the part that does, "
        "keras.Model(images, feature_map), with images one of model.inputs "
        "and feature_map the output of a layer that depends on no other."
    )


def _check_graph(model: keras.Model) -> None:
    """Raises unless the model is a graph that begins with images."""
    if not isinstance(model, keras.Model):
        raise ValueError(
            f"`model` must be a keras.Model; received {model!r}. A layer "
            "becomes one by keras.Sequential([keras.Input((None, None, 3)), "
            "layer])."
        )
    if len(getattr(model, "inputs", None) or ()) > 1:
        raise ValueError(f"`model` {several_inputs(model)}")
    if _is_graph(model):
        return
    if isinstance(model, keras.Sequential):
        raise ValueError(
            f"`model` {model.name!r} is not built, so that its layers have no "
            "shapes: begin it with keras.Input((None, None, 3)), or call "
            "model.build((None, height, width, 3))."
        )
    raise ValueError(
        f"`model` {model.name!r} is a subclassed {type(model).__name__}: it "
        "has no graph to cut, but is a backbone as it is if its `call` returns "
        "one feature map."
    )


def _candidates(model: keras.Model) -> list[str]:
    """Layers that give an output of the model, if any are feature maps."""
    outputs = [id(output) for output in model.outputs]
    maps = _feature_maps(model).items()
    ends = [name for name, output in maps if id(output) in outputs]
    return ends or feature_map_layers(model)


def _map_of_tokens(
    model: keras.Model,
    tokens: keras.KerasTensor,
    patch_size: int | tuple[int, int] | None,
    special_tokens: int | None,
) -> keras.KerasTensor:
    first = channels_come_first(model)
    size = model.input_shape[2:4] if first else model.input_shape[1:3]
    layout = layout_of(model, tokens.shape[1], size, patch_size, special_tokens)
    tell(model, layout)
    return TokensToMap(
        layout.patch_size,
        layout.special,
        "channels_first" if first else "channels_last",
        name="tokens_to_map",
    )([tokens, model.inputs[0]])


def _channels_last(model: keras.Model, of_tokens: bool) -> keras.Model:
    channels, height, width = model.input_shape[1:]
    images = keras.Input((height, width, channels))
    x = model(keras.layers.Permute(_TO_CHANNELS_FIRST)(images))
    if not of_tokens:
        x = keras.layers.Permute(_TO_CHANNELS_LAST)(x)
    return keras.Model(images, x, name=model.name)


def _from_normalized(model: keras.Model, pixels: str) -> keras.Model:
    images = keras.Input(model.input_shape[1:])
    channels = images.shape[-1]
    normalization = default_mean(channels), default_std(channels)
    x = FromNormalized(pixels, *normalization, name="from_normalized")(images)
    return keras.Model(images, model(x), name=model.name)


def _cut(model: keras.Model, output: keras.KerasTensor) -> keras.Model:
    return keras.Model(model.inputs[0], output, name=model.name)


def _is_graph(model: keras.Model) -> bool:
    # A subclassed model has no symbolic outputs, nor has an unbuilt one.
    return bool(getattr(model, "outputs", None)) and len(model.inputs) == 1


def _is_feature_map(outputs: list[keras.KerasTensor]) -> bool:
    return len(outputs) == 1 and len(getattr(outputs[0], "shape", ())) == 4


def _outputs(model: keras.Model) -> dict[str, keras.KerasTensor]:
    """Output of each layer in this model's graph, by the layer's name.

    A layer's own `output` is that of its first call, and of a nested model one
    of the inner graph.
    """
    graph = getattr(model, "_functional", None) or model
    return {
        node.operation.name: node.output_tensors[0]
        for _, nodes in sorted(graph._nodes_by_depth.items(), reverse=True)
        for node in nodes
        if len(node.output_tensors) == 1
        and not isinstance(node.operation, keras.layers.InputLayer)
    }


def _feature_maps(model: keras.Model) -> dict[str, keras.KerasTensor]:
    """Outputs with rows and columns; 1 x 1 is what is left of a pooled one."""
    return {
        name: output
        for name, output in _outputs(model).items()
        if _is_feature_map([output]) and output.shape[1:].count(1) < 2
    }


def _last_feature_map(model: keras.Model) -> keras.KerasTensor:
    """The last output that is a feature map, or tokens.

    Of a transformer the last map is that of the patches before its blocks.
    """
    outputs, maps = _outputs(model), _feature_maps(model)
    for name, output in reversed(outputs.items()):
        if name in maps or are_tokens(output):
            return output
    shapes = {str(output.shape) for output in outputs.values()}
    raise ValueError(
        "`model` must have a layer that gives a feature map (B, h, w, F) or "
        f"tokens (B, N, F). {model.name!r} has none, only outputs of shapes "
        f"{sorted(shapes)}."
    )


def _named_feature_map(
    model: keras.Model, layer_name: str
) -> keras.KerasTensor:
    levels = getattr(model, "pyramid_outputs", {})
    if layer_name in levels:
        return levels[layer_name]
    # keras-cv keeps the names of layers.
    layer_name = getattr(model, "pyramid_level_inputs", {}).get(
        layer_name, layer_name
    )
    outputs = _outputs(model)
    if layer_name not in outputs:
        raise ValueError(
            f"`layer_name` must be a layer of {model.name!r}, one of "
            f"{', '.join([*levels, *outputs])}. "
            f"Received: layer_name={layer_name!r}"
        )
    output = outputs[layer_name]
    if not _is_feature_map([output]) and not are_tokens(output):
        raise ValueError(
            "`layer_name` must be a layer that gives one feature map "
            "(B, h, w, F), or tokens (B, N, F). Received: "
            f"layer_name={layer_name!r}, whose output has shape {output.shape}"
        )
    return output
