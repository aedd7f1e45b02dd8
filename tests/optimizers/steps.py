"""Steps of an optimizer, as the backend takes them in training."""

import keras
import numpy as np


def apply(optimizer, variables, gradients):
    """Takes one step for each list of gradients; compiled under JAX."""
    optimizer.build(variables)
    if keras.backend.backend() != "jax":
        for gradient in gradients:
            optimizer.apply(
                [
                    keras.ops.convert_to_tensor(np.asarray(g), dtype=v.dtype)
                    for g, v in zip(gradient, variables, strict=True)
                ],
                variables,
            )
        return
    import jax

    step = jax.jit(optimizer.stateless_apply)
    values = [v.value for v in variables]
    state = [v.value for v in optimizer.variables]
    for gradient in gradients:
        gradient = [
            np.asarray(g, v.dtype)
            for g, v in zip(gradient, variables, strict=True)
        ]
        values, state = step(state, gradient, values)
    for variable, value in zip(
        variables + optimizer.variables, values + state, strict=True
    ):
        variable.assign(value)
