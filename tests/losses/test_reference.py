"""The NumPy reference against the figures of the authors' release."""

import figures
import numpy as np
import pytest
import reference

# Both sides are float64 sums over the same numbers in another order: they
# agree to a few units in the last place (1e-15), and 1e-10 is far below what
# a single other match would change (1e-5 and more).
TOLERANCE = 1e-10


@pytest.fixture(scope="module", params=figures.CASES)
def case(request):
    return figures.load(request.param)


def test_terms_and_total(case):
    terms, _ = reference.vicregl(
        case.embeddings, case.maps, case.positions, **case.options
    )
    assert terms.keys() == case.terms.keys()
    for name, expected in case.terms.items():
        np.testing.assert_allclose(
            terms[name], expected, rtol=TOLERANCE, atol=1e-15, err_msg=name
        )


def test_matches(case):
    _, matches = reference.vicregl(
        case.embeddings, case.maps, case.positions, **case.options
    )
    assert len(matches) == len(case.matches)
    for match, (queries, neighbors) in zip(matches, case.matches, strict=True):
        np.testing.assert_array_equal(match.queries, queries)
        np.testing.assert_array_equal(match.neighbors, neighbors)


def test_one_other_match_is_seen():
    # What the tolerances of the other tests rest on: a single wrong
    # neighbour among 8 x 49 moves a term by more than 1e-5.
    case = figures.load("a_2v_default")
    terms, matches = reference.vicregl(
        case.embeddings, case.maps, case.positions, **case.options
    )
    matches[2].neighbors[3, 7] = (matches[2].neighbors[3, 7] + 1) % 49
    changed, _ = reference.vicregl(
        case.embeddings, case.maps, case.positions, matches=matches
    )
    largest = max(abs(changed[name] / terms[name] - 1) for name in terms)
    assert largest > 1e-5
