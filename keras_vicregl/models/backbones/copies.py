"""Copies of backbones: same weights, and another stride if need be."""

from __future__ import annotations

from typing import Any

import keras

from keras_vicregl.models.backbones.pyramid import PyramidBackbone


def with_output_stride(
    backbone: PyramidBackbone, output_stride: int | None
) -> PyramidBackbone:
    """A copy of a backbone with a finer, or coarser, last feature map.

    Strides beyond `output_stride` are replaced by dilation, which leaves all
    weights as they are: every `stride / output_stride`-th position of the map
    has the value that the strided network gives it. The copy takes images of
    any size.

    Args:
        backbone: A backbone of this package. It is not changed.
        output_stride: Input pixels per position of the last map, one of the
            strides that its stages reach; None undoes all dilation.

    Returns:
        A backbone of the same class, with variables of its own.

    Raises:
        ValueError: If `backbone` is another kind of model, or no stage reaches
            the stride.

    Example:

    >>> from keras_vicregl.models.backbones import ResNet
    >>> backbone = ResNet((1, 1, 1), widths=(4, 8, 8), strides=(1, 2, 2))
    >>> dense = with_output_stride(backbone, 4)
    >>> images = keras.ops.ones((1, 64, 64, 3))
    >>> tuple(backbone(images).shape), tuple(dense(images).shape)
    ((1, 4, 4, 32), (1, 16, 16, 32))
    """
    if not isinstance(backbone, PyramidBackbone):
        raise ValueError(
            "Only a backbone of this package (a ResNet or a ConvNeXt) can be "
            "given another output_stride. Received: "
            f"{backbone!r} and output_stride={output_stride!r}; with "
            "output_stride='as_is' it is taken as it is."
        )
    return _rebuilt(backbone, output_stride=output_stride)


def copy_of(backbone: keras.Model) -> keras.Model:
    """A model with the same weights in variables of its own.

    Args:
        backbone: Any built model from `(B, H, W, C)` to a feature map. One of
            this package will take images of any size.

    Returns:
        A functional model (of the class of `backbone` if that is ours).

    Raises:
        ValueError: If it cannot be made again from its configuration.
    """
    if isinstance(backbone, PyramidBackbone):
        return _rebuilt(backbone)
    try:
        graph = backbone
        if not getattr(backbone, "outputs", None):  # a subclass with a `call`
            images = keras.Input((None, None, 3))
            graph = keras.Model(images, backbone(images))
        copy = keras.models.clone_model(graph)
        copy.set_weights(graph.get_weights())
    except Exception as error:  # whatever a foreign constructor raises
        raise ValueError(
            f"The backbone {backbone!r} cannot be copied: {error} - It must be "
            "a functional model, or have a get_config from which it can be "
            "made again."
        ) from error
    return copy


def _rebuilt(backbone: PyramidBackbone, **changes: Any) -> PyramidBackbone:
    config = {**backbone.get_config(), **changes, "trainable": True}
    config["input_shape"] = (None, None, backbone.input_shape[-1])
    copy = type(backbone).from_config(config)
    # Layer by layer: without padding layers, the graph's order is another one.
    for layer in copy.layers:
        if layer.weights:
            layer.set_weights(backbone.get_layer(layer.name).get_weights())
    return copy
