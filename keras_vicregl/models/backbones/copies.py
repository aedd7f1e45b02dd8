"""Copies of backbones: same weights, another stride or precision if need be."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from keras_vicregl.models.backbones.layers import PointwiseConv2D
from keras_vicregl.models.backbones.pyramid import PyramidBackbone

_LOW = {"float16", "bfloat16"}


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

    Its strided 1 x 1 convolutions slice first (`PointwiseConv2D`), so that it
    can be trained on batches of one image everywhere.

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
        copy = _clone(graph)
        copy.set_weights(graph.get_weights())
    except Exception as error:  # whatever a foreign constructor raises
        raise ValueError(
            f"The backbone {backbone!r} cannot be copied: {error} - It must be "
            "a functional model, or have a get_config from which it can be "
            "made again."
        ) from error
    return copy


def float32_copy(backbone: keras.Model) -> keras.Model:
    """A copy that computes in float32, with the same weights.

    Args:
        backbone: A built functional model under any dtype policy.

    Returns:
        A model of its class; `backbone` itself where all is float32 already.

    Raises:
        ValueError: If it cannot be made again from its configuration, or if a
            weight is not finite, as one that was beyond the range of float16.
    """
    _check_finite(backbone)
    if not any(map(_is_low, backbone._flatten_layers())):
        return backbone
    config = _without_low(keras.saving.serialize_keras_object(backbone))
    try:
        # Layers that are not in a configuration take the global policy.
        with float32_policy():
            copy = keras.saving.deserialize_keras_object(
                config,
                custom_objects={type(backbone).__name__: type(backbone)},
                safe_mode=False,
            )
        copy.set_weights(
            [np.asarray(w, np.float32) for w in backbone.get_weights()]
        )
    except Exception as error:  # whatever a foreign constructor raises
        raise ValueError(
            f"{backbone.name!r} cannot be made again in float32: {error} - It "
            "must have a get_config from which it can be made again, and so "
            "must its layers, with their dtype."
        ) from error
    low = [layer.name for layer in copy._flatten_layers() if _is_low(layer)]
    if low:
        raise ValueError(
            f"{backbone.name!r} cannot be made again in float32: "
            f"{', '.join(low)} would not follow. Their get_config must have "
            "the dtype."
        )
    return copy


@contextlib.contextmanager
def float32_policy() -> Iterator[None]:
    """Within it, layers that are made without a dtype are of float32."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _check_finite(model: keras.Model) -> None:
    broken = [
        f"{weight.path} ({weight.dtype})"
        for weight in model.weights
        if not np.isfinite(
            np.asarray(keras.ops.convert_to_numpy(weight.value), np.float32)
        ).all()
    ]
    if broken:
        raise ValueError(
            f"{len(broken)} weights of {model.name!r} are not finite: "
            f"{', '.join(broken[:5])}{' ...' if len(broken) > 5 else ''}. "
            "Training has diverged, or values were beyond the range of their "
            "dtype (65504 for float16): go back to a checkpoint."
        )


def _is_low(layer: keras.layers.Layer) -> bool:
    policy = layer.dtype_policy
    return {policy.compute_dtype, policy.variable_dtype} & _LOW != set()


def _is_low_name(dtype: Any) -> bool:
    return str(dtype).removeprefix("mixed_") in _LOW


def _without_low(config: Any) -> Any:
    """A configuration with float32 in the place of lower precisions."""
    if isinstance(config, dict):
        if config.get("class_name") == "DTypePolicy":
            return (
                "float32" if _is_low_name(config["config"]["name"]) else config
            )
        return {
            key: "float32"
            if key == "dtype" and _is_low_name(value)
            else _without_low(value)
            for key, value in config.items()
        }
    if isinstance(config, list | tuple):
        return type(config)(_without_low(value) for value in config)
    return config


def _clone(graph: keras.Model) -> keras.Model:
    if not any(_is_strided_pointwise(x) for x in graph._flatten_layers()):
        return keras.models.clone_model(graph)
    return keras.models.clone_model(
        graph, clone_function=_clone_layer, recursive=True
    )


def _clone_layer(layer: Any) -> Any:
    kind = PointwiseConv2D if _is_strided_pointwise(layer) else type(layer)
    return kind.from_config(layer.get_config())


def _is_strided_pointwise(layer: Any) -> bool:
    return (
        type(layer) is keras.layers.Conv2D
        and layer.kernel_size == (1, 1)
        and max(layer.strides) > 1
    )


def _rebuilt(backbone: PyramidBackbone, **changes: Any) -> PyramidBackbone:
    config = {**backbone.get_config(), **changes, "trainable": True}
    config["input_shape"] = (None, None, backbone.input_shape[-1])
    copy = type(backbone).from_config(config)
    # Layer by layer: without padding layers, the graph's order is another one.
    for layer in copy.layers:
        if layer.weights:
            layer.set_weights(backbone.get_layer(layer.name).get_weights())
    return copy
