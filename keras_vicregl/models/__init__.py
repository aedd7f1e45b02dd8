"""The VICRegL model, its heads and the backbones it trains."""

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
