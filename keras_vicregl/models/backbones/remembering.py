"""Models of Keras' own classes, whose files tell how images are normalised.

The classes have the names of those that they are made of: a run that began with
one of these goes on with the other.
"""

from __future__ import annotations

from typing import Any

import keras
from keras.src.models.functional import Functional as KerasFunctional

from keras_vicregl.views.normalization import Normalization


class _Remembers:
    """A model with a `normalization` in its configuration."""

    _normalization: Normalization | None = None

    @property
    def normalization(self) -> Normalization | None:
        """See `PyramidBackbone.normalization`."""
        return self._normalization

    def get_config(self) -> dict[str, Any]:
        """Returns the model's own, and the normalization."""
        config = super().get_config()  # type: ignore[misc]
        if self._normalization is not None:
            config["normalization"] = self._normalization.as_config()
        return config

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: Any = None
    ) -> Any:
        """Builds the model."""
        config = dict(config)
        parts = config.pop("normalization", None)
        model = super().from_config(  # type: ignore[misc]
            config, custom_objects=custom_objects
        )
        if parts is not None:
            model._normalization = Normalization.from_config(parts)
        return model


@keras.saving.register_keras_serializable(package="keras_vicregl")
class Functional(_Remembers, KerasFunctional):
    """A functional model that remembers."""


@keras.saving.register_keras_serializable(package="keras_vicregl")
class Sequential(_Remembers, keras.Sequential):
    """A sequential model that remembers."""


_CLASSES = {
    KerasFunctional: Functional,
    keras.Sequential: Sequential,
}


def make_remember(model: keras.Model) -> bool:
    """Whether a model's file tells its normalization from now on.

    A model of one of Keras' own classes becomes one of a class of this package,
    in place: it stays the same object, with the same layers and weights. Of
    other classes nothing is known.
    """
    if type(model) in _CLASSES:
        model.__class__ = _CLASSES[type(model)]
    return isinstance(getattr(type(model), "normalization", None), property)
