import itertools
import time

import keras
import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")
pytest.importorskip("keras_cv")

from keras_vicregl.data import as_dataset, steps_per_epoch, view_batches  # noqa: E402
from keras_vicregl.data.batches import pipeline, view_making  # noqa: E402
from keras_vicregl.data.streams import epochs  # noqa: E402
from keras_vicregl.views import MultiView  # noqa: E402

COUNT = 10
ARRAYS = {
    "images": np.random.default_rng(0).integers(
        0, 256, (COUNT, 6, 8, 3), dtype=np.uint8
    ),
    # The label tells which example it is.
    "labels": np.arange(COUNT, dtype=np.int32),
}


def seeds_as_views(batch):
    """Stands for a layer of views: what it is to depend on is all there is."""
    count = tf.shape(batch["images"])[0]
    return {
        "views": (batch["images"], batch["seeds"]),
        "view_to_source": (tf.zeros((count, 2, 3)),) * 2,
        "source_size": tf.zeros((count, 2)),
        "labels": batch["labels"],
    }


def epoch_of(batches):
    """Labels and seeds of an epoch, each as one array."""
    elements = list(batches)
    return (
        np.concatenate([labels for _, labels in elements]),
        np.concatenate([inputs["views"][1] for inputs, _ in elements]),
    )


def equal(one, other):
    keras.tree.assert_same_structure(one, other)
    keras.tree.map_structure(np.testing.assert_array_equal, one, other)


def same(one, other):
    try:
        equal(one, other)
    except AssertionError:
        return False
    return True


def of_any_size(example):
    """The same example, of a size that is not known before it comes."""
    size = tf.where(example["labels"] < 100, (6, 8, 3), (1, 1, 3))
    return {**example, "images": tf.reshape(example["images"], size)}


def make(data=ARRAYS, multi_view=seeds_as_views, **options):
    return view_batches(
        data,
        multi_view,
        **{"batch_size": 4, "seed": 3, "drop_remainder": False, **options},
    )


def test_as_dataset_yields_the_examples_in_order():
    examples = list(as_dataset(ARRAYS))
    assert len(examples) == COUNT
    for i, example in enumerate(examples):
        assert example.keys() == ARRAYS.keys()
        for key, value in example.items():
            np.testing.assert_array_equal(value, ARRAYS[key][i])
            assert value.dtype == ARRAYS[key].dtype


@pytest.mark.parametrize(
    "arrays",
    [
        {},
        {"images": np.zeros((0, 4, 4, 3))},
        {"images": np.zeros((3, 4, 4, 3)), "labels": np.zeros(2)},
        {"images": np.zeros((3, 4, 4, 3)), "labels": 1},
    ],
)
def test_as_dataset_of_unequal_arrays(arrays):
    with pytest.raises(ValueError, match="arrays must have one length"):
        as_dataset(arrays)


def test_an_epoch_is_all_examples_in_a_new_order():
    batches = make()
    orders = [epoch_of(batches)[0] for _ in range(3)]
    for order in orders:
        assert sorted(order) == list(range(COUNT))
    assert len({tuple(order) for order in orders}) == 3


def test_images_stay_with_their_labels():
    for inputs, labels in make():
        np.testing.assert_array_equal(
            inputs["views"][0], ARRAYS["images"][labels.numpy()]
        )


def test_seeds_tell_examples_and_epochs_apart():
    batches = make()
    keys = []
    for _ in range(3):
        labels, seeds = epoch_of(batches)
        # The same number for all of an epoch, and the index of the example.
        assert len(set(seeds[:, 0])) == 1
        np.testing.assert_array_equal(seeds[:, 1], labels)
        keys.extend(map(tuple, seeds))
    assert len(set(keys)) == 3 * COUNT


def test_epochs_depend_on_the_seed_only():
    def epochs(seed):
        batches = make(seed=seed)
        return [epoch_of(batches) for _ in range(2)]

    np.testing.assert_equal(epochs(3), epochs(3))
    for one, other in zip(epochs(3), epochs(4), strict=True):
        assert not np.array_equal(one[0], other[0])
        assert one[1][0, 0] != other[1][0, 0]


def test_without_shuffling_views_are_still_new():
    batches = make(shuffle=False)
    (first, seeds), (second, other) = (epoch_of(batches) for _ in range(2))
    np.testing.assert_array_equal(first, np.arange(COUNT))
    np.testing.assert_array_equal(second, np.arange(COUNT))
    assert seeds[0, 0] != other[0, 0]


def test_shuffle_buffer():
    # A buffer of b examples lets none come more than b - 1 places too early.
    labels, _ = epoch_of(make(shuffle=3))
    assert np.all(labels - np.arange(COUNT) < 3)
    assert not np.array_equal(labels, np.arange(COUNT))
    np.testing.assert_array_equal(
        epoch_of(make(shuffle=1))[0], np.arange(COUNT)
    )
    # Of a data set whatever its kind.
    np.testing.assert_equal(
        epoch_of(make(shuffle=3)), epoch_of(make(as_dataset(ARRAYS), shuffle=3))
    )


def test_batches():
    full, rest = make(drop_remainder=True), make()
    assert full.cardinality() == 2 and rest.cardinality() == 3
    assert full.element_spec[1].shape == (4,)
    assert [len(labels) for _, labels in full] == [4, 4]
    assert [len(labels) for _, labels in rest] == [4, 4, 2]


def test_sources_of_unknown_and_endless_length():
    examples = as_dataset(ARRAYS)
    unknown = make(examples.filter(lambda example: example["labels"] < 7))
    assert unknown.cardinality() == tf.data.UNKNOWN_CARDINALITY
    assert sorted(epoch_of(unknown)[0]) == list(range(7))
    endless = make(examples.repeat())
    assert endless.cardinality() == tf.data.INFINITE_CARDINALITY
    labels, seeds = epoch_of(itertools.islice(endless, 6))
    # Repeated examples are examples of their own.
    np.testing.assert_array_equal(seeds[:, 1] % COUNT, labels)
    assert len(set(seeds[:, 1])) == 24


@pytest.mark.parametrize(
    ("data", "shuffle"),
    [(ARRAYS, True), (ARRAYS, 3), (as_dataset(ARRAYS), True)],
)
def test_resuming_at_a_position_gives_what_an_uninterrupted_run_gets(
    data, shuffle
):
    whole = make(data, shuffle=shuffle)
    epochs = [list(whole) for _ in range(4)]
    resumed = make(data, shuffle=shuffle, start=(2, 1))
    equal(list(resumed), epochs[2][1:])
    equal(list(resumed), epochs[3])


def test_the_end_of_an_epoch_is_the_start_of_the_next():
    equal(list(make(start=(1, 3))), list(make(start=(2, 0))))


def test_only_whole_epochs_have_a_cardinality():
    assert make(start=(5, 0)).cardinality() == 3
    assert make(start=(5, 2)).cardinality() == tf.data.UNKNOWN_CARDINALITY


def test_an_iteration_given_up_is_begun_again():
    expected = make()
    first, second = list(expected), list(expected)
    batches = make()
    for taken in (1, 2):
        list(itertools.islice(batches, taken))
    equal(list(batches), first)
    # An epoch has passed when its last batch has been taken: `fit` may not
    # ask for more.
    equal(list(itertools.islice(batches, 3)), second)
    assert not same(list(batches), second)


@pytest.mark.parametrize("data", [ARRAYS, as_dataset(ARRAYS)])
def test_a_fixed_epoch_is_the_same_in_each_iteration(data):
    fixed = make(data, start=(2, 0), fixed=True)
    next(iter(fixed))
    assert same(epoch_of(fixed), epoch_of(make(data, start=(2, 0))))
    assert same(epoch_of(fixed), epoch_of(fixed))
    assert len(fixed) == 3
    endless = as_dataset(ARRAYS).filter(lambda example: True)
    unknown = make(endless, fixed=True)
    assert same(epoch_of(unknown), epoch_of(unknown))


def test_epochs_of_unknown_length_pass_when_they_are_exhausted():
    unknown = as_dataset(ARRAYS).filter(lambda example: True)
    expected = make(as_dataset(ARRAYS))
    batches = make(unknown)
    equal(list(itertools.islice(batches, 2)), list(expected)[:2])
    equal(list(batches), list(make(as_dataset(ARRAYS))))
    equal(list(batches), list(expected))


@pytest.mark.parametrize(
    ("sizes", "shuffle"), [("one", True), ("one", 3), ("many", 3)]
)
def test_shards_are_the_rows_of_the_whole_batches(sizes, shuffle):
    data = ARRAYS if sizes == "one" else as_dataset(ARRAYS).map(of_any_size)
    options = {"drop_remainder": True, "shuffle": shuffle, "start": (1, 1)}
    whole = list(make(data, **options))
    shards = [list(make(data, shard=(p, 2), **options)) for p in range(2)]
    assert len(whole) == 1
    for batch, *parts in zip(whole, *shards, strict=True):
        joined = keras.tree.map_structure(
            lambda *rows: np.concatenate(rows), *parts
        )
        equal(joined, batch)


@pytest.mark.every_backend
def test_steps_per_epoch():
    assert steps_per_epoch(ARRAYS, 4) == 2
    assert steps_per_epoch(as_dataset(ARRAYS), 4, drop_remainder=False) == 3
    with pytest.raises(ValueError, match="unknown or endless"):
        steps_per_epoch(as_dataset(ARRAYS).repeat(), 4)


def test_views_are_the_layers():
    layer = MultiView.scenes(size=5)
    ((inputs, labels),) = make(multi_view=layer, batch_size=COUNT)
    order, seeds = epoch_of(make())
    np.testing.assert_array_equal(labels, order)
    expected = layer({"images": ARRAYS["images"][order], "seeds": seeds})
    # Compiled or not, up to the rounding of values up to 2.7.
    keras.tree.map_structure(
        lambda one, other: np.testing.assert_allclose(one, other, atol=1e-5),
        inputs,
        {key: expected[key] for key in inputs},
    )


def test_views_are_traced_once_for_all_epochs_of_equal_layers():
    view_making._traced.cache_clear()
    for name in ("one", "other"):
        batches = make(multi_view=MultiView.scenes(size=5, name=name))
        for _ in range(2):
            list(batches)
    assert view_making._traced.cache_info().misses == 1
    layer = MultiView.scenes(size=5, dtype="bfloat16")
    ((inputs, _), *_) = make(multi_view=layer)
    assert view_making._traced.cache_info().misses == 2
    assert inputs["views"][0].dtype == tf.bfloat16
    assert inputs["views"][0].shape == (4, 5, 5, 3)


def test_what_is_no_array_goes_past_the_views():
    names = [f"image {number}" for number in range(COUNT)]
    notes = [[number] * number for number in range(COUNT)]
    data = tf.data.Dataset.from_tensor_slices(
        {
            **ARRAYS,
            "name": names,
            "notes": tf.ragged.constant(notes),
            "more": {"number": np.arange(COUNT)},
        }
    )
    batches = view_making.batches_of_views(
        epochs.element_groups(
            data, epochs.Plan(4, True, False, (0, 1)), None
        ).map(lambda *group: (group, {"view_seed": tf.constant(0, tf.int64)})),
        pipeline._DatasetSource(data),
        MultiView.scenes(size=5),
        epochs.Plan(4, True, False, (0, 1)),
    )
    views, _ = list(batches)[1]
    assert [name.decode() for name in views["name"].numpy()] == names[4:8]
    assert views["notes"].to_list() == notes[4:8]
    np.testing.assert_array_equal(views["more"]["number"], [4, 5, 6, 7])


@pytest.mark.every_backend
def test_without_labels():
    def unlabelled_views(batch):
        views = seeds_as_views({**batch, "labels": None})
        del views["labels"]
        return views

    batches = make({"images": ARRAYS["images"]}, unlabelled_views)
    ((inputs,), *_) = batches
    assert inputs["views"][0].shape == (4, 6, 8, 3)


def test_images_of_different_sizes():
    sizes = [(6, 8), (9, 5), (7, 7), (12, 6)]
    images = [
        np.random.default_rng(i).integers(0, 256, (*size, 3), dtype=np.uint8)
        for i, size in enumerate(sizes)
    ]
    examples = tf.data.Dataset.from_generator(
        lambda: ({"images": image} for image in images),
        output_signature={"images": tf.TensorSpec((None, None, 3), tf.uint8)},
    )
    layer = MultiView.scenes(size=5)
    ((inputs,),) = make(examples, layer, shuffle=False)
    np.testing.assert_array_equal(inputs["source_size"], sizes)
    seed = epoch_of(make(shuffle=False))[1][0, 0]
    for i, image in enumerate(images):
        expected = layer({"images": image, "seeds": np.array([seed, i])})
        for view in range(2):
            np.testing.assert_allclose(
                inputs["views"][view][i], expected["views"][view], atol=1e-5
            )


def randomly_bright(batch):
    """Stands for a layer of views, and is traced faster."""
    factors = tf.cast(batch["seeds"] % 1000, tf.float32) / 1000
    images = tf.cast(batch["images"], tf.float32) / 255
    views = [images * factors[:, i, None, None, None] for i in range(2)]
    return {**seeds_as_views(batch), "views": tuple(views)}


class Regression(keras.Model):
    """A linear function of the mean colours of the two views."""

    def __init__(self, kernel_initializer="ones"):
        super().__init__()
        self.dense = keras.layers.Dense(
            1, kernel_initializer=kernel_initializer
        )

    def call(self, inputs):
        means = [keras.ops.mean(view, (1, 2)) for view in inputs["views"]]
        return self.dense(keras.ops.concatenate(means, axis=-1))


def fitted(start, epochs, weights=None):
    """Weights after some epochs of `fit`, from the position `start` on."""
    batches = make(multi_view=randomly_bright, start=start)
    model = Regression()
    model.compile(optimizer=keras.optimizers.SGD(0.01), loss="mse")
    if weights is not None:
        inputs, _ = next(iter(batches))
        model(keras.tree.map_structure(np.asarray, inputs))  # builds it
        model.set_weights(weights)
    model.fit(batches, initial_epoch=start[0], epochs=epochs, verbose=0)
    return model.get_weights()


@pytest.mark.every_backend
def test_a_resumed_fit_goes_on_as_the_uninterrupted_one():
    halfway = fitted((0, 0), 1)
    resumed, uninterrupted = fitted((1, 0), 2, halfway), fitted((0, 0), 2)
    restarted = fitted((0, 0), 1, halfway)
    for one, same, other in zip(resumed, uninterrupted, restarted, strict=True):
        # The same operations on the same numbers; threads may sum in
        # another order. Other views change the weights by 1e-2.
        np.testing.assert_allclose(one, same, atol=1e-5)
        assert np.max(np.abs(one - other)) > 1e-3


def number_of_epoch(batch):
    """Views whose label tells the epoch, as a number in [0, 1)."""
    labels = tf.cast(batch["seeds"][:, 0] % 1000, tf.float32) / 1000
    return {**randomly_bright(batch), "labels": labels}


@pytest.mark.every_backend
@pytest.mark.parametrize("built", [True, False])
def test_fit_sees_the_epochs_in_turn_even_where_it_looks_at_a_batch(built):
    counted = make(multi_view=number_of_epoch)
    numbers = [epoch_of(counted)[0][0] for _ in range(3)]
    assert len(set(numbers)) == 3
    model = Regression(kernel_initializer="zeros")
    model.compile(optimizer=keras.optimizers.SGD(0.0), loss="mse")
    if built:
        model({"views": (np.zeros((4, 6, 8, 3), "float32"),) * 2})
    batches = make(multi_view=number_of_epoch)
    history = model.fit(batches, epochs=3, verbose=0).history
    # What it predicts is always 0.
    np.testing.assert_allclose(history["loss"], np.square(numbers), rtol=1e-5)


@pytest.mark.every_backend
@pytest.mark.parametrize("fixed", [True, False])
def test_what_is_validated_on_is_fixed_if_wanted(fixed):
    model = Regression(kernel_initializer="zeros")
    model.compile(keras.optimizers.SGD(0.0), "mse", run_eagerly=True)
    # Not what is trained on, whose epochs go on.
    trained, seen = (
        make(multi_view=number_of_epoch, fixed=value)
        for value in (False, fixed)
    )
    history = model.fit(
        trained, epochs=3, validation_data=seen, verbose=0
    ).history
    expected = make(multi_view=number_of_epoch)
    numbers = [epoch_of(expected)[0][0] for _ in range(3)]
    np.testing.assert_allclose(history["loss"], np.square(numbers), rtol=1e-5)
    if fixed:
        numbers = numbers[:1] * 3
    np.testing.assert_allclose(
        history["val_loss"], np.square(numbers), rtol=1e-5
    )


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"batch_size": 0}, ValueError, "batch_size=0"),
        ({"batch_size": 2.0}, ValueError, "batch_size=2.0"),
        ({"seed": -1}, ValueError, "seed=-1"),
        ({"shuffle": -5}, ValueError, "shuffle=-5"),
        ({"start": 3}, ValueError, "start must be a pair.*start=3"),
        ({"start": (0, -1)}, ValueError, r"start=\(0, -1\)"),
        ({"start": (0, 4)}, ValueError, r"of 3 steps.*start=\(0, 4\)"),
        (
            {"start": (0, 1), "fixed": True},
            ValueError,
            "fixed=True .* Received: a start at step 1",
        ),
        ({"shard": (0, 3)}, ValueError, "batch_size=4.*does not divide by.* 3"),
        ({"shard": (2, 2)}, ValueError, r"0 <= index < count.*\(2, 2\)"),
        ({"shard": (0, 2)}, ValueError, "drop_remainder=False would"),
        (
            {"batch_size": 11, "drop_remainder": True},
            ValueError,
            "10 examples do not fill a batch of batch_size=11",
        ),
        ({"data": ARRAYS["images"]}, TypeError, "Received: ndarray"),
        (
            {"data": tf.data.Dataset.range(3)},
            TypeError,
            "with the key 'images'.*of TensorSpec",
        ),
        ({"data": {"labels": np.arange(4)}}, TypeError, "key 'images'"),
        (
            {"data": as_dataset(ARRAYS).batch(2)},
            ValueError,
            r"single examples.*shape \(None, 6, 8, 3\)",
        ),
        (
            {"data": {"images": np.zeros((4, 8, 8))}},
            ValueError,
            r"single examples.*shape \(8, 8\)",
        ),
    ],
)
def test_bad_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        make(**arguments)


@pytest.mark.parametrize("global_seed", [0, 5])
def test_the_global_seed_changes_neither_order_nor_views(global_seed):
    expected = epoch_of(make())
    tf.random.set_seed(global_seed)
    for actual, wanted in zip(epoch_of(make()), expected, strict=True):
        np.testing.assert_array_equal(actual, wanted)


def test_batches_tell_what_made_their_views():
    views = MultiView.scenes(size=8, mean=(0.5, 0.4, 0.3))
    for start in ((0, 0), (1, 1)):
        batches = view_batches(ARRAYS, views, batch_size=4, seed=0, start=start)
        assert batches.multi_view is views


@pytest.mark.every_backend
def test_batches_tell_when_they_are_taken():
    batches = view_batches(ARRAYS, seeds_as_views, batch_size=2, seed=0)
    assert batches.last_taken()[0] == 0
    begun = time.perf_counter()
    taken = iter(batches)
    for count in range(1, 4):
        next(taken)
        # Not when others are prepared.
        assert batches.last_taken()[0] == count
        assert begun < batches.last_taken()[1] < time.perf_counter()
    assert len(list(batches)) == 5
    assert batches.last_taken()[0] == 8
