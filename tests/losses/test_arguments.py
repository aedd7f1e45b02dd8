"""Errors: they name the argument and what was given."""

import numpy as np
import problems
import pytest

from keras_vicregl.losses import (
    covariance_loss,
    global_criterion,
    local_criterion,
    variance_covariance,
    variance_loss,
    vicregl_loss,
)

PROBLEM = problems.make(0, [(2, 2), (2, 3)], batch=3)


def call(**changes):
    """The objective, of whose two halves only what is changed is computed."""
    given = {
        "embeddings": PROBLEM.embeddings,
        "local_embeddings": PROBLEM.maps,
        "positions": PROBLEM.positions,
        "alpha": 1.0 if "embeddings" in changes else 0.0,
        **changes,
    }
    return vicregl_loss(**given)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": -0.1}, r"alpha.*-0\.1"),
        ({"alpha": 1.5}, r"alpha.*1\.5"),
        ({"alpha": float("nan")}, r"alpha.*nan"),
        ({"num_matches": 0}, r"num_matches.*0"),
        ({"num_matches": (20, -4)}, r"num_matches.*-4"),
        ({"num_matches": 2.5}, r"num_matches.*2\.5"),
        ({"num_matches": (20, 4, 4)}, r"num_matches.*\(20, 4, 4\)"),
        ({"feature_matches": 0}, r"feature_matches.*0"),
        ({"feature_matches": (None, 0)}, r"feature_matches.*\(None, 0\)"),
        ({"match_counts": "by_size"}, r"match_counts.*by_pair.*by_size"),
        ({"regularize": "views"}, r"regularize.*maps.*views"),
        ({"local_criteria": ("colour",)}, r"local_criteria.*colour"),
        ({"local_criteria": "location"}, r"local_criteria.*'location'"),
        ({"max_distance": -3.0}, r"max_distance.*-3\.0"),
        ({"max_distance": 0}, r"max_distance.*0"),
        ({"max_distance": float("nan")}, r"max_distance.*nan"),
    ],
)
def test_options(options, message):
    with pytest.raises(ValueError, match=message):
        call(**options)


def test_unknown_option():
    with pytest.raises(TypeError, match="number_of_matches"):
        call(number_of_matches=3)


@pytest.mark.parametrize("name", ["embeddings", "local_embeddings"])
@pytest.mark.parametrize("views", [[], [np.zeros((3, 4, 5), np.float32)], None])
def test_fewer_than_two_views(name, views):
    with pytest.raises(ValueError, match=f"`{name}`.*2 views"):
        call(**{name: views})


def test_embeddings_must_agree():
    with pytest.raises(ValueError, match=r"`embeddings`.*\(3, 7\)"):
        call(embeddings=[np.zeros((3, 5)), np.zeros((3, 7))])
    with pytest.raises(ValueError, match=r"`embeddings`.*\(3, 4, 5\)"):
        call(embeddings=[np.zeros((3, 4, 5))] * 2)


@pytest.mark.parametrize(
    "shape",
    [(4, 6, 3), (3, 6, 4), (3, 2, 3, 3), (3, 18)],
    ids=["batch", "channels", "four axes", "two axes"],
)
def test_local_embeddings_must_agree(shape):
    maps = [PROBLEM.maps[0], np.zeros(shape, np.float32)]
    # All sizes of the shape given are in the message.
    given = ", ".join(map(str, shape))
    with pytest.raises(ValueError, match=rf"`local_embeddings`.*\({given}\)"):
        call(local_embeddings=maps)


def test_missing_positions():
    with pytest.raises(ValueError, match=r"`positions`.*location"):
        call(positions=None)


def test_positions_must_fit_the_maps():
    with pytest.raises(ValueError, match=r"`positions`.*1 for 2 views"):
        call(positions=PROBLEM.positions[:1])
    with pytest.raises(ValueError, match=r"`positions\[0\]`.*\(3, 6, 2\)"):
        call(positions=PROBLEM.positions[::-1])
    as_maps = [place.reshape(3, 2, -1, 2) for place in PROBLEM.positions]
    with pytest.raises(ValueError, match=r"`positions\[0\]`.*\(3, 2, 2, 2\)"):
        call(positions=as_maps)


def test_threshold_must_fit_the_batch():
    with pytest.raises(ValueError, match=r"`max_distance`.*\(2,\)"):
        call(max_distance=np.float32([1.0, 2.0]))
    with pytest.raises(ValueError, match=r"`max_distance`.*\(3, 1\)"):
        call(max_distance=np.ones((3, 1), np.float32))


BATCH_FUNCTIONS = {
    "variance_loss": lambda z, m, p: variance_loss(z[0]),
    "covariance_loss": lambda z, m, p: covariance_loss(z[0]),
    "masked": lambda z, m, p: variance_covariance(z[0], mask=np.ones(1)),
    "global": lambda z, m, p: global_criterion(z),
    "local": lambda z, m, p: local_criterion(m, p),
    "maps": lambda z, m, p: local_criterion(m, p, regularize="maps"),
    "threshold": lambda z, m, p: local_criterion(
        m, p, local_criteria=("location",), max_distance=9.0
    ),
}


@pytest.mark.parametrize("name", BATCH_FUNCTIONS)
def test_batch_of_one(name):
    # There is no variance over one sample: an error, not a NaN and not a zero.
    one = problems.make(0, [(2, 2), (2, 3)], batch=1)
    with pytest.raises(ValueError, match=r"at least 2 samples.*batch of 1"):
        BATCH_FUNCTIONS[name](one.embeddings, one.maps, one.positions)
