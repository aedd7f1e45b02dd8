"""Batch normalisation over the batch of all replicas."""

import types
from typing import Any

import keras
from keras import ops

from keras_vicregl.distribution.collectives import replica_count, replica_mean


def synchronize_batch_normalization(
    model: keras.layers.Layer, synchronized: bool = True
) -> None:
    """Makes batch normalisation take its statistics over all replicas.

    Of all `keras.layers.BatchNormalization` in a model, on any backend, and of
    these layer objects alone: what is saved, and what `get_config` says, stays
    that of plain ones, which any backend can load. Under JAX statistics are of
    the whole batch as they are. Every replica must have an equal share of it.

    Layers stay as they are told, in whatever model they are used.

    Args:
        model: a model or a layer.
        synchronized: False goes back to the statistics of each replica.

    Example:

    >>> model = keras.Sequential(
    ...     [keras.Input((4,)), keras.layers.BatchNormalization()]
    ... )
    >>> synchronize_batch_normalization(model)
    """
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            # Not an attribute that Keras would look into.
            vars(layer).pop("_moments", None)
            if synchronized:
                vars(layer)["_moments"] = types.MethodType(_moments, layer)


def _moments(layer: Any, inputs: Any, mask: Any) -> tuple[Any, Any]:
    """In place of `BatchNormalization._moments`: mean and variance."""
    if replica_count() == 1:
        return type(layer)._moments(layer, inputs, mask)
    if mask is not None:
        raise ValueError(
            f"{layer.name!r} was given a mask. Batch normalisation over all "
            "replicas has no masks; use VICRegL(synchronized=False)."
        )
    axes = layer._reduction_axes
    mean = replica_mean(ops.mean(inputs, axis=axes))
    shape = [1] * len(inputs.shape)
    shape[layer.axis] = -1
    deviation = inputs - ops.reshape(mean, shape)
    return mean, replica_mean(ops.mean(ops.square(deviation), axis=axes))
