import itertools

import numpy as np
import pytest

from keras_vicregl.evaluation import label_subset


def labels_of(*sizes, seed=0):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    return np.random.default_rng(seed).permutation(labels)


def test_a_subset_of_one_seed_is_always_the_same():
    labels = labels_of(*[50] * 20)
    first, again = (label_subset(labels, 0.1, seed=4) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, label_subset(labels, 0.1, seed=5))
    # Fixed for good: published subsets must not change with a version.
    np.testing.assert_array_equal(
        label_subset(labels_of(9, 9, 9), 1 / 3, seed=1),
        [1, 7, 11, 15, 16, 23, 24, 25, 26],
    )


def test_smaller_subsets_are_in_larger_ones():
    labels = labels_of(1000, 300, 40, 700)
    subsets = [
        label_subset(labels, fraction, seed=1)
        for fraction in (0.002, 0.01, 0.1, 0.5, 1.0)
    ]
    for small, large in itertools.pairwise(subsets):
        assert np.isin(small, large).all()
        assert len(small) < len(large)
    np.testing.assert_array_equal(subsets[-1], np.arange(2040))


@pytest.mark.parametrize(
    ("sizes", "fraction", "counts"),
    [
        ((100, 100, 100), 0.1, [10, 10, 10]),
        ((1000, 500, 300), 0.1, [60, 60, 60]),
        # Those that have fewer give all they have.
        ((100, 4, 96), 0.2, [18, 4, 18]),
    ],
)
def test_classes_are_as_equal_as_can_be(sizes, fraction, counts):
    labels = labels_of(*sizes)
    chosen = label_subset(labels, fraction)
    np.testing.assert_array_equal(np.bincount(labels[chosen]), counts)


def test_a_rest_goes_to_some_classes():
    labels = labels_of(*[13] * 100)
    counts = np.bincount(labels[label_subset(labels, 0.1)])  # 130 of 1,300
    assert counts.sum() == 130
    assert set(counts) == {1, 2}


def test_every_example_may_be_chosen():
    labels = labels_of(8, 8)
    seen = {int(i) for s in range(50) for i in label_subset(labels, 0.25, s)}
    assert seen == set(range(16))


@pytest.mark.parametrize(
    ("labels", "fraction", "message"),
    [
        (np.zeros((4, 1), int), 0.5, r"shape \(4, 1\)"),
        (np.zeros(4), 0.5, "float64"),
        (np.zeros(4, int), 0.0, "fraction=0.0"),
        (np.zeros(4, int), 1.5, "fraction=1.5"),
        (np.zeros(4, int), np.nan, "fraction=nan"),
        (np.zeros(4, int), 0.01, "0, fewer than one for each of 1 classes"),
        (np.arange(100), 0.5, "50, fewer than one for each of 100"),
    ],
)
def test_bad_arguments(labels, fraction, message):
    with pytest.raises(ValueError, match=message):
        label_subset(labels, fraction)
