"""Draws keyed by examples: known values, uniformity and independence."""

import itertools

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from keras_vicregl.views.drawing import stateless

MASK = 2**64 - 1


def split_mix(state):
    """SplitMix64 in whole numbers of Python, one output after another."""
    while True:
        state = (state + 0x9E3779B97F4A7C15) & MASK
        bits = state
        bits = (bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9 & MASK
        bits = (bits ^ (bits >> 27)) * 0x94D049BB133111EB & MASK
        yield bits ^ (bits >> 31)


def draws_of(seeds, stream="a", count=1):
    keys = stateless.example_keys(tf.constant(seeds, tf.int64))
    return stateless.uniform(stateless.fold(keys, stream), count).numpy()


def seeds_of_an_epoch(count, epoch=0):
    return np.stack([np.full(count, epoch), np.arange(count)], axis=1)


def test_the_generator_is_split_mix_64():
    # The widely published first outputs for the seed 1234567.
    published = [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    assert list(itertools.islice(split_mix(1234567), 5)) == published
    draws = stateless.uniform(tf.constant([1234567], tf.uint64), 5).numpy()
    expected = np.array([bits >> 40 for bits in published]) / 2**24
    np.testing.assert_array_equal(draws, expected.astype("float32")[None])


def test_draws_are_uniform_over_examples():
    draws = draws_of(seeds_of_an_epoch(20_000), count=4)
    assert draws.dtype == np.float32
    assert draws.min() >= 0.0 and draws.max() < 1.0
    for column in draws.T:
        # The seeds are fixed: so is the outcome. A generator that is not
        # uniform would have a p-value of practically 0.
        assert scipy.stats.kstest(column, "uniform").pvalue > 1e-3
        counts = np.histogram(column, bins=256, range=(0, 1))[0]
        assert scipy.stats.chisquare(counts).pvalue > 1e-3


@pytest.mark.parametrize(
    "first, second",
    [
        pytest.param(
            lambda n: draws_of(seeds_of_an_epoch(n)),
            lambda n: draws_of(seeds_of_an_epoch(n + 1)[1:]),
            id="neighbouring examples",
        ),
        pytest.param(
            lambda n: draws_of(seeds_of_an_epoch(n)),
            lambda n: draws_of(seeds_of_an_epoch(n, epoch=1)),
            id="neighbouring epochs",
        ),
        pytest.param(
            lambda n: draws_of(seeds_of_an_epoch(n)),
            lambda n: draws_of(seeds_of_an_epoch(n)[:, ::-1]),
            id="exchanged numbers",
        ),
        pytest.param(
            lambda n: draws_of(seeds_of_an_epoch(n), "a"),
            lambda n: draws_of(seeds_of_an_epoch(n), "b"),
            id="streams",
        ),
        pytest.param(
            lambda n: draws_of(seeds_of_an_epoch(n), count=2)[:, :1],
            lambda n: draws_of(seeds_of_an_epoch(n), count=2)[:, 1:],
            id="draws of one example",
        ),
    ],
)
def test_draws_are_independent(first, second):
    count = 16_384
    first, second = first(count)[:, 0], second(count)[:, 0]
    table = np.histogram2d(first, second, bins=16, range=[(0, 1)] * 2)[0]
    # Over the cells of a joint histogram, which sees more than a correlation.
    assert scipy.stats.chisquare(table.ravel()).pvalue > 1e-3


def test_one_bit_of_a_seed_changes_half_of_the_key():
    seeds = np.zeros((128, 2), np.int64)
    for bit in range(64):
        seeds[bit, 0] = np.uint64(1 << bit).astype(np.int64)
        seeds[64 + bit, 1] = np.uint64(1 << bit).astype(np.int64)
    keys = stateless.example_keys(tf.constant(seeds)).numpy()
    zero = stateless.example_keys(tf.zeros((1, 2), tf.int64)).numpy()
    changed = [bin(int(key)).count("1") for key in keys ^ zero]
    # Binomial with 64 trials: standard deviation 4, of the mean 4 / sqrt(128).
    assert abs(np.mean(changed) - 32) < 1.5
    assert min(changed) > 10 and max(changed) < 54


def test_keys_of_many_examples_and_epochs_are_distinct():
    seeds = [seeds_of_an_epoch(5_000, epoch) for epoch in range(10)]
    keys = stateless.example_keys(tf.constant(np.concatenate(seeds))).numpy()
    assert len(np.unique(keys)) == 50_000


def test_a_draw_depends_on_its_example_only():
    seeds = seeds_of_an_epoch(50, epoch=3)
    order = np.random.default_rng(0).permutation(50)
    all_at_once = draws_of(seeds, count=5)
    np.testing.assert_array_equal(
        draws_of(seeds[order], count=5)[:, :3], all_at_once[order][:, :3]
    )
    np.testing.assert_array_equal(
        draws_of(seeds[7:8], count=2)[0], all_at_once[7, :2]
    )


def test_int32_and_int64_seeds_give_the_same_keys():
    seeds = np.array([[-5, 3], [2**31 - 1, -(2**31)]])
    wide = stateless.example_keys(tf.constant(seeds, tf.int64))
    narrow = stateless.example_keys(tf.constant(seeds, tf.int32))
    np.testing.assert_array_equal(wide.numpy(), narrow.numpy())


def test_graphs_and_datasets_draw_the_same_numbers():
    seeds = seeds_of_an_epoch(6, epoch=2)
    eagerly = draws_of(seeds, count=9)

    def draw(seeds):
        keys = stateless.fold(stateless.example_keys(seeds), "a")
        return stateless.uniform(keys, 9)

    np.testing.assert_array_equal(tf.function(draw)(seeds), eagerly)
    dataset = tf.data.Dataset.from_tensors(seeds).map(draw)
    np.testing.assert_array_equal(next(iter(dataset)), eagerly)
