"""The objective of VICRegL in float64 NumPy, written from its definition.

An independent reading to test `keras_vicregl.losses` against: loops over
pairs, samples and slots, full covariance matrices, nothing shared between
terms. Slow on purpose. Only the choice of matches is done as the library
must do it, on float32 coordinate differences, because it is discrete.
"""

import dataclasses
import itertools

import numpy as np


@dataclasses.dataclass(frozen=True)
class Match:
    """One search: queries of one view and their neighbours in another.

    `queries` and `neighbors` are (B, K) indices into the maps, queries in
    raster order; `kept` (B, K) is false for pairs that `max_distance` drops.
    `margin` is how far the closest rival was: the least gap between squared
    distances at which the choice would have been another, exact ties aside.
    """

    criterion: str
    query_view: int
    key_view: int
    queries: np.ndarray
    neighbors: np.ndarray
    kept: np.ndarray
    margin: float


def ordered_pairs(num_views):
    """The pairs (i, j): i one of the two large views, j any other view."""
    return [(i, j) for i in (0, 1) for j in range(num_views) if j != i]


# Matching


def squared_distances(queries, keys, dtype):
    """(S, T) squared distances from differences formed in `dtype`."""
    queries = np.asarray(queries, dtype)
    keys = np.asarray(keys, dtype)
    total = np.zeros((len(queries), len(keys)), dtype)
    for channel in range(queries.shape[1]):
        difference = queries[:, channel, None] - keys[None, :, channel]
        total = total + difference * difference
    return total


def choose(distances, count):
    """The `count` closest (query, nearest neighbour) pairs of one sample.

    Returns the queries in raster order, their neighbours, and the margin.
    """
    queries = len(distances)
    count = queries if count is None else min(count, queries)
    neighbor = np.array([int(np.argmin(row)) for row in distances])
    least = distances[np.arange(queries), neighbor].astype(np.float64)
    by_distance = sorted(range(queries), key=lambda q: (least[q], q))
    chosen = sorted(by_distance[:count])

    gaps = [np.inf]
    for query in chosen:
        gaps.extend(distances[query].astype(np.float64) - least[query])
    if count < queries:
        gaps.append(least[by_distance[count]] - least[by_distance[count - 1]])
    gaps = np.array(gaps)
    margin = gaps[gaps > 0].min()
    return chosen, neighbor[chosen], margin


def search(criterion, query_view, key_view, points, count, max_distance):
    """Matches from one view to another, for every sample of the batch."""
    dtype = np.float32 if criterion == "location" else np.float64
    batch = len(points[query_view])
    queries, neighbors, kept, margins = [], [], [], []
    for b in range(batch):
        distances = squared_distances(
            points[query_view][b], points[key_view][b], dtype
        )
        chosen, neighbor, margin = choose(distances, count)
        queries.append(chosen)
        neighbors.append(neighbor)
        margins.append(margin)
        if criterion == "location" and max_distance is not None:
            limit = np.broadcast_to(max_distance, (batch,))[b]
            kept.append(np.sqrt(distances[chosen, neighbor]) <= limit)
        else:
            kept.append(np.ones(len(chosen), bool))
    return Match(
        criterion,
        query_view,
        key_view,
        np.array(queries),
        np.array(neighbors),
        np.array(kept),
        min(margins),
    )


def count_for(counts, match_counts, pair, view):
    """How many matches to keep of the queries from `view` of `pair`."""
    if counts is None or isinstance(counts, int):
        return counts
    if match_counts == "by_pair":
        return counts[0] if view == pair[0] else counts[1]
    return counts[0] if view in (0, 1) else counts[1]


def find_matches(
    maps,
    positions,
    *,
    num_matches=(20, 4),
    match_counts="by_pair",
    feature_matches=None,
    local_criteria=("location", "feature"),
    max_distance=None,
):
    """Every search of every ordered pair.

    In the order: feature i->j, feature j->i, location i->j, location j->i,
    for one pair after the other.
    """
    matches = []
    for i, j in ordered_pairs(len(maps)):
        for criterion, points, counts in (
            ("feature", maps, feature_matches),
            ("location", positions, num_matches),
        ):
            if criterion not in local_criteria:
                continue
            for query_view, key_view in ((i, j), (j, i)):
                count = count_for(counts, match_counts, (i, j), query_view)
                matches.append(
                    search(
                        criterion,
                        query_view,
                        key_view,
                        points,
                        count,
                        max_distance,
                    )
                )
    return matches


# Statistics


def covariance_matrix(x):
    """(C, C) covariance of x (n, C) over its n samples, unbiased."""
    centered = x - x.mean(axis=0)
    return centered.T @ centered / (len(x) - 1)


def variance_penalty(x, epsilon):
    """mean_d relu(1 - sqrt(var_d + epsilon)) of x (n, C)."""
    variance = np.diagonal(covariance_matrix(x))
    return np.mean(np.maximum(0.0, 1.0 - np.sqrt(variance + epsilon)))


def covariance_penalty(x):
    """sum_{d != e} C_de^2 / C of x (n, C)."""
    matrix = covariance_matrix(x)
    channels = len(matrix)
    total = 0.0
    for d, e in itertools.permutations(range(channels), 2):
        total += matrix[d, e] ** 2
    return total / channels


def over_slots(penalty, x, kept):
    """Mean of `penalty` over the slots of x (B, K, C) that count.

    A slot's samples are its kept ones; it counts if there are two or more.
    """
    values = [
        penalty(x[kept[:, slot], slot])
        for slot in range(x.shape[1])
        if kept[:, slot].sum() >= 2
    ]
    return np.mean(values) if values else 0.0


# Criteria


def global_terms(embeddings, epsilon=1e-4):
    """Invariance, variance and covariance of V embeddings (B, D)."""
    embeddings = [np.asarray(z, np.float64) for z in embeddings]
    pairs = ordered_pairs(len(embeddings))
    return {
        "inv": np.mean(
            [np.mean((embeddings[i] - embeddings[j]) ** 2) for i, j in pairs]
        ),
        "var": np.mean([variance_penalty(z, epsilon) for z in embeddings]),
        "cov": np.mean([covariance_penalty(z) for z in embeddings]),
    }


def match_terms(match, maps, epsilon):
    """The three terms of one search."""
    batch = np.arange(len(match.queries))[:, None]
    x = maps[match.query_view][batch, match.queries]
    y = maps[match.key_view][batch, match.neighbors]
    kept = match.kept
    error = np.sum((x - y) ** 2, axis=-1)

    def variance(samples):
        return variance_penalty(samples, epsilon)

    return {
        "local_inv": error[kept].sum() / (x.shape[-1] * max(1, kept.sum())),
        "local_var": 0.5 * over_slots(variance, x, kept)
        + 0.5 * over_slots(variance, y, kept),
        "local_cov": 0.5 * over_slots(covariance_penalty, x, kept)
        + 0.5 * over_slots(covariance_penalty, y, kept),
    }


def map_terms(maps, epsilon):
    """Variance and covariance once per view, on whole maps, per slot."""
    variances, covariances = [], []
    for x in maps:
        slots = [x[:, slot] for slot in range(x.shape[1])]
        variances.append(np.mean([variance_penalty(s, epsilon) for s in slots]))
        covariances.append(np.mean([covariance_penalty(s) for s in slots]))
    return {"local_var": np.mean(variances), "local_cov": np.mean(covariances)}


def local_terms(maps, matches, regularize="matches", epsilon=1e-4):
    """Invariance, variance and covariance of V maps (B, S_v, C).

    Both directions of a pair count a half, the two criteria are added, and
    the pairs averaged. Without any search there is no local criterion.
    """
    maps = [np.asarray(m, np.float64) for m in maps]
    terms = dict.fromkeys(("local_inv", "local_var", "local_cov"), 0.0)
    num_pairs = len(ordered_pairs(len(maps)))
    for match in matches:
        for name, value in match_terms(match, maps, epsilon).items():
            terms[name] += 0.5 * value / num_pairs
    if regularize == "maps" and matches:
        terms.update(map_terms(maps, epsilon))
    return terms


def vicregl(
    embeddings,
    maps,
    positions,
    *,
    alpha=0.75,
    regularize="matches",
    invariance_coefficient=25.0,
    variance_coefficient=25.0,
    covariance_coefficient=1.0,
    epsilon=1e-4,
    matches=None,
    **matching,
):
    """All terms, the total under "loss", and the list of matches.

    `matches` fixes the choice of pairs (for differentiation: the objective
    has no gradient through it); it is found from the inputs otherwise.
    """
    terms = {}
    if alpha > 0:
        terms.update(global_terms(embeddings, epsilon))
    if alpha < 1:
        if matches is None:
            matches = find_matches(maps, positions, **matching)
        terms.update(local_terms(maps, matches, regularize, epsilon))
    coefficients = {
        "inv": invariance_coefficient,
        "var": variance_coefficient,
        "cov": covariance_coefficient,
    }
    terms = {
        name: coefficients[name[-3:]] * value for name, value in terms.items()
    }
    terms["loss"] = sum(
        ((1 - alpha) if name.startswith("local_") else alpha) * value
        for name, value in terms.items()
    )
    return terms, matches or []


# Differentiation


def directional_derivative(function, arrays, directions, step=1e-4):
    """Derivative of a scalar function of a list of arrays, along `directions`.

    Central differences of fourth order: with this step and unit-sized numbers
    they are within 1e-9 of the derivative, unless a hinge is crossed.
    """

    def along(steps):
        moved = [
            np.asarray(array, np.float64) + steps * step * direction
            for array, direction in zip(arrays, directions, strict=True)
        ]
        return function(moved)

    near = 8 * (along(1) - along(-1))
    return (near - (along(2) - along(-2))) / (12 * step)
