"""Batches that Python reads beside those of tf.data: the same for a seed.

Pixels are equal here, since Pillow and TensorFlow have the same libraries
beneath (`test_pillow`), and what is drawn within 1e-6, since sines and powers
of NumPy and TensorFlow differ in the last bit.
"""

import re
import shutil
import threading
import warnings

import keras
import numpy as np
import pytest
import small
from PIL import Image

import keras_vicregl
from keras_vicregl.data import (
    ArrayBatches,
    ImageSource,
    detection_batches,
    load,
    match_classes,
    subset,
    view_batches,
)
from keras_vicregl.data.batches.source_batches import SourceBatches
from keras_vicregl.data.streams import ahead, lasting
from keras_vicregl.evaluation import image_batches
from keras_vicregl.views import MultiView, ViewGroup
from keras_vicregl.views.rendering.device import device_views

tf = pytest.importorskip("tensorflow")

from image_files import encoded, exif, picture  # noqa: E402

VIEWS = MultiView([ViewGroup(8, 2), ViewGroup(6, 1)], on="device")
SIZES = [(24, 31), (31, 24), (20, 20), (12, 40)]
COUNT = 13


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """JPEG and PNG files of mixed sizes in two classes, one of them turned."""
    root = tmp_path_factory.mktemp("mixed")
    for number in range(COUNT):
        image = picture(*SIZES[number % len(SIZES)], number)
        place = root / "images" / ("ants", "bees")[number % 2]
        mask = root / "masks" / place.name / f"{number:02}.png"
        place.mkdir(parents=True, exist_ok=True)
        mask.parent.mkdir(parents=True, exist_ok=True)
        if number % 3 == 2:
            (place / f"{number:02}.png").write_bytes(encoded(image))
        else:
            options = {"exif": exif(6)} if number == 1 else {}
            data = encoded(image, "JPEG", **options)
            (place / f"{number:02}.jpg").write_bytes(data)
        Image.fromarray(image[..., 0] // 128).save(mask)
    (root / "masks" / "bees" / "01.png").write_bytes(
        encoded(Image.fromarray(picture(*SIZES[1], 1)[..., 0]), exif=exif(6))
    )
    return root


@pytest.fixture(scope="module")
def source(folder):
    return load(folder / "images")


def batches_of(source, engine, views=VIEWS, **options):
    return view_batches(
        source,
        views,
        engine=engine,
        **{"batch_size": 4, "seed": 3, **options},
    )


def assert_same_batch(ours, theirs):
    keras.tree.assert_same_structure(ours, theirs)
    for (inputs, *labels), (others, *their_labels) in [(ours, theirs)]:
        for one, other in zip(labels, their_labels, strict=True):
            assert one.dtype == other.dtype
            np.testing.assert_array_equal(one, other)
        for name in ("images", "source_size"):
            assert inputs[name].dtype == others[name].dtype
            np.testing.assert_array_equal(inputs[name], others[name])
        for drawn, their_drawn in zip(
            inputs["parameters"], others["parameters"], strict=True
        ):
            for name, values in drawn.items():
                inexact = name in ("matrix", "from_mean", "sigma")
                np.testing.assert_allclose(
                    values,
                    their_drawn[name],
                    rtol=0,
                    atol=1e-6 if inexact else 0,
                    err_msg=name,
                )


def assert_same(source, epochs=1, **options):
    ours = batches_of(source, "python", **options)
    theirs = batches_of(source, "tensorflow", **options)
    assert isinstance(ours, SourceBatches)
    assert ours.identity == theirs.identity
    for _ in range(epochs):
        found = list(ours)
        for one, other in zip(found, theirs.as_numpy_iterator(), strict=True):
            assert_same_batch(one, other)
    return found


@pytest.mark.parametrize(
    "options",
    [
        {"start": (1, 2), "shard": (1, 2)},
        {"drop_remainder": False, "shuffle": False},
        {"fixed": True, "start": (2, 0)},
        {"canvas": (40, 50)},
    ],
    ids=str,
)
def test_batches_are_those_of_tensorflow(source, options):
    assert_same(source, epochs=2, **options)


def test_images_that_are_too_large_are_made_smaller_alike(source):
    options = {"canvas": 16, "batch_size": 13}
    with pytest.warns(UserWarning, match="larger than the canvas") as told:
        ((ours, _),) = batches_of(source, "python", **options)
        ((theirs, _),) = batches_of(
            source, "tensorflow", **options
        ).as_numpy_iterator()
    assert len(told) == 2  # one an engine
    # Pillow rounds after each axis, TensorFlow once.
    difference = np.abs(ours["images"].astype(int) - theirs["images"])
    assert difference.max() <= 1
    for name in ("boxes", "view_to_source"):
        for drawn, others in zip(
            ours["parameters"], theirs["parameters"], strict=True
        ):
            np.testing.assert_array_equal(drawn[name], others[name])
    # Maps lead to the images as they were.
    np.testing.assert_array_equal(ours["source_size"], theirs["source_size"])
    sizes = {tuple(size) for size in ours["source_size"].astype(int).tolist()}
    assert sizes == set(SIZES)
    boxes, maps = (
        ours["parameters"][0][name] for name in ("boxes", "view_to_source")
    )
    width = np.abs(maps[:, :, 0, 0])
    reduced = [
        min(w, 16) if w >= h else w * 16 // h
        for h, w in (ours["source_size"].astype(int).tolist())
    ]
    ratio = ours["source_size"][:, 1] / reduced
    np.testing.assert_allclose(width, boxes[..., 3] * ratio[:, None], rtol=1e-6)


def test_views_are_those_of_the_images_without_a_canvas(source):
    views = MultiView([ViewGroup((8, 9), 2, scale=(0.1, 1.0))], on="device")
    ((inputs, _),) = batches_of(source, "python", views, batch_size=COUNT)
    found, maps = device_views(views, inputs["images"], inputs["parameters"])
    sizes = inputs["source_size"].astype(int)
    for row, (height, width) in enumerate(sizes):
        (drawn,) = inputs["parameters"]
        alone = {key: value[row : row + 1] for key, value in drawn.items()}
        image = inputs["images"][row : row + 1, :height, :width]
        expected, expected_maps = device_views(views, image, (alone,))
        for one, other in zip(found, expected, strict=True):
            # Sums in another order.
            np.testing.assert_allclose(
                keras.ops.convert_to_numpy(one)[row],
                keras.ops.convert_to_numpy(other)[0],
                atol=2e-5,
            )
        for one, other in zip(maps, expected_maps, strict=True):
            np.testing.assert_array_equal(
                keras.ops.convert_to_numpy(one)[row],
                keras.ops.convert_to_numpy(other)[0],
            )


def test_subsets_classes_and_masks(folder, source):
    first = load(folder / "images", class_names=["bees", "ants"])
    with_masks = load(folder / "images", masks=folder / "masks")
    _, renumbered = match_classes(first, with_masks)
    ours = assert_same(
        subset(renumbered, np.arange(0, COUNT, 2)), shuffle=False
    )
    # Of the seven ants, the first four.
    assert [labels.tolist() for _, labels in ours] == [[1, 1, 1, 1]]
    rows = np.arange(0, COUNT, 3)
    some = subset(with_masks, rows)
    for one, other in zip(
        some.examples_in_python(), some.dataset(), strict=True
    ):
        assert one.keys() == other.keys()
        for key, value in one.items():
            np.testing.assert_array_equal(value, other[key], err_msg=key)
            assert value.dtype == other[key].dtype.as_numpy_dtype


@pytest.mark.parametrize("order_seed", [None, 5])
def test_examples_come_in_the_order_of_the_data_set(source, order_seed):
    ours = list(source.examples_in_python(order_seed))
    theirs = list(source.examples(order_seed))
    assert len(ours) == len(theirs) == COUNT
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one["images"], other["images"])
        assert one["labels"] == other["labels"]


@pytest.mark.parametrize("kind", ["memory", "disk"])
def test_a_cache_reads_a_file_once(folder, tmp_path, kind):
    copy = tmp_path / "images"
    shutil.copytree(folder / "images", copy)
    cache = True if kind == "memory" else tmp_path / "cache"
    source = load(copy, cache=cache)
    first = [*batches_of(source, "python", drop_remainder=False)]
    for path in copy.rglob("*.*"):
        path.unlink()
    again = [*batches_of(source, "python", drop_remainder=False)]
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one[0]["images"], other[0]["images"])
    if kind == "disk":  # of the same files, for the other engine too
        engines = [
            [*batches_of(load_gone(source, cache), e, drop_remainder=False)]
            for e in ("python", "tensorflow")
        ]
        for one, other in zip(*engines, strict=True):
            np.testing.assert_array_equal(one[0]["images"], other[0]["images"])


def load_gone(source, cache):
    """A new source of files that are only in the cache."""
    from keras_vicregl.data.sources.files import FileSource

    return FileSource("gone", source._paths, cache=cache)


def dirty(folder, tmp_path):
    copy = tmp_path / "dirty"
    shutil.copytree(folder / "images", copy)
    (copy / "ants" / "00.jpg").write_bytes(b"")
    (copy / "ants" / "04.jpg").write_bytes(b"<html>404</html>")
    broken = copy / "bees" / "07.jpg"
    broken.write_bytes(broken.read_bytes()[:-40])
    return copy


def test_what_cannot_be_read_is_skipped_alike_and_told_of(folder, tmp_path):
    copy = dirty(folder, tmp_path)
    source = load(copy, on_error="skip")
    (copy / "bees" / "09.jpg").unlink()  # while it trains
    with pytest.warns(UserWarning, match="4 of 13 images .* are skipped") as t:
        assert_same(source, batch_size=COUNT, epochs=2, canvas=40)
    messages = [str(each.message) for each in t]
    assert len(messages) == 2  # once an engine
    for message in messages:
        # With those of the same reason.
        assert re.search(r"00\.jpg[^()]* \(not a JPEG, PNG, GIF", message)
        assert "09.jpg (No such file or directory)" in message
    with (
        warnings.catch_warnings(record=True),
        pytest.raises(
            ValueError,
            match=r"Could not read .*\.jpg \(.*\)\. Remove or replace",
        ),
    ):
        list(batches_of(load(copy), "python", canvas=40))


def test_a_batch_of_which_nothing_is_left(tmp_path):
    for number in range(4):
        (tmp_path / f"{number}.jpg").write_bytes(b"")
    source = load(tmp_path, on_error="skip")
    with pytest.raises(ValueError, match="None of the images of a batch"):
        next(iter(batches_of(source, "python")))
    with pytest.raises(ValueError, match="None of the 4 images of"):
        list(source.examples_in_python())


def test_a_reader_that_hangs_is_named(source, monkeypatch):
    gate = threading.Event()
    whole = type(source)._for_views

    def read(self, index):
        if index == 5:
            gate.wait(60)
        return whole(self, index)

    monkeypatch.setattr(type(source), "_for_views", read)
    monkeypatch.setattr(ahead, "PATIENCE", 0.4)
    name = source._name_of(5, {})
    try:
        with pytest.raises(ValueError, match=r"more than 0\.4 sec") as error:
            list(batches_of(source, "python", shuffle=False))
        assert name in str(error.value)
    finally:
        gate.set()


class Pictures(ImageSource):
    """What somebody adds: `example`, and no word of TensorFlow."""

    def __init__(self, **facts):
        super().__init__("pictures", 6, num_classes=2, **facts)

    def example(self, index):
        if index == 4:
            raise RuntimeError("a hole in it")
        image = picture(20 + index, 25, index)
        mask = image[..., :1] // 128
        return {"images": image, "labels": np.int32(index % 2)} | (
            {"segmentation_masks": mask} if self.has_masks else {}
        )


def test_one_function_makes_a_source_of_both_engines():
    source = Pictures(on_error="skip", has_masks=True)
    with pytest.warns(UserWarning, match=r"1 of 6 .*pictures\[4\] .*a hole"):
        assert_same(source, batch_size=3)
    # What one reading has told of, the next one need not.
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        ours = list(source.examples_in_python())
        theirs = list(source.examples())
    assert len(ours) == len(theirs) == 5
    for one, other in zip(ours, theirs, strict=True):
        keras.tree.map_structure(np.testing.assert_array_equal, one, other)


def test_one_iterator_of_tensorflow_makes_all_epochs(folder, monkeypatch):
    begun = []
    end = lasting._Lasting.end
    monkeypatch.setattr(
        lasting._Lasting, "end", lambda self: (begun.append(1), end(self))
    )
    options = {"batch_size": 5, "seed": 3}
    source = load(folder / "images")
    batches = view_batches(source, VIEWS, engine="tensorflow", **options)
    first, second = list(batches), list(batches)
    assert len(begun) == 1
    # An epoch that is given up is begun again, and no other is missed.
    third = next(iter(batches))
    again = list(batches)
    assert len(begun) == 2
    for epoch, found in enumerate([first, second, again]):
        expected = view_batches(
            source, VIEWS, engine="python", start=(epoch, 0), **options
        )
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(one[0]["images"], other[0]["images"])
    np.testing.assert_array_equal(third[0]["images"], again[0][0]["images"])


@pytest.mark.parametrize("engine", ["python", "tensorflow"])
@pytest.mark.parametrize(
    ("example", "message"),
    [
        ({"images": np.zeros((9, 9, 3))}, "not float64 of shape .9, 9, 3."),
        ({"images": np.zeros((9, 9), np.uint8)}, "not uint8 of shape .9, 9."),
        ({"images": np.zeros((9, 9, 3), np.uint8)}, "'labels' are missing"),
    ],
)
def test_examples_of_another_form_are_refused(engine, example, message):
    labels = {} if "labels" in message else {"labels": np.int32(0)}

    class Wrong(ImageSource):
        def example(self, index):
            return {**example, **labels}

    source = Wrong("wrong", 4, num_classes=1)
    with pytest.raises(
        (ValueError, tf.errors.InvalidArgumentError), match=message
    ) as error:
        next(iter(batches_of(source, engine, canvas=12)))
    assert "wrong[" in str(error.value)


def test_arrays_of_one_size_have_batches_of_their_own():
    images = np.zeros((8, 10, 12, 3), np.uint8)
    batches = batches_of({"images": images}, "python")
    assert isinstance(batches, ArrayBatches)
    assert len(batches) == 2
    ahead_of_fit = batches_of({"images": images}, "python", prefetch=3)
    assert (ahead_of_fit.workers, ahead_of_fit.max_queue_size) == (2, 3)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"engine": "grain"}, ValueError, "'auto', 'tensorflow' or 'python'"),
        ({"views": MultiView.scenes()}, ModuleNotFoundError, "Views on the ho"),
        ({"views": lambda x: x}, ModuleNotFoundError, "Views on the host need"),
        ({"shuffle": 100}, ValueError, "Python shuffles completely"),
        ({"canvas": (0, 3)}, ValueError, "canvas must be positive"),
        ({"canvas": "wide"}, ValueError, "canvas must be a pair"),
        ({"prefetch": 0}, ValueError, "prefetch must be an integer of at le"),
        ({"batch_size": 14}, ValueError, "13 examples do not fill a batch"),
        ({"start": (0, 9)}, ValueError, "start must be a position within"),
        ({"shard": (0, 3)}, ValueError, "does not divide by the 3"),
    ],
)
def test_what_cannot_be_made_is_said(source, options, error, message):
    with pytest.raises(error, match=message):
        batches_of(source, **{"engine": "python", **options})


def test_a_canvas_where_there_is_none(source):
    with pytest.raises(ValueError, match="canvas is for views on the device"):
        batches_of(source, "tensorflow", MultiView.scenes(), canvas=32)
    images = {"images": np.zeros((8, 10, 12, 3), np.uint8)}
    with pytest.raises(ValueError, match="canvas is for views on the device"):
        batches_of(images, "python", canvas=32)


def test_data_sets_of_tensorflow_need_a_canvas_and_tensorflow():
    data = tf.data.Dataset.from_generator(
        lambda: iter({"images": picture(20 + i, 25, i)} for i in range(4)),
        output_signature={"images": tf.TensorSpec((None, None, 3), tf.uint8)},
    ).apply(tf.data.experimental.assert_cardinality(4))
    with pytest.raises(ValueError, match="canvas must be given"):
        batches_of(data, "tensorflow")
    ((inputs,),) = batches_of(data, "tensorflow", canvas=32)
    assert inputs["images"].shape == (4, 32, 32, 3)
    with pytest.raises(ModuleNotFoundError, match=r"tf.data need TensorFlow"):
        batches_of(data, "python", canvas=32)


def test_array_batches_name_what_takes_files(source):
    with pytest.raises(ValueError, match="Of what load makes of files"):
        ArrayBatches(source, VIEWS, batch_size=4, seed=0)


def test_looking_at_a_batch_reads_it_once(source, monkeypatch):
    read = []
    whole = type(source)._for_views
    monkeypatch.setattr(
        type(source),
        "_for_views",
        lambda self, index: read.append(index) or whole(self, index),
    )
    batches = batches_of(source, "python", prefetch=1, shuffle=False)
    batches[0], batches[1]
    batches[0], batches[1], batches[2]
    # In this order but for threads; then the epochs that are begun ahead.
    assert sorted(read[:12]) == list(range(12))
    assert max(map(read.count, read)) <= 3


def test_no_thread_is_left(source):
    before = set(threading.enumerate())
    batches = batches_of(source, "python")
    batches[0]
    ours = set(threading.enumerate()) - before
    assert len(ours) > 1
    del batches
    for thread in ours:
        thread.join(20)
        assert not thread.is_alive()


def test_boxes_are_those_of_tensorflow():
    scenes = load("digit_scenes", "train", count=7, boxes=True)
    ours, theirs = (
        detection_batches(scenes, (48, 80), 3, engine=engine)
        for engine in ("python", "tensorflow")
    )
    assert len(ours) == 3
    for one, other in zip(ours, theirs.as_numpy_iterator(), strict=True):
        assert one.keys() == other.keys()
        for key, value in one.items():
            assert value.dtype == other[key].dtype
            # Halves may be rounded up or down.
            np.testing.assert_allclose(
                value, other[key], rtol=1e-6, atol=key == "images"
            )


def test_boxes_come_in_another_order_each_time():
    scenes = load("digit_scenes", "train", count=7, boxes=True)
    batches = detection_batches(scenes, (32, 32), 7, shuffle=1, engine="python")
    first, second = (next(iter(batches))["images"] for _ in range(2))
    assert not np.array_equal(first, second)
    again = detection_batches(scenes, (32, 32), 7, shuffle=1, engine="python")
    np.testing.assert_array_equal(next(iter(again))["images"], first)


@pytest.mark.parametrize("size", [16, None])
def test_features_are_of_the_same_images(folder, source, monkeypatch, size):
    """What evaluations see, cut to one size or as they are."""
    given = load(folder / "images", masks=folder / "masks")
    if size is None:
        given = subset(given, np.array([0, 2]))  # of one size
    theirs = list(image_batches(given, size=size, batch_size=5))
    monkeypatch.setattr(
        "keras_vicregl.evaluation.features.image_batches.has_tensorflow",
        lambda: False,
    )
    ours = list(image_batches(given, size=size, batch_size=5))
    for one, other in zip(ours, theirs, strict=True):
        assert one.keys() == other.keys()
        np.testing.assert_array_equal(one["labels"], other["labels"])
        assert one["images"].dtype == other["images"].dtype
        # Sums in another order.
        np.testing.assert_allclose(one["images"], other["images"], atol=1e-3)
        masks, others = one["segmentation_masks"], other["segmentation_masks"]
        assert masks.dtype == others.dtype
        # TensorFlow finds the nearest pixels in float32: ties differ.
        assert np.mean(masks != others) < 0.02


@pytest.mark.every_backend
def test_a_run_goes_on_where_it_stopped(source):
    """Bit for bit, in `fit`, from the middle of an epoch."""

    def train(epochs, start=(0, 0), weights=None):
        keras.utils.set_random_seed(0)
        views = MultiView.scenes(size=16, on="device")
        model = keras_vicregl.VICRegL(
            small.backbone(), alpha=1.0, expander_units=(8, 6), views=views
        )
        model.compile(
            keras.optimizers.SGD(0.01),
            run_eagerly=keras.backend.backend() == "tensorflow",
        )
        if weights is not None:
            model(next(iter(batches_of(source, "python", views)))[0])
            model.set_weights(weights)
        batches = batches_of(source, "python", views, start=start)
        history = model.fit(
            batches, initial_epoch=start[0], epochs=epochs, verbose=0
        )
        return model.get_weights(), batches.position, history.history["loss"]

    whole, position, losses = train(2)
    assert position == (2, 0)
    half, *_ = train(1)
    rest, position, later = train(2, (1, 0), half)
    assert position == (2, 0)
    assert later == losses[1:]
    for one, other in zip(rest, whole, strict=True):
        np.testing.assert_array_equal(one, other)
