"""The paper's learning-rate schedules, made of Keras' own."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


def warmup_cosine(
    base_learning_rate: float,
    batch_size: int,
    steps_per_epoch: int,
    epochs: float,
    warmup_epochs: float = 10.0,
    final_fraction: float = 0.001,
) -> keras.optimizers.schedules.LearningRateSchedule:
    """Linear warm-up from zero, then a cosine down to almost zero.

    The peak is `base_learning_rate * batch_size / 256`. The rate changes with
    every step.

    Args:
        base_learning_rate: the peak at a batch of 256.
        batch_size: examples behind one step of the optimizer: over all
            devices, and all accumulated batches.
        steps_per_epoch: calls of the optimizer an epoch; with gradient
            accumulation all calls count, as the optimizer counts them.
        epochs: length of the training, warm-up included.
        warmup_epochs: length of the warm-up.
        final_fraction: what is left of the peak at the end.

    Returns:
        A `keras.optimizers.schedules.CosineDecay`.

    Raises:
        ValueError: if the warm-up does not leave a step for the rest, or a
            number is not positive.

    Example:

    >>> schedule = warmup_cosine(0.2, 2048, steps_per_epoch=625, epochs=300)
    >>> [round(float(schedule(625 * epoch)), 4) for epoch in (0, 5, 10, 300)]
    [0.0, 0.8, 1.6, 0.0016]
    """
    for name, value in (
        ("base_learning_rate", base_learning_rate),
        ("batch_size", batch_size),
        ("steps_per_epoch", steps_per_epoch),
        ("epochs", epochs),
    ):
        if not value > 0:
            raise ValueError(f"`{name}` must be positive; received {value}.")
    peak = base_learning_rate * batch_size / 256
    warmup = round(warmup_epochs * steps_per_epoch)
    steps = round(epochs * steps_per_epoch)
    if not 0 <= warmup < steps:
        raise ValueError(
            f"A warm-up of {warmup_epochs} epochs does not fit into a training "
            f"of {epochs} epochs of {steps_per_epoch} steps; choose "
            "`warmup_epochs` from 0 to less than `epochs`."
        )
    if warmup == 0:
        return keras.optimizers.schedules.CosineDecay(
            peak, steps, alpha=final_fraction
        )
    return keras.optimizers.schedules.CosineDecay(
        0.0,
        steps - warmup,
        alpha=final_fraction,
        warmup_target=peak,
        warmup_steps=warmup,
    )


@keras.saving.register_keras_serializable(package="keras_vicregl")
class WarmupPolynomial(keras.optimizers.schedules.LearningRateSchedule):
    """A polynomial down to an end, multiplied by a linear warm-up from zero.

    At step t: `min(t / warmup_steps, 1) * (end + (peak - end) * (1 - t /
    steps) ** power)`, with t at most `steps`. It is the schedule of
    segmentation, where the polynomial begins at step 0 and not after the
    warm-up.

    Args:
        peak: learning rate of the polynomial at step 0.
        steps: length of the training, warm-up included.
        power: of the polynomial.
        end: learning rate at the end.
        warmup_steps: length of the warm-up; 0 leaves it out.

    Raises:
        ValueError: if a number is out of range, or the warm-up does not leave a
            step for the rest.

    Example:

    >>> schedule = WarmupPolynomial(0.5, steps=100, power=1.0, warmup_steps=20)
    >>> [round(float(schedule(step)), 4) for step in (0, 10, 20, 50, 100)]
    [0.0, 0.225, 0.4, 0.25, 0.0]
    """

    def __init__(
        self,
        peak: float,
        steps: int,
        power: float = 1.0,
        end: float = 0.0,
        warmup_steps: int = 0,
    ) -> None:
        super().__init__()
        for name, value in (("peak", peak), ("steps", steps), ("power", power)):
            if not value > 0:
                raise ValueError(
                    f"`{name}` must be positive; received {value}."
                )
        if not 0 <= end <= peak:
            raise ValueError(
                f"`end` must be between 0 and peak={peak}; received {end}."
            )
        if not 0 <= warmup_steps < steps:
            raise ValueError(
                f"`warmup_steps` must be at least 0 and less than steps={steps}"
                f"; received {warmup_steps}."
            )
        self.peak = peak
        self.steps = steps
        self.power = power
        self.end = end
        self.warmup_steps = warmup_steps
        self._polynomial = keras.optimizers.schedules.PolynomialDecay(
            peak, steps, end_learning_rate=end, power=power
        )

    def __call__(self, step: Any) -> Any:
        """The learning rate of a step, a scalar."""
        rate = self._polynomial(step)
        if self.warmup_steps == 0:
            return rate
        step = ops.cast(step, rate.dtype)
        return rate * ops.minimum(step / self.warmup_steps, 1.0)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {
            "peak": self.peak,
            "steps": self.steps,
            "power": self.power,
            "end": self.end,
            "warmup_steps": self.warmup_steps,
        }
