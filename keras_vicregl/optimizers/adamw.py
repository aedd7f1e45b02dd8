"""AdamW, the optimizer of the paper's ConvNeXt recipes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import keras

from keras_vicregl.optimizers._exclusion import Exclusion, SelectiveOptimizer

# The class that `keras.optimizers.AdamW()` gives: under PyTorch it is another
# one, which updates all variables in one go.
if TYPE_CHECKING:
    from keras.optimizers import AdamW as _AdamW
else:
    _AdamW = type(keras.optimizers.AdamW.__new__(keras.optimizers.AdamW))


@keras.saving.register_keras_serializable(package="keras_vicregl")
class AdamW(SelectiveOptimizer, _AdamW):
    """`keras.optimizers.AdamW` that does not decay biases and norms.

    Loshchilov and Hutter, "Decoupled Weight Decay Regularization". The decay
    is scaled by the learning rate: `w = w - lr * weight_decay * w`. As in
    Keras, and unlike PyTorch, `epsilon` is added before the bias correction
    of the second moment.

    Args:
        learning_rate: a float, a `LearningRateSchedule` such as
            `warmup_cosine`, or a callable.
        weight_decay: as above.
        beta_1: decay of the average of gradients.
        beta_2: decay of the average of their squares.
        epsilon: added to the square root of the latter. Keras' own default is
            1e-7.
        exclude_vectors: whether variables with one axis or none are
            excluded from weight decay.
        **kwargs: further arguments of `keras.optimizers.AdamW`.

    Example:

    >>> from keras import ops
    >>> kernel, bias = keras.Variable([[2.0]]), keras.Variable([2.0])
    >>> optimizer = AdamW(learning_rate=0.5, weight_decay=0.25)
    >>> optimizer.apply([ops.zeros((1, 1)), ops.zeros(1)], [kernel, bias])
    >>> [ops.convert_to_numpy(v).tolist() for v in (kernel, bias)]
    [[[1.75]], [2.0]]
    """

    def __init__(
        self,
        learning_rate: Any = 1e-3,
        weight_decay: float = 0.05,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        exclude_vectors: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            learning_rate,
            weight_decay=weight_decay,
            beta_1=beta_1,
            beta_2=beta_2,
            epsilon=epsilon,
            **kwargs,
        )
        self.exclude_vectors = exclude_vectors
        self._rules = {
            "weight_decay": Exclusion("weight decay", exclude_vectors)
        }

    def _apply_weight_decay(self, variables: Sequence[Any]) -> None:
        # PyTorch's refuses an empty list.
        decayed = [v for v in variables if self._use_weight_decay(v)]
        if decayed:
            super()._apply_weight_decay(decayed)

    def _parallel_update_step(
        self, grads: Any, variables: Any, learning_rate: Any
    ) -> None:
        # Of the class that Keras has for PyTorch, which keeps three copies of
        # all variables while it updates them.
        if self.amsgrad:
            super()._parallel_update_step(grads, variables, learning_rate)
            return
        from keras_vicregl.optimizers._torch import adam_step

        adam_step(self, grads, variables, learning_rate)
