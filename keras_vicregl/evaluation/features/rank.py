"""How many dimensions features fill."""

import numpy as np

_EPSILON = 1e-7


def effective_rank(features: np.ndarray) -> float:
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
        features: (N, F), such as pooled features or embeddings.

    Returns:
        The effective rank, computed in float64.

    Raises:
        ValueError: If features have another shape, are empty or not finite.

    Example:

    >>> round(effective_rank(np.eye(4)), 3)
    4.0
    >>> round(effective_rank(np.ones((4, 4))), 3)
    1.0
    """
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
