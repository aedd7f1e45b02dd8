"""Nearest neighbours and the choice of the closest pairs."""

import backend_tools
import figures
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from keras_vicregl.losses import (
    closest,
    feature_distances,
    location_distances,
    match,
    nearest,
)


@pytest.mark.parametrize(
    ("name", "pairs"),
    [
        ("a_2v_default", {0: (0, 1), 1: (1, 0)}),
        ("b_2p6_default", {0: (0, 1), 3: (0, 4), 13: (1, 7)}),
        ("c_B_lt_D", {0: (0, 1)}),
        ("d_2v_l2topk_20_4", {0: (0, 1), 1: (1, 0)}),
        ("f_flip", {0: (0, 1)}),
    ],
)
def test_matches_of_the_release(name, pairs):
    case = figures.load(name)
    for number, (i, j) in pairs.items():
        searches = case.matches[4 * number : 4 * number + 4]
        maps = [case.maps[i], case.maps[j]]
        places = [case.positions[i], case.positions[j]]

        def function(a, b, p, q, searches=searches):
            counts = [queries.shape[1] for queries, _ in searches]
            return [
                match(feature_distances(a, b), counts[0])[:2],
                match(feature_distances(b, a), counts[1])[:2],
                match(location_distances(p, q), counts[2])[:2],
                match(location_distances(q, p), counts[3])[:2],
            ]

        found = backend_tools.value(function, [*maps, *places])
        for (queries, neighbors), expected in zip(found, searches, strict=True):
            np.testing.assert_array_equal(queries, expected[0])
            np.testing.assert_array_equal(neighbors, expected[1])


def choose(distances, k):
    """The definition, for one sample: ties go to the lowest index."""
    neighbors = [list(row).index(min(row)) for row in distances]
    values = [min(row) for row in distances]
    ranked = sorted(
        range(len(values)), key=lambda query: (values[query], query)
    )
    queries = sorted(ranked[:k])
    return (
        queries,
        [neighbors[query] for query in queries],
        [values[query] for query in queries],
    )


@settings(max_examples=6 if backend_tools.BACKEND == "jax" else 25)
@given(
    seed=st.integers(0, 2**32 - 1),
    # 300 is past what sorting networks and insertion sorts handle stably by
    # themselves; six values among so many tie almost everywhere.
    shape=st.sampled_from(((3, 1, 4), (2, 49, 49), (1, 300, 9))),
    k=st.sampled_from((None, 1, 4, 20, 49, 1000)),
    compiled=st.sampled_from(backend_tools.MODES),
)
def test_ties_go_to_the_lowest_index(seed, shape, k, compiled):
    rng = np.random.default_rng(seed)
    distances = rng.integers(0, 6, size=shape).astype(np.float32)
    queries, neighbors, values = backend_tools.value(
        lambda d: match(d, k), [distances], compiled
    )
    expected = [choose(sample, k) for sample in distances]
    np.testing.assert_array_equal(queries, [e[0] for e in expected])
    np.testing.assert_array_equal(neighbors, [e[1] for e in expected])
    np.testing.assert_array_equal(values, [e[2] for e in expected])


def test_leading_axes_and_parts():
    distances = np.random.default_rng(0).random((2, 3, 5, 4), np.float32)
    neighbors, values = backend_tools.value(nearest, [distances])
    np.testing.assert_array_equal(neighbors, distances.argmin(-1))
    np.testing.assert_array_equal(values, distances.min(-1))
    chosen = backend_tools.value(lambda v: closest(v, 3), [values])
    np.testing.assert_array_equal(
        chosen, np.sort(np.argsort(values, axis=-1)[..., :3], axis=-1)
    )


def test_distances_are_squared():
    rng = np.random.default_rng(1)
    a = rng.normal(size=(2, 5, 7)).astype(np.float32)
    b = rng.normal(size=(2, 3, 7)).astype(np.float32)
    expected = np.sum(
        (a[:, :, None].astype(np.float64) - b[:, None]) ** 2, axis=-1
    )
    # Squares of about 7 are added and subtracted in float32.
    np.testing.assert_allclose(
        backend_tools.value(feature_distances, [a, b]), expected, atol=1e-5
    )
    np.testing.assert_allclose(
        backend_tools.value(location_distances, [a[..., :2], b[..., :2]]),
        np.sum(
            (a[:, :, None, :2].astype(np.float64) - b[:, None, :, :2]) ** 2,
            axis=-1,
        ),
        rtol=1e-6,
    )


def test_location_distances_are_exact_at_large_coordinates():
    # Thousands of pixels from the origin, sixteenths apart: exact in float32
    # as differences, lost in a product of coordinates.
    step = np.arange(16, dtype=np.float32)[:, None] / 16
    p = (4000.0 + step * [1.0, 0.0]).astype(np.float32)[None]
    q = (4000.0 + step * [0.0, 1.0]).astype(np.float32)[None]
    expected = step**2 + step[:, 0] ** 2
    actual = backend_tools.value(location_distances, [p, q])
    np.testing.assert_array_equal(actual[0], expected)


@pytest.mark.parametrize("distances", [feature_distances, location_distances])
def test_distances_are_constants(distances):
    rng = np.random.default_rng(2)
    points = [rng.normal(size=(2, 4, 2)).astype(np.float32) for _ in range(2)]

    def function(p, q):
        return ops.sum(match(distances(p, q), 2)[2])

    value, gradients = backend_tools.value_and_grad(function, points)
    assert value > 0
    for gradient in gradients:
        np.testing.assert_array_equal(gradient, 0.0)
