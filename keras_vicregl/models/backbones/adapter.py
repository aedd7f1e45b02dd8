"""Any Keras model as a backbone."""

from __future__ import annotations

from collections.abc import Iterable

import keras

_TO_CHANNELS_FIRST = (3, 1, 2)
_TO_CHANNELS_LAST = (2, 3, 1)


def as_backbone(
    model: keras.Model, layer_name: str | None = None
) -> keras.Model:
    """Cuts a Keras model off at a feature map.

    Models of `keras.applications` and the like end in pooling and a
    classifier, or at a stride that is too coarse. What is returned shares its
    layers and weights with the model, up to one feature map. A model whose
    channels come first is put between two transpositions.

    Args:
        model: A functional or sequential model from images `(B, H, W, C)`, or
            `(B, C, H, W)` where its layers have their channels first.
        layer_name: The layer whose output is the feature map, or a level of
            the pyramid, `"P2"` to `"P5"`, of a backbone of this package,
            KerasHub or keras-cv. Defaults to the model's output where that is
            one such map, and to the last layer that gives one otherwise.

    Returns:
        A model from images `(B, H, W, C)` to one feature map `(B, h, w, F)`;
        `model` itself where nothing needs changing.

    Raises:
        ValueError: If the model has no layer of that name, if that layer's
            output is no feature map, or if the model has none at all.

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
    if not _is_graph(model):
        raise ValueError(
            "`model` must be a built functional or sequential keras.Model: "
            "a subclassed model has no graph to cut, but is a backbone as it "
            "is if its `call` returns one feature map. "
            f"Received: model={model!r}"
        )
    if layer_name is not None:
        backbone = _cut(model, _named_feature_map(model, layer_name))
    elif _is_feature_map(model.outputs):
        backbone = model
    else:
        backbone = _cut(model, _last_feature_map(model))
    return _channels_last(backbone) if channels_come_first(model) else backbone


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
    for layer in _layers_with_feature_map(model):
        shape = layer.output.shape
        axes = slice(2, 4) if channels_come_first(model) else slice(1, 3)
        # Of models for any size, only the channels tell the stages apart.
        last[shape[axes] if None not in shape[axes] else shape] = layer.name
    return list(last.values())


def channels_come_first(model: keras.Model) -> bool:
    """Whether the layers of a model have their channels first."""
    return any(
        getattr(layer, "data_format", None) == "channels_first"
        for layer in model._flatten_layers()
    ) and not any(isinstance(layer, _Transposed) for layer in model.layers)


@keras.saving.register_keras_serializable(package="keras_vicregl")
class _Transposed(keras.layers.Permute):
    """Marks a model that has been put between transpositions."""


def _channels_last(model: keras.Model) -> keras.Model:
    channels, height, width = model.input_shape[1:]
    images = keras.Input((height, width, channels))
    x = _Transposed(_TO_CHANNELS_FIRST)(images)
    return keras.Model(
        images, _Transposed(_TO_CHANNELS_LAST)(model(x)), name=model.name
    )


def _cut(model: keras.Model, output: keras.KerasTensor) -> keras.Model:
    return keras.Model(model.inputs[0], output, name=model.name)


def _is_graph(model: keras.Model) -> bool:
    # A subclassed model has no symbolic outputs, nor has an unbuilt one.
    return bool(getattr(model, "outputs", None)) and len(model.inputs) == 1


def _is_feature_map(outputs: list[keras.KerasTensor]) -> bool:
    return len(outputs) == 1 and len(getattr(outputs[0], "shape", ())) == 4


def _layers_with_feature_map(
    model: keras.Model,
) -> Iterable[keras.layers.Layer]:
    for layer in model.layers:
        if not isinstance(layer, keras.layers.InputLayer) and _is_feature_map(
            [layer.output]
        ):
            yield layer


def _last_feature_map(model: keras.Model) -> keras.KerasTensor:
    layers = list(_layers_with_feature_map(model))
    if layers:
        return layers[-1].output
    raise ValueError(
        f"`model` must have a layer that gives a feature map (B, h, w, F). "
        f"{model.name!r} has none, only outputs of shapes "
        f"{sorted({str(layer.output.shape) for layer in model.layers})}."
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
    names = [layer.name for layer in model.layers]
    if layer_name not in names:
        raise ValueError(
            f"`layer_name` must be a layer of {model.name!r}, one of "
            f"{', '.join([*levels, *names])}. "
            f"Received: layer_name={layer_name!r}"
        )
    output = model.get_layer(layer_name).output
    if not _is_feature_map([output]):
        raise ValueError(
            "`layer_name` must be a layer that gives one feature map "
            f"(B, h, w, F). Received: layer_name={layer_name!r}, whose output "
            f"has shape {getattr(output, 'shape', None)}"
        )
    return output
