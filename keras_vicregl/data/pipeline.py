"""From labelled images to the batches of views that `fit` takes.

TensorFlow is imported by the functions, not by the module: the arrays of a
data set are of use without it.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import tensorflow as tf

# Examples to shuffle among where the source does not hold all in memory.
_SHUFFLE_BUFFER = 1024


def as_dataset(arrays: Mapping[str, np.ndarray]) -> tf.data.Dataset:
    """A `tf.data.Dataset` of the single examples in a dictionary of arrays.

    Args:
        arrays: Arrays (N, ...) such as `digit_scenes` returns.

    Returns:
        N dictionaries with the same keys, in order, not batched.

    Raises:
        ValueError: If there are no arrays, they are empty or differ in length.

    Example:

    >>> dataset = as_dataset({"images": np.zeros((5, 8, 8, 3), "uint8")})
    >>> dataset.cardinality().numpy().item(), dataset.element_spec["images"]
    (5, TensorSpec(shape=(8, 8, 3), dtype=tf.uint8, name=None))
    """
    import tensorflow as tf

    shapes = {key: np.shape(value) for key, value in arrays.items()}
    lengths = {shape[0] if shape else 0 for shape in shapes.values()}
    if len(lengths) != 1 or 0 in lengths:
        raise ValueError(
            "arrays must have one length, which is not zero. Received the "
            f"shapes {shapes}"
        )
    # Not on a GPU, where they would stay.
    with tf.device("cpu"):
        return tf.data.Dataset.from_tensor_slices(dict(arrays))


def view_batches(
    data: Mapping[str, np.ndarray] | tf.data.Dataset,
    multi_view: Callable[[dict[str, Any]], dict[str, Any]],
    *,
    batch_size: int,
    seed: int,
    shuffle: bool | int = True,
    drop_remainder: bool = True,
    epoch: tf.Variable | None = None,
    prefetch: int | None = None,
) -> tf.data.Dataset:
    """Shuffled batches of views for `fit`, new ones in each epoch.

    The views of an example depend on `(seed, epoch, index of the example)` and
    so does the order of the examples: neither on threads, nor on what was
    drawn before. An epoch is an iteration over the data set, counted from
    0, so that two data sets made alike give the same epochs in turn. To
    start elsewhere - where an interrupted run goes on - pass a variable
    as `epoch` and set it when an epoch begins:

        with tf.device("cpu"):
            epoch = tf.Variable(0, dtype=tf.int64)
        batches = view_batches(..., epoch=epoch)
        set_epoch = keras.callbacks.LambdaCallback(
            on_epoch_begin=lambda number, logs: epoch.assign(number)
        )
        model.fit(batches, initial_epoch=10, callbacks=[set_epoch])

    Args:
        data: A dictionary of arrays, or an unbatched `tf.data.Dataset` of
            dictionaries, with `"images"` (H, W, 3) and optionally
            `"labels"`. The data set must yield its examples in the same order
            each time. Where its images differ in size, views are made image
            by image instead of batch by batch.
        multi_view: A `keras_vicregl.views.MultiView`, or a function that puts
            other layers before it: takes a dictionary with the keys of
            `data` and `"seeds"`, (B, 2) int64, on which all its randomness
            should depend.
        batch_size: Examples in a batch, over all devices.
        seed: A non-negative integer.
        shuffle: False keeps the order. True shuffles arrays completely, and a
            `tf.data.Dataset` within a buffer of 1024 examples; an integer
            is the size of the buffer in either case.
        drop_remainder: Whether to drop the last batch where it is smaller.
        epoch: A scalar int64 variable on the CPU, read when an iteration
            begins. Default: iterations are counted.
        prefetch: Batches to prepare ahead. Default: as many as tf.data finds
            useful.

    Returns:
        A data set of tuples `(inputs, labels)`, or `(inputs,)` where `data` has
        no labels, as `MultiView.to_fit` arranges them.

    Raises:
        ValueError: If an argument is outside what it may be, or not one full
            batch would come out.
        TypeError: If `data` is neither arrays nor a data set of dictionaries.

    Example:

    >>> from keras_vicregl.views import MultiView
    >>> images = {"images": np.zeros((6, 64, 64, 3), "uint8")}
    >>> batches = view_batches(
    ...     images, MultiView.scenes(size=32), batch_size=3, seed=0
    ... )
    >>> [inputs["views"][1].shape for (inputs,) in batches]
    [TensorShape([3, 32, 32, 3]), TensorShape([3, 32, 32, 3])]
    """
    import tensorflow as tf

    from keras_vicregl.views import MultiView

    _check_integer("batch_size", batch_size, smallest=1)
    _check_integer("seed", seed, smallest=0)
    if not isinstance(shuffle, bool):
        _check_integer("shuffle", shuffle, smallest=1)
    if isinstance(data, Mapping):
        examples = as_dataset(data)
        buffer = len(examples) if shuffle is True else int(shuffle)
    else:
        examples = data
        buffer = _SHUFFLE_BUFFER if shuffle is True else int(shuffle)
    _check_examples(examples)
    count = int(examples.cardinality())
    if drop_remainder and 0 <= count < batch_size:
        raise ValueError(
            f"{count} examples do not fill a batch of batch_size={batch_size}. "
            "Lower it, or pass drop_remainder=False."
        )

    batches = _seeded_epochs(examples, seed=seed, buffer=buffer, epoch=epoch)
    parallel = {"num_parallel_calls": tf.data.AUTOTUNE, "deterministic": True}
    if examples.element_spec["images"].shape.is_fully_defined():
        batches = batches.batch(batch_size, drop_remainder)
        batches = batches.map(multi_view, **parallel)
    else:
        batches = batches.map(multi_view, **parallel)
        batches = batches.batch(batch_size, drop_remainder)
    batches = batches.map(MultiView.to_fit, **parallel)
    return batches.prefetch(tf.data.AUTOTUNE if prefetch is None else prefetch)


def _seeded_epochs(
    examples: tf.data.Dataset,
    *,
    seed: int,
    buffer: int,
    epoch: tf.Variable | None,
) -> tf.data.Dataset:
    """Examples with `"seeds"`, shuffled within `buffer` unless it is 0."""
    import tensorflow as tf

    if epoch is None:
        with tf.device("cpu"):  # as all of tf.data
            next_epoch = tf.Variable(0, dtype=tf.int64, trainable=False)

    def current_epoch(_: tf.Tensor) -> tf.Tensor:
        if epoch is not None:
            return tf.cast(epoch, tf.int64)
        return next_epoch.assign_add(1) - 1

    def one_epoch(number: tf.Tensor) -> tf.data.Dataset:
        # The order must not depend on `tf.random.set_seed` (whose 0, besides,
        # `shuffle` cannot compare with a tensor): this graph has its own.
        tf.compat.v1.set_random_seed(1)
        order_seed, view_seed = tf.unstack(
            tf.random.stateless_uniform(
                (2,), (seed, number), minval=None, maxval=None, dtype=tf.int64
            )
        )

        def add_seeds(index: tf.Tensor, example: dict) -> dict:
            return {**example, "seeds": tf.stack([view_seed, index])}

        numbered = examples.enumerate()
        if buffer:
            numbered = numbered.shuffle(
                buffer, seed=order_seed, reshuffle_each_iteration=False
            )
        return numbered.map(add_seeds)

    # The flat_map makes a pipeline anew for each iteration, and with it the
    # only thing that is drawn by counting: the number of the epoch.
    seeded = tf.data.Dataset.from_tensors(0).map(current_epoch)
    seeded = seeded.flat_map(one_epoch)
    count = examples.cardinality()
    if count == tf.data.UNKNOWN_CARDINALITY:
        return seeded
    return seeded.apply(tf.data.experimental.assert_cardinality(count))


def _check_integer(name: str, value: Any, smallest: int) -> None:
    try:
        fits = operator.index(value) >= smallest
    except TypeError:
        fits = False
    if not fits:
        raise ValueError(
            f"{name} must be an integer of at least {smallest}. "
            f"Received: {name}={value!r}"
        )


def _check_examples(examples: Any) -> None:
    spec = getattr(examples, "element_spec", None)
    if not isinstance(spec, dict) or "images" not in spec:
        raise TypeError(
            "data must be a dictionary of arrays or a tf.data.Dataset of "
            "dictionaries, with the key 'images'. Received: "
            f"{type(examples).__name__}"
            + ("" if spec is None else f" of {spec}")
        )
    if spec["images"].shape.rank not in (None, 3):
        raise ValueError(
            "data must be single examples, images (H, W, 3): view_batches "
            "makes the batches. Received: images of shape "
            f"{spec['images'].shape}"
        )
