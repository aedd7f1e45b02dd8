"""Any Keras model as a backbone."""

from __future__ import annotations

import keras


def as_backbone(
    model: keras.Model, layer_name: str | None = None
) -> keras.Model:
    """Cuts a Keras model off at a feature map.

    Models of `keras.applications` and the like end in pooling and a
    classifier, or at a stride that is too coarse. What is returned shares its
    layers and weights with the model, up to one feature map.

    Args:
        model: A functional or sequential model from images `(B, H, W, C)`.
        layer_name: The layer whose output, `(B, h, w, F)`, is the feature
            map. Defaults to the model's output where that is one such map,
            and to the last layer that gives one otherwise.

    Returns:
        A model from images to one feature map `(B, h, w, F)`; `model` itself
        where nothing needs cutting.

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
    if layer_name is None:
        if _is_feature_map(model.outputs):
            return model
        return _cut(model, _last_feature_map(model))
    names = [layer.name for layer in model.layers]
    if layer_name not in names:
        raise ValueError(
            f"`layer_name` must be a layer of {model.name!r}, one of "
            f"{', '.join(names)}. Received: layer_name={layer_name!r}"
        )
    output = model.get_layer(layer_name).output
    if not _is_feature_map([output]):
        raise ValueError(
            "`layer_name` must be a layer that gives one feature map "
            f"(B, h, w, F). Received: layer_name={layer_name!r}, whose output "
            f"has shape {getattr(output, 'shape', None)}"
        )
    return _cut(model, output)


def _cut(model: keras.Model, output: keras.KerasTensor) -> keras.Model:
    return keras.Model(model.inputs[0], output, name=model.name)


def _is_graph(model: keras.Model) -> bool:
    # A subclassed model has no symbolic outputs, nor has an unbuilt one.
    return bool(getattr(model, "outputs", None)) and len(model.inputs) == 1


def _is_feature_map(outputs: list[keras.KerasTensor]) -> bool:
    return len(outputs) == 1 and len(getattr(outputs[0], "shape", ())) == 4


def _last_feature_map(model: keras.Model) -> keras.KerasTensor:
    for layer in reversed(model.layers):
        if not isinstance(layer, keras.layers.InputLayer) and _is_feature_map(
            [layer.output]
        ):
            return layer.output
    raise ValueError(
        f"`model` must have a layer that gives a feature map (B, h, w, F). "
        f"{model.name!r} has none, only outputs of shapes "
        f"{sorted({str(layer.output.shape) for layer in model.layers})}."
    )
