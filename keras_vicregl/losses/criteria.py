"""The global and the local criterion over the views of a batch.

The pure functions that make up the objective; how the local terms are summed
over pairs of views, and cheaply, is in `_local_terms.py`.
"""

from collections.abc import Sequence
from typing import Any, cast

from keras import ops

from keras_vicregl.distribution.collectives import replica_mean
from keras_vicregl.losses._local_terms import LocalTerms
from keras_vicregl.losses.arguments import (
    LocalOptions,
    check_alpha,
    check_embeddings,
    check_local_inputs,
)
from keras_vicregl.losses.statistics import (
    EPSILON,
    float32,
    mean_squared_error,
    variance_covariance,
)


def vicregl_loss(
    embeddings: Sequence[Any] | None,
    local_embeddings: Sequence[Any] | None = None,
    positions: Sequence[Any] | None = None,
    *,
    alpha: float = 0.75,
    invariance_coefficient: float = 25.0,
    variance_coefficient: float = 25.0,
    covariance_coefficient: float = 1.0,
    epsilon: float = EPSILON,
    **local_options: Any,
) -> dict[str, Any]:
    """The VICRegL objective (equation 5 of the paper).

    `loss = alpha * (inv + var + cov)
    + (1 - alpha) * (local_inv + local_var + local_cov)`

    Args:
        embeddings: V tensors `(B, D)`, one a view; views 0 and 1 are the large
            ones. Not looked at when `alpha` is 0.
        local_embeddings: V tensors `(B, S_v, C)`, positions in raster order.
            Not looked at when `alpha` is 1.
        positions: V tensors `(B, S_v, 2)`, the places of the local embeddings
            in the source image, in pixels. Needed by the location criterion.
        alpha: weight of the global criterion, in [0, 1]; 1 is VICReg.
        invariance_coefficient: weight of the invariance terms.
        variance_coefficient: weight of the variance terms.
        covariance_coefficient: weight of the covariance terms.
        epsilon: added to variances before the root.
        **local_options: `num_matches` to `regularize` of `local_criterion`.

    Returns:
        A dictionary of float32 scalars: `loss`, and the terms with their
        coefficients but without `alpha`: `inv`, `var`, `cov` (unless `alpha` is
        0) and `local_inv`, `local_var`, `local_cov` (unless `alpha` is 1).

    Raises:
        ValueError: on arguments or shapes that do not fit.

    Example:

    >>> import numpy as np
    >>> same = [np.ones((4, 8))] * 2
    >>> terms = vicregl_loss(same, alpha=1.0)  # collapsed
    >>> round(float(terms["loss"]), 2)
    24.75
    """
    check_alpha(alpha)
    coefficients: dict[str, Any] = {
        "invariance_coefficient": invariance_coefficient,
        "variance_coefficient": variance_coefficient,
        "covariance_coefficient": covariance_coefficient,
        "epsilon": epsilon,
    }
    LocalOptions(**local_options)  # wrong ones are errors at alpha = 1 too
    terms, loss = {}, 0.0
    if alpha > 0:
        terms.update(
            global_criterion(cast("Sequence[Any]", embeddings), **coefficients)
        )
        loss = loss + alpha * (terms["inv"] + terms["var"] + terms["cov"])
    if alpha < 1:
        local = local_criterion(
            cast("Sequence[Any]", local_embeddings),
            positions,
            **coefficients,
            **local_options,
        )
        terms.update(local)
        loss = loss + (1.0 - alpha) * sum(local.values())
    return {"loss": loss, **terms}


def global_criterion(
    embeddings: Sequence[Any],
    *,
    invariance_coefficient: float = 25.0,
    variance_coefficient: float = 25.0,
    covariance_coefficient: float = 1.0,
    epsilon: float = EPSILON,
) -> dict[str, Any]:
    """The VICReg criterion on global embeddings (equation 1 of the paper).

    Args:
        embeddings: V tensors `(B, D)`, one a view; views 0 and 1 are compared
            with each other and with every further view.
        invariance_coefficient: weight of `inv`.
        variance_coefficient: weight of `var`.
        covariance_coefficient: weight of `cov`.
        epsilon: added to variances before the root.

    Returns:
        `{"inv", "var", "cov"}`, float32 scalars with coefficients: the mean
        over ordered pairs of views of their mean squared error, and the means
        over views of the variance and covariance penalties.

    Raises:
        ValueError: if there are fewer than two views, or the shapes differ.
    """
    check_embeddings(embeddings)
    z = ops.stack([float32(view) for view in embeddings])
    views = len(embeddings)
    # Against all views at once; a view's error against itself is zero.
    errors = mean_squared_error(z, z[0]) + mean_squared_error(z, z[1])
    errors = replica_mean(errors)
    variance, covariance = variance_covariance(z, epsilon=epsilon)
    return {
        "inv": invariance_coefficient * errors * (views / (2 * (views - 1))),
        "var": variance_coefficient * ops.mean(variance),
        "cov": covariance_coefficient * ops.mean(covariance),
    }


def local_criterion(
    local_embeddings: Sequence[Any],
    positions: Sequence[Any] | None = None,
    *,
    num_matches: Any = (20, 4),
    match_counts: str = "by_pair",
    feature_matches: Any = None,
    local_criteria: Sequence[str] = ("location", "feature"),
    max_distance: Any = None,
    regularize: str = "matches",
    invariance_coefficient: float = 25.0,
    variance_coefficient: float = 25.0,
    covariance_coefficient: float = 1.0,
    epsilon: float = EPSILON,
) -> dict[str, Any]:
    """The VICReg criterion on matched local embeddings (equations 2 to 4).

    For each ordered pair of views (i, j), i in {0, 1}, each position of one
    view is paired with its nearest neighbour in the other, both ways: by
    distance between local embeddings (`"feature"`) and by distance in the
    source image (`"location"`). A set of pairs `x, y (B, K, C)` contributes
    `mse(x, y)` and the variance and covariance penalties of `x` and `y`, taken
    per slot over the batch.

    Args:
        local_embeddings: V tensors `(B, S_v, C)`, positions in raster order.
        positions: V tensors `(B, S_v, 2)` in source pixels; may be `None` when
            `"location"` is not asked for.
        num_matches: how many of the location-based pairs are kept, the closest
            ones: `None` (all), a number, or a pair of these, see
            `match_counts`. More than a view's positions means all of them.
        match_counts: `"by_pair"`, as the authors' release does: the first count
            is for queries from the pair's first view, the second for its
            second. `"by_view"`, as the paper says: the first count is for
            queries from views 0 and 1, the second for the small views.
        feature_matches: the same for the feature-based pairs.
        local_criteria: which of `"location"` and `"feature"`; both are added
            (Table 3 of the paper). With none the terms are 0.
        max_distance: drops location-based pairs farther apart than this many
            source pixels, a number or a tensor `(B,)`. `None` drops none: of
            views that do not overlap the closest pairs are still matched.
        regularize: `"matches"`: variance and covariance of each set of pairs.
            `"maps"`: of each view's whole map, once.
        invariance_coefficient: weight of `local_inv`.
        variance_coefficient: weight of `local_var`.
        covariance_coefficient: weight of `local_cov`.
        epsilon: added to variances before the root.

    Returns:
        `{"local_inv", "local_var", "local_cov"}`, float32 scalars with
        coefficients.

    Raises:
        ValueError: on arguments or shapes that do not fit.
    """
    options = LocalOptions(
        num_matches=num_matches,
        match_counts=match_counts,
        feature_matches=feature_matches,
        local_criteria=local_criteria,
        max_distance=max_distance,
        regularize=regularize,
    )
    check_local_inputs(local_embeddings, positions, options)
    if options.local_criteria:
        terms = LocalTerms(local_embeddings, positions, options, epsilon)
        for pairs in terms.all_pairs():
            for criterion in options.local_criteria:
                terms.add_pairs(pairs, criterion)
        inv, var, cov = terms.totals()
    else:
        inv = var = cov = ops.zeros((), "float32")
    return {
        "local_inv": invariance_coefficient * inv,
        "local_var": variance_coefficient * var,
        "local_cov": covariance_coefficient * cov,
    }
