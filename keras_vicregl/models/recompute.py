"""Less memory in training: a backbone whose inside is computed twice.

What a backward pass needs of a network is kept part by part only: the input of
each part, and no more. The backward pass computes the rest of a part again when
it comes to it (Chen et al., "Training Deep Nets with Sublinear Memory Cost").

`keras.RematScope` does so for single layers, which keeps the output of every
layer; and a layer that changes its state - batch normalisation, stochastic
depth - changes it twice, or not at all under JAX. So here the state goes in and
comes out of each part as tensors.
"""

from __future__ import annotations

from typing import Any

import keras

# Parts of fewer layers would keep more than they save: a convolution with its
# norm and activation. Blocks of ResNet and ConvNeXt have seven or more.
_SMALLEST = 6


class Recomputed:
    """A functional model in training mode, computed again in the backward pass.

    It has the model's layers and weights, none of its own.

    Args:
        model: from one tensor to one tensor. It is cut wherever a single
            tensor passes from what comes before to what comes after. A
            subclassed model is one part.

    Raises:
        ValueError: if a layer has an activity regularizer: its loss would be
            lost.

    Example:

    >>> inputs = keras.Input((4,))
    >>> x = inputs
    >>> for _ in range(7):
    ...     x = keras.layers.Dense(4)(x)
    >>> recomputed = Recomputed(keras.Model(inputs, x))
    >>> len(recomputed.parts), tuple(recomputed(keras.ops.ones((2, 4))).shape)
    (1, (2, 4))
    """

    def __init__(self, model: keras.Model) -> None:
        regularized = [
            layer.name
            for layer in model._flatten_layers()
            if getattr(layer, "activity_regularizer", None) is not None
        ]
        if regularized:
            raise ValueError(
                "A backbone with activity regularizers cannot be recomputed; "
                f"{', '.join(regularized)} has one. Use `remat=False`."
            )
        graph = getattr(model, "_functional", None) or model
        if getattr(graph, "_nodes_by_depth", None):
            self.parts = [
                Part(keras.Function(start, end)) for start, end in _cut(graph)
            ]
        else:
            self.parts = [Part(model)]

    def __call__(self, x: Any) -> Any:
        """What the model gives in training mode."""
        for part in self.parts:
            x = part(x)
        return x


class Part:
    """A piece of a graph, as a function of input and state."""

    def __init__(self, function: Any) -> None:
        self._function = function
        layers = getattr(function, "operations", [function])
        variables = {
            id(variable): variable
            for layer in layers
            for variable in getattr(layer, "variables", ())
        }
        self.variables = list(variables.values())

    def __call__(self, x: Any) -> Any:
        """What it gives in training mode; its state changes once."""
        trainable = [v for v in self.variables if v.trainable]
        state = [v for v in self.variables if not v.trainable]
        # Seeds are integers, which TensorFlow's gradients do not take.
        floats = [v for v in state if _is_float(v)]
        seeds = [v for v in state if not _is_float(v)]
        constants = [_copy(v) for v in seeds]

        def run(x: Any, *values: Any) -> Any:
            mapping = zip(
                trainable + floats + seeds, [*values, *constants], strict=True
            )
            with keras.StatelessScope(state_mapping=list(mapping)) as scope:
                y = self._run(x)
            return y, *[scope.get_current_value(v) for v in floats + seeds]

        y, *new = keras.remat(run)(
            x,
            *[keras.ops.convert_to_tensor(v.value) for v in trainable],
            *[_copy(v) for v in floats],
        )
        for variable, value in zip(floats + seeds, new, strict=True):
            variable.assign(value)
        return y

    def _run(self, x: Any) -> Any:
        if not isinstance(self._function, keras.Function):
            return self._function(x, training=True)
        return self._function._run_through_graph([x], _in_training)


def _in_training(operation: Any) -> Any:
    """The operation, in training mode whatever the graph has recorded."""
    if not isinstance(operation, keras.layers.Layer):
        return operation
    return lambda *args, **kwargs: operation(
        *args, **{**kwargs, "training": True}
    )


def _copy(variable: keras.Variable) -> Any:
    # PyTorch changes variables in place.
    return keras.ops.copy(variable.value)


def _is_float(variable: keras.Variable) -> bool:
    return keras.backend.is_float_dtype(variable.dtype)


def _cut(graph: Any) -> list[tuple[Any, Any]]:
    """Pairs of symbolic tensors between which the graph is a chain of parts."""
    nodes = [
        node
        for _, nodes in sorted(graph._nodes_by_depth.items(), reverse=True)
        for node in nodes
        if not node.is_input
    ]
    last_use = {}
    for index, node in enumerate(nodes):
        for tensor in node.input_tensors:
            last_use[id(tensor)] = index
    (start,), (end,) = graph.inputs, graph.outputs
    last_use[id(end)] = len(nodes)
    parts, alive, size = [], {id(start)}, 0
    for index, node in enumerate(nodes):
        size += 1
        alive.update(id(tensor) for tensor in node.output_tensors)
        alive = {key for key in alive if last_use.get(key, -1) > index}
        (*_, tensor) = node.output_tensors
        enough = size >= _SMALLEST and len(nodes) - index > _SMALLEST
        if enough and alive == {id(tensor)}:
            parts.append((start, tensor))
            start, size = tensor, 0
    parts.append((start, end))
    return parts
