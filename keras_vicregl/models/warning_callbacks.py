"""Callbacks that warn of a training which is not what it should be."""

import math
import warnings
from typing import Any

import keras

from keras_vicregl._warnings import warn
from keras_vicregl.models.guards import StopOnNonFinite
from keras_vicregl.models.plumbing import feature_channels

# Of what moving averages began with, after a training that was long enough.
_LEFT = 0.1


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


class WarnOnSlowNorms(keras.callbacks.Callback):
    """Warns before training when batch norms are too slow for it.

    In inference mode, in which every evaluation and export has a backbone,
    batch normalisation uses moving averages. With a momentum m they still hold
    m^n of what they began with after n steps: 0.96 with the 0.999 of some of
    `keras.applications` and 44 steps. Where more than a tenth is left, the
    backbone in inference mode is not what was trained, and may give the same
    features for all images.

    `VICRegL.fit` adds it by itself, together with `StopOnNonFinite`.

    Args:
        steps: of the whole training. Default: those of `fit`, and those that
            the optimizer has done before.

    Example:

    ```python
    model.fit(batches, epochs=2, callbacks=[WarnOnSlowNorms()])
    ```
    """

    # It waits for no batch.
    async_safe = True

    def __init__(self, steps: int | None = None) -> None:
        super().__init__()
        self._steps = steps
        self._is_said = False

    def on_train_begin(self, logs: Any = None) -> None:
        """Compares momentum and number of steps."""
        steps = self._steps or self._steps_of_fit()
        if steps is None or self._is_said:
            return
        backbone: Any = getattr(self.model, "backbone", self.model)
        slow = [
            layer.momentum
            for layer in backbone._flatten_layers()
            if isinstance(layer, keras.layers.BatchNormalization)
            and layer.trainable
            and layer.momentum**steps > _LEFT
        ]
        if not slow:
            return
        self._is_said = True
        momentum = max(slow)
        quick = min(0.9, math.floor(100 * _LEFT ** (1 / steps)) / 100)
        warn(
            (
                f"1 batch normalisation of {backbone.name!r} has a"
                if len(slow) == 1
                else f"{len(slow)} batch normalisations of {backbone.name!r} "
                "have a"
            )
            + f" momentum of up to {momentum:g}: after the {_steps(steps)} of "
            f"this training, {momentum:g}**{steps} = {momentum**steps:.2g} of "
            "what their moving averages began with is left, and in inference "
            "mode, in which it is evaluated and exported, the backbone is not "
            "what was trained. Give them a lower one, "
            f"as_backbone(model, batch_norm_momentum={quick:g})"
            + _or_more_steps(momentum)
        )

    def _steps_of_fit(self) -> int | None:
        steps, epochs = self.params.get("steps"), self.params.get("epochs")
        if not steps or not epochs:
            return None
        done = keras.ops.convert_to_numpy(self.model.optimizer.iterations)
        return int(done) + steps * epochs


class FitGuard(StopOnNonFinite):
    """What `VICRegL.fit` adds: `StopOnNonFinite`, after `WarnOnSlowNorms`."""

    def on_train_begin(self, logs: Any = None) -> None:
        """Compares momentum and number of steps."""
        slow = WarnOnSlowNorms()
        slow.set_params(self.params)
        slow.set_model(self.model)
        slow.on_train_begin()


def _or_more_steps(momentum: float) -> str:
    if momentum >= 1:
        return "."
    steps = math.ceil(math.log(_LEFT) / math.log(momentum))
    return f", or train for {_steps(steps)}."


def _steps(count: int) -> str:
    return f"{count} step{'' if count == 1 else 's'}"
