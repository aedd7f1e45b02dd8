"""The VICRegL objective as pure functions on tensors of any backend.

In come embeddings and positions, out go the six terms. `statistics` and
`matching` are the parts, `criteria` the whole. It stands on
`distribution.collectives` alone; models and pictures use it.
"""

from keras_vicregl.losses.criteria import (
    global_criterion,
    local_criterion,
    vicregl_loss,
)
from keras_vicregl.losses.matching import (
    closest,
    feature_distances,
    location_distances,
    match,
    nearest,
)
from keras_vicregl.losses.statistics import (
    covariance_loss,
    invariance_loss,
    variance_covariance,
    variance_loss,
)

__all__ = [
    "closest",
    "covariance_loss",
    "feature_distances",
    "global_criterion",
    "invariance_loss",
    "local_criterion",
    "location_distances",
    "match",
    "nearest",
    "variance_covariance",
    "variance_loss",
    "vicregl_loss",
]
