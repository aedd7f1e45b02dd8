"""The paper's learning-rate schedule, made of Keras' own."""

from __future__ import annotations

import keras


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
