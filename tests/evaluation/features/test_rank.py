import numpy as np
import pytest

from keras_vicregl.evaluation import effective_rank


def by_definition(features):
    """RankMe with the singular values as roots of eigenvalues."""
    features = features.astype(np.float64)
    squares = np.linalg.eigvalsh(features.T @ features)
    values = np.sqrt(squares.clip(0))
    p = values / np.abs(values).sum() + 1e-7
    return np.exp(sum(-x * np.log(x) for x in p))


@pytest.mark.parametrize("scale", [1.0, 1e-6, 1e6])
def test_against_its_definition(scale):
    rng = np.random.default_rng(0)
    features = rng.standard_normal((200, 12)) * np.geomspace(1, 100, 12) * scale
    # float64, and the smallest of 12 singular values is 1 % of the largest, so
    # squaring them loses four digits of 16.
    assert effective_rank(features) == pytest.approx(
        by_definition(features), rel=1e-10
    )


@pytest.mark.parametrize("rank", [1, 3, 8])
def test_known_ranks(rank):
    rng = np.random.default_rng(0)
    left = np.linalg.qr(rng.standard_normal((50, rank)))[0]
    right = np.linalg.qr(rng.standard_normal((20, rank)))[0]
    # Equal singular values: the rank itself, but for what epsilon adds, 20
    # times 1e-7 log 1e7 at the most.
    actual = effective_rank(left @ right.T)
    assert actual == pytest.approx(rank, rel=20 * 1e-7 * np.log(1e7) * 1.1)


def test_shares_of_known_entropy():
    # p = (1/2, 1/4, 1/4): the entropy is log(2) * 3/2.
    features = np.diag([2.0, 1.0, 1.0])
    assert effective_rank(features) == pytest.approx(2**1.5, rel=1e-6)


def test_collapse_is_one():
    for constant in (0.0, 5.0):
        features = np.full((30, 10), constant, np.float32)
        assert effective_rank(features) == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (np.ones((2, 2, 2)), r"\(2, 2, 2\)"),
        (np.ones((0, 4)), r"\(0, 4\)"),
        (np.array([[1.0, np.nan]]), "finite"),
        (np.array([[1.0, np.inf]]), "finite"),
    ],
)
def test_bad_features(features, message):
    with pytest.raises(ValueError, match=message):
        effective_rank(features)
