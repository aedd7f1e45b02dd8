"""LARS, the optimizer of the paper's ResNet recipes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import keras
from keras import ops

from keras_vicregl.optimizers._exclusion import Exclusion, SelectiveOptimizer


@keras.saving.register_keras_serializable(package="keras_vicregl")
class LARS(SelectiveOptimizer, keras.optimizers.Optimizer):
    """Momentum with a learning rate adapted to each layer.

    You et al., "Large Batch Training of Convolutional Networks". With the
    gradient `g` of a variable `w`, a step of learning rate `lr` is

    ```
    g = g + weight_decay * w
    g = g * eta * |w| / |g|        # 1 in place of the quotient where |w| or
    v = momentum * v + g           # |g| is 0
    w = w - lr * v
    ```

    Variables with one axis - biases, and the factors of normalisation layers -
    are neither decayed nor adapted: their first two lines are left out.

    With `clip` it is what others call LARC, or LARS with clipping: the adapted
    rate does not multiply the learning rate but replaces it, and is no higher,

    ```
    g = g * min(eta * |w| / |g| / lr, 1)
    ```

    so that a step is `min(eta * |w| / |g|, lr) * v`. Small-data recipes use it
    with an `eta` of 0.02.

    Args:
        learning_rate: a float, a `LearningRateSchedule` such as
            `warmup_cosine`, or a callable.
        momentum: the share of the last step that is kept, in [0, 1).
        eta: the trust coefficient: a step of learning rate 1 changes a
            layer by this fraction of its norm.
        weight_decay: added to the gradient, so scaled by the adaptation as
            the gradient is.
        exclude_vectors: whether variables with one axis or none are
            excluded from weight decay and adaptation.
        clip: whether the learning rate is the highest that an adapted rate may
            be, see above.
        **kwargs: `clipnorm`, `clipvalue`, `global_clipnorm` (of the gradients
            before weight decay), `use_ema`, `ema_momentum`,
            `ema_overwrite_frequency`, `loss_scale_factor`,
            `gradient_accumulation_steps` and `name` of
            `keras.optimizers.Optimizer`.

    Raises:
        ValueError: if an argument is out of its range.

    Example:

    >>> weight = keras.Variable([[3.0, 4.0]])
    >>> optimizer = LARS(learning_rate=1.0, eta=0.1, weight_decay=0.0)
    >>> optimizer.apply([ops.array([[0.0, 2.0]])], [weight])
    >>> ops.convert_to_numpy(weight).round(3).tolist()  # by a tenth of |w|
    [[3.0, 3.5]]
    """

    def __init__(
        self,
        learning_rate: Any = 0.2,
        momentum: float = 0.9,
        eta: float = 0.001,
        weight_decay: float | None = 1e-6,
        exclude_vectors: bool = True,
        clip: bool = False,
        **kwargs: Any,
    ) -> None:
        if not 0 <= momentum < 1:
            raise ValueError(
                f"`momentum` must be in [0, 1); received {momentum}."
            )
        if not eta > 0:
            raise ValueError(f"`eta` must be positive; received {eta}.")
        if weight_decay is not None and not weight_decay >= 0:
            raise ValueError(
                "`weight_decay` must be None or at least 0; received "
                f"{weight_decay}."
            )
        super().__init__(learning_rate, weight_decay=weight_decay, **kwargs)
        self.momentum = momentum
        self.eta = eta
        self.exclude_vectors = exclude_vectors
        self.clip = bool(clip)
        self._rules = {
            "weight_decay": Exclusion("weight decay", exclude_vectors),
            "adaptation": Exclusion("layer adaptation", exclude_vectors),
        }

    def build(self, variables: Sequence[Any]) -> None:
        """Creates a velocity for each variable.

        Args:
            variables: the model's trainable variables.
        """
        if self.built:
            return
        super().build(variables)
        self._velocities = self.add_optimizer_variables(variables, "velocity")

    def exclude_from_adaptation(
        self,
        var_list: Iterable[Any] | None = None,
        var_names: Iterable[str] | None = None,
    ) -> None:
        """Excludes more variables from adaptation; replaces earlier calls.

        Args:
            var_list: variables.
            var_names: regular expressions, searched for in variables' paths.

        Raises:
            ValueError: once the optimizer is built.
        """
        self._rules["adaptation"].set(var_list, var_names)

    def update_step(
        self, gradient: Any, variable: Any, learning_rate: Any
    ) -> None:
        """One step of one variable.

        Args:
            gradient: of the variable's shape.
            variable: the variable, under TensorFlow a `tf.Variable`.
            learning_rate: a scalar.
        """
        index = self._get_variable_index(variable)
        learning_rate = ops.cast(learning_rate, variable.dtype)
        gradient = ops.cast(gradient, variable.dtype)
        if self.weight_decay and self._use_weight_decay(variable):
            gradient = gradient + self.weight_decay * variable
        if index not in self._rules["adaptation"]:
            rate = self._adapted_rate(
                _norm(variable), _norm(gradient), learning_rate
            )
            gradient = ops.cast(rate, variable.dtype) * gradient
        velocity = self._velocities[index]
        self.assign(velocity, self.momentum * velocity + gradient)
        self.assign_sub(variable, learning_rate * velocity)

    def get_config(self) -> dict[str, Any]:
        """Everything `from_config` takes, JSON-serialisable."""
        return {
            **super().get_config(),
            "momentum": self.momentum,
            "eta": self.eta,
            "clip": self.clip,
        }

    def _apply_weight_decay(self, variables: Sequence[Any]) -> None:
        # `update_step` has it: here decay is part of the gradient, and Keras'
        # is not.
        pass

    def _backend_update_step(
        self, grads: Any, trainable_variables: Any, learning_rate: Any
    ) -> None:
        if keras.backend.backend() != "torch":
            super()._backend_update_step(
                grads, trainable_variables, learning_rate
            )
            return
        import torch

        from keras_vicregl.optimizers._torch import lars_step

        with torch.no_grad():
            lars_step(self, grads, trainable_variables, learning_rate)

    def _adapted_rate(self, weight: Any, slope: Any, learning_rate: Any) -> Any:
        """Of the norms of weights and gradients, one or many."""
        both = ops.logical_and(weight > 0, slope > 0)
        # The quotient must be finite where it is not taken, too.
        quotient = self.eta * weight / ops.where(both, slope, 1)
        if self.clip:
            highest = ops.cast(learning_rate, quotient.dtype)
            is_lower = quotient < highest
            # The learning rate may be 0 where a warm-up begins.
            quotient = ops.where(
                is_lower, quotient / ops.where(is_lower, highest, 1), 1
            )
        return ops.where(both, quotient, ops.ones_like(quotient))


def _norm(x: Any) -> Any:
    """The Euclidean norm, in float32 or better."""
    if keras.backend.standardize_dtype(x.dtype) in ("float16", "bfloat16"):
        x = ops.cast(x, "float32")
    return ops.sqrt(ops.sum(ops.square(x)))
