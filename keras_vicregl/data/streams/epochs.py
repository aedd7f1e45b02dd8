"""Which examples come when: a function of the seed and the epoch alone.

Everything here handles groups: the examples of one batch before anything has
been read or decoded, so that going to a position costs next to nothing. A group
is a pair of the examples' indices and of what is known of them so far, a
dictionary of tensors that begin with the same axis.
"""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from keras_vicregl.data.streams.order import epoch_seeds, shuffled

if TYPE_CHECKING:
    import tensorflow as tf


class Plan(NamedTuple):
    """How the examples of an epoch are put in order and cut into batches."""

    batch_size: int  # over all processes
    drop_remainder: bool
    shuffle: bool | int  # True: completely. A number: within such a buffer
    shard: tuple[int, int]  # this process, and how many there are

    @property
    def rows(self) -> slice:
        """The rows of a global batch that belong to this process."""
        first = self.shard[0] * self.share
        return slice(first, first + self.share)

    @property
    def share(self) -> int:
        """Examples of a batch that belong to this process."""
        return self.batch_size // self.shard[1]

    def steps(self, examples: int) -> int:
        """Batches in an epoch, or the (negative) cardinality as it came."""
        if examples < 0:
            return examples
        rest = 0 if self.drop_remainder else self.batch_size - 1
        return (examples + rest) // self.batch_size


class Position:
    """The epoch and the step that the next iteration begins at.

    An epoch has passed when its last batch has been taken. An iteration that
    was given up before - `fit` looks at a batch to build a model - is begun
    again. The state is Python's and not a variable of TensorFlow's, which a
    distribution strategy would mirror; it is asked for once an epoch.

    Args:
        start: Epoch and step at which the first iteration begins.
        fixed: Whether all begin there.
    """

    def __init__(self, start: tuple[int, int], fixed: bool = False) -> None:
        self._next = start
        self._fixed = fixed
        self._lock = threading.Lock()

    def begin(self) -> np.ndarray:
        """Epoch and step, (2,) int64, of an iteration that begins now."""
        return np.array(self._next, np.int64)

    def begun(self) -> tf.data.Dataset:
        """What `begin` says when an iteration begins, one element."""
        from keras_vicregl._tensorflow import tf

        return tf.data.Dataset.from_tensors(0).map(
            lambda _: tf.ensure_shape(
                tf.numpy_function(self.begin, [], tf.int64), (2,)
            )
        )

    def finish(self, epoch: int) -> np.int64:
        """Note that `epoch` has passed; returns 0. Below 0: the present one."""
        with self._lock:
            passed = epoch < 0 or epoch == self._next[0]
            if passed and not self._fixed:
                self._next = (self._next[0] + 1, 0)
        return np.int64(0)


class Taken:
    """When the consumer of batches got the last one.

    Of Python like `Position`, and for the same reason.
    """

    def __init__(self) -> None:
        self._last = (0, 0.0)

    def last(self) -> tuple[int, float]:
        """How many were taken, and when the last: `time.perf_counter`."""
        return self._last

    def note(self) -> np.int64:
        """Note that one is taken; returns 0."""
        self._last = (self._last[0] + 1, time.perf_counter())
        return np.int64(0)


def epochs(
    groups_of: Callable[[tf.Tensor], tf.data.Dataset],
    *,
    seed: int,
    steps: int,
    begun: tf.data.Dataset,
) -> tf.data.Dataset:
    """The groups of epochs, one for each position that `begun` has.

    Args:
        groups_of: From the seed of an epoch's order, (2,) int64, to its groups.
        seed: A non-negative integer.
        steps: Groups in an epoch; below 0 where that is not known.
        begun: Epoch and step, (2,) int64, at which each begins.

    Returns:
        Pairs of a group and a dictionary of scalars: its `"epoch"`, whether it
        is the `"last"` one, and the `"view_seed"` of the epoch.
    """
    from keras_vicregl._tensorflow import tf

    def one_epoch(begin: tf.Tensor) -> tf.data.Dataset:
        # The order must not depend on `tf.random.set_seed` (whose 0, besides,
        # `shuffle` cannot compare with a tensor): this graph has its own.
        tf.compat.v1.set_random_seed(1)
        # Not by `unstack`: `skip` of what is not the first output of an
        # operation crashes TensorFlow 2.21.
        number, first = begin[0], begin[1]
        seeds = tf.numpy_function(
            functools.partial(epoch_seeds, seed), [number], tf.int64
        )
        order_seed, view_seed = tf.unstack(tf.ensure_shape(seeds, (2,)))

        def with_facts(step: tf.Tensor, group: Any) -> tuple[Any, dict]:
            facts = {
                "epoch": number,
                "last": tf.equal(step + 1, steps),
                "view_seed": view_seed,
            }
            return group, facts

        groups = groups_of(order_seed).skip(first)
        return groups.enumerate(first).map(with_facts)

    # The flat_map makes a pipeline anew for each epoch, and with it the only
    # thing that is not given: where it begins.
    return begun.flat_map(one_epoch)


def finish_epochs(
    batches: tf.data.Dataset, position: Position, steps: int, taken: Taken
) -> tf.data.Dataset:
    """Batches without the facts of `epochs`, which tell `position` of its end.

    Nothing may run ahead of what is made here: an epoch has passed when the
    consumer has taken its last batch, not when that has been prepared. The same
    holds for what `taken` notes.
    """
    from keras_vicregl._tensorflow import tf

    def finish(epoch: tf.Tensor) -> tf.Tensor:
        return tf.numpy_function(position.finish, [epoch], tf.int64)

    def without_facts(batch: Any, facts: dict) -> Any:
        zero = tf.cond(
            facts["last"],
            lambda: finish(facts["epoch"]),
            lambda: tf.constant(0, tf.int64),
        )
        noted = tf.numpy_function(taken.note, [], tf.int64)
        with tf.control_dependencies([zero, noted]):
            return tf.nest.map_structure(tf.identity, batch)

    batches = batches.map(without_facts)
    if steps == -2:  # unknown: the end shows when it has been reached
        end = tf.data.Dataset.from_tensors(tf.constant(-1, tf.int64))
        batches = batches.concatenate(
            end.flat_map(lambda present: batches.take(finish(present)))
        )
    options = tf.data.Options()
    options.deterministic = True
    options.experimental_optimization.inject_prefetch = False
    return batches.with_options(options)


def index_groups(
    count: int, plan: Plan, order_seed: tf.Tensor
) -> tf.data.Dataset:
    """Groups of examples of which nothing but the index is known so far."""
    from keras_vicregl._tensorflow import tf

    if not isinstance(plan.shuffle, bool):
        indices = _shuffled(tf.data.Dataset.range(count), plan, order_seed)
        return indices.batch(plan.batch_size, plan.drop_remainder).map(
            lambda group: (group[plan.rows], {})
        )
    if plan.shuffle:
        order = tf.numpy_function(
            functools.partial(shuffled, count), [order_seed], tf.int64
        )
        order = tf.ensure_shape(order, (count,))
    else:
        order = tf.range(count, dtype=tf.int64)
    size, rows = plan.batch_size, plan.rows

    def group(step: tf.Tensor) -> tuple[tf.Tensor, dict]:
        indices = order[step * size + rows.start : step * size + rows.stop]
        if plan.drop_remainder:
            indices = tf.ensure_shape(indices, (rows.stop - rows.start,))
        return indices, {}

    return tf.data.Dataset.range(plan.steps(count)).map(group)


def element_groups(
    elements: tf.data.Dataset, plan: Plan, order_seed: tf.Tensor
) -> tf.data.Dataset:
    """Groups of the elements of a data set, dictionaries of one shape."""
    from keras_vicregl._tensorflow import tf

    numbered = _shuffled(elements.enumerate(), plan, order_seed)
    groups = numbered.batch(plan.batch_size, plan.drop_remainder)
    if plan.shard[1] == 1:
        return groups
    return groups.map(
        lambda *group: tf.nest.map_structure(lambda x: x[plan.rows], group)
    )


def window_groups(
    elements: tf.data.Dataset, plan: Plan, order_seed: tf.Tensor
) -> tf.data.Dataset:
    """Groups as data sets of pairs, of elements that differ in shape."""
    from keras_vicregl._tensorflow import tf

    numbered = _shuffled(elements.enumerate(), plan, order_seed)
    rows = plan.rows
    return numbered.window(
        plan.batch_size, drop_remainder=plan.drop_remainder
    ).map(
        lambda *group: (
            tf.data.Dataset.zip(group)
            .skip(rows.start)
            .take(rows.stop - rows.start)
        )
    )


def _shuffled(
    elements: tf.data.Dataset, plan: Plan, order_seed: tf.Tensor
) -> tf.data.Dataset:
    if plan.shuffle is False:
        return elements
    return elements.shuffle(
        int(plan.shuffle), seed=order_seed, reshuffle_each_iteration=False
    )
