"""Batches that ignore where to begin are told where training goes on."""

import warnings

import keras
import numpy as np
import pytest
import tiny
from tiny import no_pictures  # noqa: F401

STEPS = 3


def numbered(epoch, first, views=None):
    """Batches of an epoch, with labels, and views that may be of chance."""
    for step in range(first, STEPS):
        x, y = tiny.batch(epoch * STEPS + step)
        yield (x if views is None else views.normal(size=x.shape)), y


def endless(first):
    while True:
        yield tiny.batch(first)
        first += 1


class Steps(keras.utils.PyDataset):
    """Of unknown length: no other tells that it ignores `start`."""

    num_batches = None

    def __getitem__(self, index):
        return tiny.batch(index)


def plain(start):
    import tensorflow as tf

    parts = zip(*map(tiny.batch, range(STEPS)), strict=True)
    batches = tf.data.Dataset.from_tensor_slices(tuple(map(np.stack, parts)))
    return batches.shuffle(STEPS, seed=1)


class Loader(keras.utils.PyDataset):
    """One object whose place is set, as a sampler's is."""

    num_batches = None

    def __init__(self, heeds):
        super().__init__()
        self.heeds, self.start = heeds, (0, 0)

    def __call__(self, start):
        self.start = start if self.heeds else (0, 0)
        return self

    def __getitem__(self, index):
        return tiny.batch(self.start[0] * STEPS + self.start[1] + index)


iterator = endless(0)
unseeded = np.random.default_rng(0)
IGNORING = {
    "generator": lambda start: numbered(0, 0),
    "epochs alone": lambda start: numbered(start[0], 0),
    "endless": lambda start: endless(0),
    "one iterator": lambda start: iterator,
    "without positions": lambda start: Steps(),
    "reshuffled": plain,
    "views of chance": lambda start: numbered(0, 0, unseeded),
    "one object": Loader(heeds=False),
}
HEEDING = {
    "generator": lambda start: numbered(*start),
    "endless": lambda start: endless(start[0] * STEPS + start[1]),
    "the same epoch each time": lambda start: numbered(0, start[1]),
    "one object": Loader(heeds=True),
    "ours": tiny.Batches,
}


def interrupted(batches, folder, at):
    """What a training says that goes on after a step at which one stopped."""
    arguments = {"epochs": 2, "output": folder, "steps_per_epoch": STEPS}
    tiny.train(tiny.model(), batches, callbacks=[tiny.StopAt(*at)], **arguments)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = tiny.model()
        tiny.train(model, batches, continue_stopped=True, **arguments)
    assert tiny.steps_of(model) == 2 * STEPS
    said = [w for w in caught if w.category is RuntimeWarning]
    # On behalf of who called.
    assert all("keras_vicregl" not in warning.filename for warning in said)
    return model, [str(warning.message) for warning in said]


@pytest.mark.parametrize("kind", IGNORING)
# In the middle of an epoch, and at its beginning.
@pytest.mark.parametrize("at", [(1, 0), (0, STEPS - 1)])
def test_who_ignores_it_is_told_once(kind, at, tmp_path):
    _, (said,) = interrupted(IGNORING[kind], tmp_path, at)
    start = 1, (at[1] + 1) % STEPS
    assert f"make_batches(start={start})`" in said
    assert "it seems to ignore `start`" in said


@pytest.mark.parametrize("kind", HEEDING)
def test_who_heeds_it_is_not_disturbed(kind, tmp_path):
    arguments = {"epochs": 2, "steps_per_epoch": STEPS}

    def batches(start):
        made = HEEDING[kind]
        return made(start, STEPS) if kind == "ours" else made(start)

    whole = tiny.model()
    tiny.train(whole, batches, output=tmp_path / "whole", **arguments)
    model, said = interrupted(batches, tmp_path / "cut", (1, 0))
    assert not said
    tiny.assert_same(model, whole)


def test_chance_alone_is_told_too(tmp_path):
    def batches(start):
        return numbered(*start, unseeded)

    _, (said,) = interrupted(batches, tmp_path, (1, 0))
    assert "begins with another batch each time" in said


def test_what_is_the_same_for_all_examples_tells_nothing(tmp_path):
    """Views of chance and labels of one class."""

    def batches(start):
        for x, y in numbered(*start, unseeded):
            yield x, np.ones_like(y)

    _, (said,) = interrupted(batches, tmp_path, (1, 0))
    assert "begins with another batch each time" in said
