"""Pictures of what a model learns; needs matplotlib."""

from keras_vicregl.visualization.curves import plot_curves
from keras_vicregl.visualization.features import (
    feature_map_colors,
    plot_feature_maps,
)
from keras_vicregl.visualization.matches import plot_matches

__all__ = [
    "feature_map_colors",
    "plot_curves",
    "plot_feature_maps",
    "plot_matches",
]
