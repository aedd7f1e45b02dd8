"""Pictures of what a model learns; needs matplotlib.

In come models, batches, features and logs, out go plain matplotlib figures,
800 pixels wide unless they say otherwise; `save` writes them to files.
Trainings use it; it stands on models and logs.
"""

from keras_vicregl.visualization._figures import save
from keras_vicregl.visualization.ablation import plot_ablation
from keras_vicregl.visualization.bands import band_colors
from keras_vicregl.visualization.callbacks import FigureCallback
from keras_vicregl.visualization.curves import plot_curves, read_histories
from keras_vicregl.visualization.detection import plot_boxes
from keras_vicregl.visualization.embeddings import (
    plot_embeddings,
    project_embeddings,
)
from keras_vicregl.visualization.features import (
    feature_map_colors,
    plot_feature_maps,
)
from keras_vicregl.visualization.label_curve import plot_label_curve
from keras_vicregl.visualization.matches.distances import plot_match_distances
from keras_vicregl.visualization.matches.finding import (
    Matches,
    Pairs,
    find_matches,
)
from keras_vicregl.visualization.matches.pictures import (
    plot_match_criteria,
    plot_matches,
)
from keras_vicregl.visualization.palette import class_colors
from keras_vicregl.visualization.segmentation import (
    plot_segmentations,
    segmentation_colors,
)

__all__ = [
    "FigureCallback",
    "Matches",
    "Pairs",
    "band_colors",
    "class_colors",
    "feature_map_colors",
    "find_matches",
    "plot_ablation",
    "plot_boxes",
    "plot_curves",
    "plot_embeddings",
    "plot_feature_maps",
    "plot_label_curve",
    "plot_match_criteria",
    "plot_match_distances",
    "plot_matches",
    "plot_segmentations",
    "project_embeddings",
    "read_histories",
    "save",
    "segmentation_colors",
]
