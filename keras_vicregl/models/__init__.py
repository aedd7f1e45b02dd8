"""The VICRegL model, its heads and the backbones it trains.

In come batches of views, out go loss, terms and monitors, and after training a
backbone. It stands on losses, views and distribution; it knows neither data
nor files.
"""

from keras_vicregl.models.guards import StopOnNonFinite, WarnOnCollapse
from keras_vicregl.models.heads import expander
from keras_vicregl.models.monitors import collapse_monitors
from keras_vicregl.models.vicregl import VICRegL

__all__ = [
    "StopOnNonFinite",
    "VICRegL",
    "WarnOnCollapse",
    "collapse_monitors",
    "expander",
]
