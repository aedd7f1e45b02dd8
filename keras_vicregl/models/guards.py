"""Callbacks that notice a run which has gone wrong."""

import math
import warnings
from typing import Any

import keras

from keras_vicregl.distribution.processes import process_count
from keras_vicregl.models.plumbing import feature_channels


class StopOnNonFinite(keras.callbacks.Callback):
    """Raises when the loss or one of its terms is not finite.

    `VICRegL.fit` adds it by itself. Unlike `keras.callbacks.TerminateOnNaN` it
    says which terms are concerned, and ends with an error, so that no script
    goes on to save what is left.

    It costs no time: under JAX and PyTorch, Keras reads the numbers of a step
    in another thread, while the next steps run, as long as all callbacks let
    it. The error may then come a few steps late, but names the step. (Under
    TensorFlow, and of several processes, Keras waits for the numbers of each
    step.)

    Args:
        first_batch: where in its first epoch training begins, for the message.

    Raises:
        FloatingPointError: after a batch with a NaN or infinite log.

    Example:

    >>> import numpy as np
    >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    >>> model.compile("sgd", "mse")
    >>> x, guard = np.full((4, 1), np.inf), StopOnNonFinite()
    >>> model.fit(x, x, callbacks=[guard], verbose=0)
    Traceback (most recent call last):
    ...
    FloatingPointError: loss not finite in epoch 1, batch 1 (learning ...
    """

    # Keras may call `on_train_batch_end` in another thread.
    async_safe = True

    def __init__(self, first_batch: int = 0) -> None:
        super().__init__()
        self._first_batch = first_batch
        self._epoch = None
        self._found: tuple[int, int, list[str]] | None = None

    def set_model(self, model: Any) -> None:
        """Has each step looked at, where several processes must stop alike."""
        super().set_model(model)
        if process_count(model) > 1:
            self.async_safe = False

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Remembers where training is, for the message."""
        if self._epoch is not None:
            self._first_batch = 0
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Looks at the logs of a batch; touches no model, for its thread."""
        broken = [
            name
            for name, value in (logs or {}).items()
            if not math.isfinite(float(value))
        ]
        found = self._found
        if broken and (found is None or batch < found[0]):
            self._found = batch, self._epoch, broken

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Stops before the next step."""
        self._stop_if_found()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Stops before anything is saved."""
        self._stop_if_found()

    def _stop_if_found(self) -> None:
        if self._found is None:
            return
        batch, epoch, broken = self._found
        self._found = None
        rate = float(
            keras.ops.convert_to_numpy(self.model.optimizer.learning_rate)
        )
        raise FloatingPointError(
            f"{', '.join(broken)} not finite in epoch {epoch + 1}, batch "
            f"{self._first_batch + batch + 1} (learning rate {rate:g}). The "
            "weights may hold NaN as well: go back to a checkpoint. Usual "
            "causes are non-finite pixels, too high a learning rate, or "
            "float16 without loss scaling."
        )


class WarnOnCollapse(keras.callbacks.Callback):
    """Warns when the collapse monitors say that all images look alike.

    It looks, once an epoch, at the means of the monitors of `VICRegL`:

    - `repr_std` and `emb_std`, the standard deviations of vectors of unit
      length. Vectors in all directions of D dimensions have 1 / sqrt(D); less
      than `min_spread` of that means that images hardly change them.
    - `repr_corr` and `emb_corr`, the mean correlation between channels, near 0
      where channels tell different things. Above `max_correlation` most of
      them tell the same.

    On digit scenes, embeddings of healthy trainings had a spread of 0.28 (layer
    normalisation) to 0.86 (batch normalisation). With the invariance terms
    alone it fell to 0.005 within an epoch; batch normalisation, which pulls
    vectors apart whatever they are, kept it at 0.2, and there the terms
    `var` and `cov` have to tell. No correlation was above 0.2. Networks are not
    judged at the beginning, when they are random, but after `grace` epochs,
    and a single bad epoch, as after a jump of the loss, is forgiven.

    Args:
        min_spread: lowest spread that is well, as a fraction of 1 / sqrt(D).
        max_correlation: highest mean correlation that is well.
        grace: first epochs, which are not judged.

    Raises:
        ValueError: if an argument is outside what it may be.

    Example:

    ```python
    model.fit(batches, epochs=100, callbacks=[WarnOnCollapse()])
    ```
    """

    def __init__(
        self,
        min_spread: float = 0.1,
        max_correlation: float = 0.5,
        grace: int = 1,
    ) -> None:
        super().__init__()
        if not (0 < min_spread < 1 and 0 < max_correlation < 1 and grace >= 0):
            raise ValueError(
                "`min_spread` and `max_correlation` must be between 0 and 1 "
                f"and `grace` 0 or more; received {min_spread}, "
                f"{max_correlation} and {grace}."
            )
        self.min_spread = min_spread
        self.max_correlation = max_correlation
        self.grace = grace
        self._bad_epochs = 0

    def get_state(self) -> dict[str, Any]:
        """What a checkpoint keeps of it."""
        return {"bad_epochs": self._bad_epochs}

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes on from a checkpoint."""
        self._bad_epochs = state["bad_epochs"]

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Judges an epoch; warns after the second bad one in a row."""
        signs = self._signs(logs or {}) if epoch >= self.grace else []
        self._bad_epochs = self._bad_epochs + 1 if signs else 0
        if self._bad_epochs == 2:
            warnings.warn(
                f"The network seems to collapse (epoch {epoch + 1}): "
                f"{'; '.join(signs)}. Usual causes are too high a learning "
                "rate, and coefficients of variance and covariance that are "
                "too low beside that of invariance.",
                RuntimeWarning,
                stacklevel=2,
            )

    def _signs(self, logs: dict[str, float]) -> list[str]:
        channels = {
            "repr": lambda: feature_channels(self.model.backbone),
            "emb": lambda: self.model.expander_units[-1],
        }
        signs = []
        for kind, size in channels.items():
            if f"{kind}_std" not in logs:
                continue
            spread = logs[f"{kind}_std"] * math.sqrt(size())
            correlation = logs[f"{kind}_corr"]
            if spread < self.min_spread:
                signs.append(
                    f"{kind}_std is {spread:.2g} of what spread vectors have "
                    f"(at least {self.min_spread} is expected)"
                )
            if correlation > self.max_correlation:
                signs.append(
                    f"{kind}_corr is {correlation:.2g} (at most "
                    f"{self.max_correlation} is expected)"
                )
        return signs
