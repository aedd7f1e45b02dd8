"""How many dimensions features fill."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from keras_vicregl.data.sources.image_source import ImageSource
from keras_vicregl.evaluation.features.batches import Data
from keras_vicregl.evaluation.features.extraction import (
    Preprocess,
    extract_features,
    normalize_images,
    pooled_features,
)

_EPSILON = 1e-7


def effective_rank(
    features: Any,
    data: Data | ImageSource | None = None,
    *,
    size: int | None = None,
    resize: int | None = None,
    batch_size: int = 256,
    preprocess: Preprocess = normalize_images,
) -> float:
    """RankMe: a smooth count of the dimensions that features fill.

    With the singular values s of the features, exp(-sum p log p) of
    p = s / sum(s) + 1e-7: equations 1 and 2 of Garrido et al., "RankMe:
    Assessing the Downstream Performance of Pretrained Self-Supervised
    Representations by Their Rank" (ICML 2023). It needs no labels, falls to 1
    as a representation collapses, and is at most min(N, F), a little above
    which epsilon may put it. The features are not centred. Take several times
    as many examples as there are features, and the same number wherever figures
    are compared.

    Args:
        features: (N, F), such as pooled features or embeddings; or what
            `extract_features` returned, of which maps are pooled; or with
            `data` a backbone.
        data: Images, as for `extract_features`, of which the backbone's pooled
            features are taken. None: `features` are the features.
        size: As for `extract_features`, as are the other arguments.
        resize: See there.
        batch_size: See there.
        preprocess: See there.

    Returns:
        The effective rank, computed in float64.

    Raises:
        ValueError: If features have another shape, are empty or not finite;
            or as `extract_features`.

    Example:

    >>> round(effective_rank(np.eye(4)), 3)
    4.0
    >>> round(effective_rank(np.ones((4, 4))), 3)
    1.0
    """
    if data is not None:
        features = extract_features(
            features,
            data,
            size=size,
            resize=resize,
            pooled=True,
            batch_size=batch_size,
            preprocess=preprocess,
        )
    elif isinstance(features, keras.Model):
        raise ValueError(
            "data must be given with a backbone: the images of which the "
            f"effective rank is wanted. Received: {features!r} and data=None"
        )
    if isinstance(features, Mapping):
        if "features" not in features:
            raise ValueError(
                "features must be an array, what extract_features returned, or "
                "a backbone with data=images. Received a dictionary with the "
                f"keys {sorted(features)}"
            )
        features = pooled_features(np.asarray(features["features"]))
    features = np.asarray(features, np.float64)
    if features.ndim != 2 or not features.size:
        raise ValueError(
            "features must have the shape (N, F) and not be empty. Received: "
            f"shape {features.shape}"
        )
    if not np.isfinite(features).all():
        raise ValueError(
            "features must be finite. Received infinite or NaN values: has the "
            "training of their backbone diverged?"
        )
    values = np.linalg.svd(features, compute_uv=False)
    # All zero, they are no distribution: nothing is left but epsilon.
    total = values.sum() or 1.0
    shares = values / total + _EPSILON
    return float(np.exp(-np.sum(shares * np.log(shares))))
