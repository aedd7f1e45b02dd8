"""The objective as a whole, against the authors' figures and the reference."""

import functools

import backend_tools
import figures
import keras
import ml_dtypes
import numpy as np
import problems
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_vicregl.losses import vicregl_loss

# float32 rounds to 6e-8; sums of up to 1e5 such numbers and the subtraction of
# the diagonal from the covariance leave about 1e-6 (the release's own float32
# is 1e-7 from its float64). One wrong match moves a term by 1e-5 to 1e-3, and
# a gradient by far more.
TOLERANCE = 1e-5


def objective(views, **options):
    """The loss as a function of V embeddings, then V maps, then V positions.

    Positions are arguments too: a compiler would fold constants away, slowly.
    """

    def function(*tensors):
        return vicregl_loss(
            tensors[:views],
            tensors[views : 2 * views] or None,
            tensors[2 * views :] or None,
            **options,
        )

    return function


def assert_terms(actual, expected, rtol=TOLERANCE, atol=0.0):
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        assert actual[name].dtype == np.float32, name
        assert actual[name].shape == (), name
        np.testing.assert_allclose(
            actual[name], value, rtol=rtol, atol=atol, err_msg=name
        )


# Figures of the authors' release


@functools.cache
def figures_objective(views, options):
    # One function for all cases with the same options: compiled once a shape.
    return objective(views, **dict(options))


@pytest.mark.parametrize(
    ("name", "compiled"),
    [(name, backend_tools.FASTEST) for name in figures.CASES]
    + [
        (name, not backend_tools.FASTEST)
        for name in ("a_2v_alpha1", "e_fast_2v")
        # JAX would compile each operation of the longer one by itself.
        if backend_tools.BACKEND == "tensorflow" or name == "a_2v_alpha1"
        if len(backend_tools.MODES) > 1
    ],
)
def test_authors_figures(name, compiled):
    case = figures.load(name)
    views = len(case.embeddings)
    arrays = [*case.embeddings]
    expected = case.embedding_gradients or [None] * views
    if case.options["alpha"] < 1:
        arrays += [*case.maps, *case.positions]
        expected = [*expected, *case.map_gradients]
        expected += [np.zeros_like(place) for place in case.positions]
    function = figures_objective(views, tuple(case.options.items()))
    terms, gradients = backend_tools.value_and_grad(function, arrays, compiled)

    # Where all embeddings are equal, inv and cov are zero.
    assert_terms(terms, case.terms, atol=1e-10)
    for actual, wanted in zip(gradients, expected, strict=True):
        if wanted is not None:
            assert backend_tools.relative_error(actual, wanted) < TOLERANCE


# The definition at random shapes


# Under JAX every example is compiled.
@settings(max_examples=5 if backend_tools.BACKEND == "jax" else 25)
@given(st.data())
def test_reference_at_random_shapes(data):
    problem = data.draw(problems.problems())
    batch = len(problem.embeddings[0])
    alpha = data.draw(st.sampled_from((0.3, 0.75, 0.0, 1.0)))
    options = data.draw(problems.local_options(batch))
    assert_reference(problem, alpha=alpha, **options)


def assert_reference(problem, **options):
    terms = backend_tools.value(
        objective(len(problem.maps), **options), problem.arrays
    )
    expected, _ = reference.vicregl(
        problem.embeddings, problem.maps, problem.positions, **options
    )
    # Absolute as well: 1 - sqrt(var) and the off-diagonal part of a covariance
    # are differences of unit-sized numbers, and come times 25.
    assert_terms(terms, expected, atol=TOLERANCE)


# Gradients of what the figures do not cover


GRADIENT_CASES = {
    "by view": {
        "match_counts": "by_view",
        "num_matches": (4, 2),
        "local_criteria": ("location",),
    },
    "threshold": {
        "max_distance": 9.5,
        "num_matches": 4,
        "local_criteria": ("location",),
    },
    "threshold per image": {
        "max_distance": np.float32([5.0, 12.0, 8.0, 40.0]),
        "num_matches": None,
        "local_criteria": ("location",),
        "regularize": "maps",
    },
    "weights": {
        "alpha": 0.3,
        "epsilon": 1e-2,
        "invariance_coefficient": 3.0,
        "variance_coefficient": 7.0,
        "covariance_coefficient": 11.0,
        "local_criteria": ("feature",),
    },
}


@pytest.mark.parametrize("name", GRADIENT_CASES)
def test_gradients_of_the_definition(name):
    options = GRADIENT_CASES[name]
    grids = [(2, 3), (2, 3), (1, 2)][: 3 if name == "by view" else 2]
    problem = problems.make(3, grids, batch=4)
    views = len(grids)
    terms, matches = reference.vicregl(
        problem.embeddings, problem.maps, problem.positions, **options
    )
    # Matches are kept: no gradient flows through the choice of them.
    matching = ("num_matches", "match_counts", "feature_matches")
    matching += ("local_criteria", "max_distance")
    rest = {key: options[key] for key in options.keys() - set(matching)}

    def loss(arrays):
        return reference.vicregl(
            arrays[:views],
            arrays[views : 2 * views],
            None,
            matches=matches,
            **rest,
        )[0]["loss"]

    actual_terms, gradients = backend_tools.value_and_grad(
        objective(views, **options), problem.arrays
    )
    assert_terms(actual_terms, terms, atol=1e-6)
    assert not any(np.any(g) for g in gradients[2 * views :])
    # An error anywhere shows along random directions.
    rng = np.random.default_rng(0)
    norm = np.sqrt(sum(np.sum(np.square(g)) for g in gradients))
    for _ in range(3):
        directions = [rng.normal(size=g.shape) for g in gradients]
        actual = sum(
            np.sum(g * d) for g, d in zip(gradients, directions, strict=True)
        )
        expected = reference.directional_derivative(
            loss, problem.arrays, directions
        )
        assert abs(actual - expected) < TOLERANCE * norm


# Corners


def test_small_view_first():
    # The first view need not be the larger.
    problem = problems.make(11, [(1, 2), (3, 3)], batch=6)
    assert_reference(problem, num_matches=20, feature_matches=(5, 1))


def test_ties_go_to_the_lowest_index():
    # The second view's cells lie half a cell to the right of the first's: each
    # cell has two neighbours at the same distance, and most positions tie for
    # the four that are kept. All coordinates are exact in float32.
    rng = np.random.default_rng(0)
    row, column = np.divmod(np.arange(12), 4)
    first = np.stack([column, row], axis=-1) * np.float32(32.0)
    positions = [
        np.repeat(place[None], 6, axis=0).astype(np.float32)
        for place in (first, first + np.float32([16.0, 0.0]))
    ]
    maps = [rng.normal(size=(6, 12, 5)).astype(np.float32) for _ in range(2)]
    options = {
        "alpha": 0.0,
        "num_matches": 4,
        "local_criteria": ("location",),
    }
    expected, matches = reference.vicregl(None, maps, positions, **options)
    np.testing.assert_array_equal(matches[0].queries[0], [0, 1, 2, 3])
    np.testing.assert_array_equal(matches[0].neighbors[0], [0, 0, 1, 2])
    np.testing.assert_array_equal(matches[1].neighbors[0], [0, 1, 2, 3])

    def function(*tensors):
        return vicregl_loss(None, tensors, positions, **options)

    assert_terms(backend_tools.value(function, maps), expected)


def test_distances_at_large_coordinates_are_exact():
    # A matrix product of coordinates around 8000 loses the 1/16 px that tell
    # the neighbours here from each other.
    rng = np.random.default_rng(1)
    step = np.arange(9, dtype=np.float32)[:, None] * [1 / 8, 1 / 16] + 8000.0
    positions = [
        np.repeat(place[None], 5, axis=0).astype(np.float32)
        for place in (step, step[::-1] + 1 / 32)
    ]
    maps = [rng.normal(size=(5, 9, 4)).astype(np.float32) for _ in range(2)]
    options = {
        "alpha": 0.0,
        "num_matches": 5,
        "local_criteria": ("location",),
    }
    expected, matches = reference.vicregl(None, maps, positions, **options)
    assert min(match.margin for match in matches) > 0
    terms = backend_tools.value(
        lambda *tensors: vicregl_loss(None, tensors, positions, **options), maps
    )
    assert_terms(terms, expected)


def test_a_pair_at_the_threshold_is_kept():
    # Distances 5 (3-4-5) and 10: a threshold of 5 keeps the first.
    rng = np.random.default_rng(2)
    maps = [rng.normal(size=(3, 2, 4)).astype(np.float32) for _ in range(2)]
    positions = [
        np.tile(np.float32(place), (3, 1, 1))
        for place in ([[0, 0], [100, 0]], [[3, 4], [110, 0]])
    ]
    terms = backend_tools.value(
        lambda *tensors: vicregl_loss(
            None,
            tensors,
            positions,
            alpha=0.0,
            local_criteria=("location",),
            max_distance=5.0,
        ),
        maps,
    )
    error = np.square(maps[0][:, 0] - maps[1][:, 0], dtype=np.float64)
    np.testing.assert_allclose(
        terms["local_inv"], 25 * error.mean(), rtol=TOLERANCE
    )


@pytest.mark.parametrize("regularize", ["matches", "maps"])
def test_collapse(regularize):
    # Without any variance a term is 25 * (1 - sqrt(epsilon)) = 24.75, and the
    # two local criteria are added; over whole maps it is counted once. 0.1 is
    # not exact in float32, so that means over the batch round.
    embeddings = [np.full((8, 16), 0.1, np.float32)] * 2
    maps = [np.full((8, 9, 16), 0.1, np.float32)] * 2
    positions = problems.make(0, [(3, 3), (3, 3)], batch=8).positions
    terms, gradients = backend_tools.value_and_grad(
        objective(2, num_matches=4, regularize=regularize),
        [*embeddings, *maps, *positions],
    )
    local = 49.5 if regularize == "matches" else 24.75
    expected = {
        "loss": 0.75 * 24.75 + 0.25 * local,
        "inv": 0.0,
        "var": 24.75,
        "cov": 0.0,
        "local_inv": 0.0,
        "local_var": local,
        "local_cov": 0.0,
    }
    assert_terms(terms, expected, rtol=1e-6, atol=1e-10)
    for gradient in gradients:
        assert np.all(np.isfinite(gradient))


def test_nothing_within_the_threshold():
    problem = problems.make(0, [(2, 2), (2, 3)], batch=4)
    far = [problem.positions[0], problem.positions[1] + 1000.0]
    terms, gradients = backend_tools.value_and_grad(
        objective(
            2, alpha=0.0, local_criteria=("location",), max_distance=100.0
        ),
        [*problem.embeddings, *problem.maps, *far],
    )
    assert set(terms) == {"loss", "local_inv", "local_var", "local_cov"}
    assert not any(terms.values())
    for gradient in gradients:
        np.testing.assert_array_equal(gradient, 0.0)


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_one_criterion_alone_needs_only_its_inputs(alpha):
    problem = problems.make(0, [(2, 2), (2, 3)], batch=4)
    options = {"alpha": alpha, "local_criteria": ("feature",)}
    everything = backend_tools.value(objective(2, **options), problem.arrays)
    if alpha == 1.0:
        names = {"loss", "inv", "var", "cov"}
        alone = backend_tools.value(
            lambda *tensors: vicregl_loss(tensors, **options),
            problem.embeddings,
        )
    else:
        names = {"loss", "local_inv", "local_var", "local_cov"}
        alone = backend_tools.value(
            lambda *tensors: vicregl_loss(None, tensors, **options),
            problem.maps,
        )
    assert set(alone) == names
    assert_terms(alone, everything, rtol=1e-6)


@pytest.mark.parametrize("dtype", [ml_dtypes.bfloat16, np.float16])
def test_half_precision_is_computed_in_float32(dtype):
    problem = problems.make(7, [(2, 3), (2, 2)], batch=5)
    rounded = [array.astype(dtype) for array in problem.arrays]
    function = objective(2, local_criteria=("feature",))
    terms, gradients = backend_tools.value_and_grad(function, rounded)
    expected, expected_gradients = backend_tools.value_and_grad(
        function, [array.astype(np.float32) for array in rounded]
    )
    # The very same float32 numbers go in; only the gradients are rounded.
    assert_terms(terms, expected, rtol=1e-6)
    for one, other in zip(gradients, expected_gradients, strict=True):
        assert one.dtype == dtype
        error = backend_tools.relative_error(one, other)
        assert error <= float(ml_dtypes.finfo(dtype).eps)


def test_threshold_may_be_traced():
    problem = problems.make(9, [(2, 3), (2, 2)], batch=4)
    limits = np.float32([4.0, 9.0, 1.0, 30.0])

    def function(*tensors):
        return vicregl_loss(
            None,
            tensors[:2],
            problem.positions,
            alpha=0.0,
            local_criteria=("location",),
            max_distance=tensors[2],
        )

    # Compiled where it can be: a tensor without a value while tracing.
    compiled = backend_tools.MODES[-1]
    terms = backend_tools.value(function, [*problem.maps, limits], compiled)
    expected, _ = reference.vicregl(
        None,
        problem.maps,
        problem.positions,
        alpha=0.0,
        local_criteria=("location",),
        max_distance=limits,
    )
    assert_terms(terms, expected, atol=1e-6)


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow",
    reason="Only TensorFlow traces with an unknown batch size.",
)
@pytest.mark.parametrize("max_distance", [None, 9.5])
def test_batch_size_unknown_while_tracing(max_distance):
    import tensorflow as tf

    grids = [(2, 3), (2, 2), (2, 2)]
    problem = problems.make(13, grids, batch=6)
    traced = tf.function(
        objective(3, num_matches=(4, 2), max_distance=max_distance),
        input_signature=[
            tf.TensorSpec((None, *array.shape[1:])) for array in problem.arrays
        ],
        autograph=False,
    )
    expected, _ = reference.vicregl(
        problem.embeddings,
        problem.maps,
        problem.positions,
        num_matches=(4, 2),
        max_distance=max_distance,
    )
    terms = backend_tools.to_numpy(traced(*problem.arrays))
    assert_terms(terms, expected, atol=1e-6)

    def gradients(*arrays):
        of = list(arrays[: 2 * len(grids)])  # not of positions
        with tf.GradientTape() as tape:
            tape.watch(of)
            loss = traced.python_function(*arrays)["loss"]
        return tape.gradient(loss, of)

    unknown = tf.function(
        gradients, input_signature=traced.input_signature, autograph=False
    )
    arrays = [tf.constant(array) for array in problem.arrays]
    for found, known in zip(unknown(*arrays), gradients(*arrays), strict=True):
        # The same operations, on shapes that are known or are not.
        np.testing.assert_allclose(found, known, rtol=1e-5, atol=1e-7)
