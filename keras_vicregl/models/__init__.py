"""The VICRegL model, its heads and the backbones it trains.

In come batches of views, out go loss, terms and monitors, and after training a
backbone. It stands on losses, views and distribution; it knows neither data
nor files.
"""

from keras_vicregl.models.guards import NonFiniteStepError, StopOnNonFinite
from keras_vicregl.models.heads import expander
from keras_vicregl.models.monitors import collapse_monitors
from keras_vicregl.models.vicregl import VICRegL
from keras_vicregl.models.warning_callbacks import (
    WarnOnCollapse,
    WarnOnSlowNorms,
)

__all__ = [
    "NonFiniteStepError",
    "StopOnNonFinite",
    "VICRegL",
    "WarnOnCollapse",
    "WarnOnSlowNorms",
    "collapse_monitors",
    "expander",
]
