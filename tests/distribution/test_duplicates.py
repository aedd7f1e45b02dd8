"""Equal batches of processes, which are put in the place of this one.

Real ones: `test_replicas.py`.
"""

import keras
import numpy as np
import pytest
import small

from keras_vicregl.distribution import duplicates
from keras_vicregl.views import MultiView, ViewGroup


def same(value):
    return value


def another(value):
    return value + 1


@pytest.fixture
def others(monkeypatch):
    """What the other one says, first and second time."""
    said = []
    monkeypatch.setattr(
        duplicates,
        "gather_from_processes",
        lambda value, model: [value, said.pop(0)(value)],
    )
    return said


def test_equal_batches_are_an_error(others):
    others += [same] * 3
    with pytest.raises(
        ValueError, match=r"same in processes 0, 1: .*`setup\.batches\("
    ):
        duplicates.compare_processes(small.batch(4, ((8, 8), (8, 8))))


def test_other_batches_are_none(others):
    others += [same, another]
    duplicates.compare_processes(small.batch(4, ((8, 8), (8, 8))))


def test_half_of_a_digest_is_chance(others):
    others += [same, same, another]
    duplicates.compare_processes(small.batch(4, ((8, 8), (8, 8))))


def test_rows_that_are_all_alike_tell_nothing(others):
    others += [same] * 3
    x, _ = small.batch(4, ((8, 8), (8, 8)))
    duplicates.compare_processes(keras.tree.map_structure(np.zeros_like, x))


def test_seeds_alone_make_a_difference():
    """Constant images, of which other views are made."""
    views = MultiView([ViewGroup(8, 2)], on="device")
    images = np.zeros((4, 9, 9, 3), "uint8")
    digests = [
        duplicates._digest(
            duplicates.arrays_of(
                views.inputs(images, [[0, i + k] for i in range(4)])
            )
        )
        for k in (0, 4, 0)
    ]
    assert digests[0] == digests[2] != digests[1]
    assert all(differ for *_, differ in digests)


def test_shares_of_different_sizes_are_an_error(others):
    others += [another]
    with pytest.raises(ValueError, match=r"same share .* of 4, 5 examples"):
        duplicates.compare_processes(small.batch(4, ((8, 8), (8, 8))))
