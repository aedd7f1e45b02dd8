import itertools
import os
import warnings

import keras
import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")
pytest.importorskip("keras_cv")

from image_files import encoded, exif, picture  # noqa: E402

from keras_vicregl.data import load, view_batches  # noqa: E402
from keras_vicregl.views import MultiView  # noqa: E402

# What each file is, and why it cannot be read.
GOOD = ["0.jpg", "2.png", "5.jpg", "7.png", "8.png", "9.jpg"]
BAD = {
    "1.jpg": "Invalid JPEG data",
    "3.png": "not a JPEG, PNG, GIF, BMP or WebP file",
    "4.jpg": "not a JPEG, PNG, GIF, BMP or WebP file",
    "6.png": "No such file or directory",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("dirty")
    contents = {
        "0.jpg": encoded(picture(20, 30, 0), "JPEG"),
        "1.jpg": encoded(picture(20, 30, 1), "JPEG")[:-40],  # truncated
        "2.png": encoded(picture(40, 25, 2)),
        "3.png": b"<html>404 Not Found</html>",
        "4.jpg": b"",
        "5.jpg": encoded(picture(20, 30, 5), "JPEG", exif=exif(6)),
        "7.png": encoded(picture(1, 1, 7)),
        "8.png": encoded(picture(1, 400, 8)),
        "9.jpg": encoded(picture(300, 2, 9), "JPEG"),
    }
    for name, each in contents.items():
        (root / name).write_bytes(each)
    # Permissions do not keep root out: what is not there does.
    (root / "6.png").symlink_to(root / "nowhere.png")
    return root


def describe(example):
    """Stands for a layer of views, made image by image."""
    image = tf.cast(example["images"], tf.float32)
    return {
        "views": (tf.reduce_mean(image, (0, 1)), example["seeds"]),
        "view_to_source": (tf.zeros((2, 3)),) * 2,
        "source_size": tf.shape(example["images"])[:2],
    }


def make(source, multi_view=describe, **options):
    return view_batches(
        source, multi_view, **{"batch_size": 5, "seed": 3, **options}
    )


def indices(batches):
    return [inputs["views"][1][:, 1].numpy().tolist() for (inputs,) in batches]


def quiet(batches):
    """The batches, without their warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return list(batches)


def test_a_data_set_leaves_out_what_cannot_be_read(folder):
    source = load(folder, on_error="skip")
    assert len(source) == 10
    with pytest.warns(UserWarning) as caught:
        found = list(source.dataset())
    assert [tuple(each["images"].shape[:2]) for each in found] == [
        (20, 30),
        (40, 25),
        (30, 20),  # turned
        (1, 1),
        (1, 400),
        (300, 2),
    ]
    (warning,) = caught
    message = str(warning.message)
    assert f"4 of 10 images of {folder} could not be read" in message
    for name, reason in BAD.items():
        assert f"{folder / name} ({reason}" in message or reason in message


def test_a_warning_names_the_first_files_and_why(folder):
    with pytest.warns(UserWarning) as caught:
        list(load(folder, on_error="skip").dataset())
    (warning,) = caught
    listed = str(warning.message).split("skipped: ")[1].split("; ")
    # Those of one reason are told of together.
    names = [text.partition(" (")[0].split(", ") for text in listed]
    assert list(itertools.chain(*names)) == [str(folder / name) for name in BAD]
    for text, those in zip(listed, names, strict=True):
        assert all(BAD[os.path.basename(name)] in text for name in those)
    many = [str(folder / "4.jpg")] * 7 + [str(folder / "0.jpg")]
    with pytest.warns(UserWarning, match="7 of 8 images of 8 files") as caught:
        list(load(many, on_error="skip").dataset())
    (warning,) = caught
    message = str(warning.message)
    assert message.count("4.jpg") == 5 and message.endswith("; ...")


def test_in_batches_the_image_before_takes_the_place(folder):
    source = load(folder, on_error="skip")
    batches = make(source, shuffle=False)
    assert batches.cardinality() == 2
    with pytest.warns(UserWarning, match="4 of 10 images"):
        found = list(batches)
    # 1, 3, 4 and 6 cannot be read.
    assert indices(found) == [[0, 0, 2, 2, 2], [5, 5, 7, 8, 9]]
    # Where there is none before, it is the last one: around a circle.
    paths = [folder / name for name in ("4.jpg", "0.jpg", "7.png", "4.jpg")]
    batches = make(load(paths, on_error="skip"), shuffle=False, batch_size=4)
    with pytest.warns(UserWarning, match="2 of 4 images"):
        assert indices(batches) == [[2, 1, 2, 2]]


def test_what_is_told_once_is_not_told_again(folder, tmp_path):
    paths = [folder / name for name in ("0.jpg", "4.jpg")]
    path = tmp_path / "vanishing.png"
    path.write_bytes(encoded(picture()))
    source = load([*paths, path], on_error="skip")
    batches = make(source, batch_size=3)
    with pytest.warns(UserWarning, match="1 of 3 images"):
        list(batches)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        list(batches)
    path.unlink()
    with pytest.warns(UserWarning, match=r"2 of 3.*vanishing\.png \(No such"):
        list(batches)


def test_the_warning_comes_with_the_last_batch(folder):
    # And not only when a further one is asked for: `fit` may not.
    batches = iter(make(load(folder, on_error="skip"), shuffle=False))
    with pytest.warns(UserWarning, match="4 of 10"):
        next(batches), next(batches)


@pytest.mark.parametrize("way", ["batches", "dataset"])
def test_on_error_raise_names_the_file(folder, way):
    source = load(folder)
    elements = (
        make(source, shuffle=False) if way == "batches" else (source.dataset())
    )
    message = r"Could not read .*1\.jpg \(.*Invalid JPEG.*on_error='skip'"
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        list(elements)


def test_a_batch_of_which_nothing_is_left_is_an_error(folder):
    paths = [folder / name for name in ("0.jpg", "2.png", "4.jpg", "6.png")]
    source = load(paths, on_error="skip")
    batches = iter(make(source, shuffle=False, batch_size=2))
    next(batches)
    message = r"None of the images of a batch.*4\.jpg \(not.*6\.png \(No such"
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        next(batches)


def test_a_data_set_of_which_nothing_is_left_is_an_error(folder):
    source = load([folder / "4.jpg", folder / "6.png"], on_error="skip")
    with pytest.raises(
        tf.errors.InvalidArgumentError, match="None of the 2 images"
    ):
        list(source.dataset())


def test_a_mask_that_cannot_be_read_is_as_bad_as_no_image(folder):
    paths = [folder / name for name in ("7.png", "2.png")]
    source = load(paths, masks=paths[1:] * 2, on_error="skip")
    message = r"None of the 2.*2\.png \(.*mask must have one channel"
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        list(source.dataset())


def test_an_error_of_the_views_is_told_with_its_reason(folder):
    def too_small(example):
        height = tf.shape(example["images"])[0]
        message = ["a view needs 2 rows"]
        with tf.control_dependencies(
            [tf.debugging.Assert(height > 1, message)]
        ):
            return describe(example)

    source = load([folder / name for name in GOOD], on_error="skip")
    with pytest.warns(UserWarning, match=r"2 of 6.*7\.png.* \(.*needs 2 rows"):
        assert indices(
            make(source, too_small, shuffle=False, batch_size=6)
        ) == [[0, 1, 2, 2, 2, 5]]


def same(one, other):
    keras.tree.map_structure(np.testing.assert_array_equal, one, other)


def test_dirty_files_in_another_run_and_from_any_position(folder):
    source = load(folder, on_error="skip")
    options = {"shuffle": 4}
    whole = make(source, **options)
    epochs = [quiet(whole) for _ in range(3)]
    assert [len(epoch) for epoch in epochs] == [2, 2, 2]
    resumed = make(source, start=(1, 1), **options)
    threads = tf.data.Options()
    threads.threading.private_threadpool_size = 1
    same(quiet(resumed.with_options(threads)), epochs[1][1:])
    same(quiet(resumed), epochs[2])


def test_a_shard_of_files_is_its_rows_of_the_whole_batches(folder):
    source = load([folder / name for name in GOOD])
    (whole,) = make(source, batch_size=6)
    (shard,) = make(source, batch_size=6, shard=(2, 3))
    same(shard, keras.tree.map_structure(lambda rows: rows[4:], whole))


def test_views_of_files_of_all_kinds_resume_in_the_second_epoch(folder):
    source = load(folder, on_error="skip")
    options = {"multi_view": MultiView.scenes(size=8)}
    whole = make(source, **options)
    first, second = quiet(whole), quiet(whole)
    (resumed,) = quiet(make(source, start=(1, 1), **options))
    same(resumed, second[1])
    for epoch in (first, second):
        for (inputs,) in epoch:
            for view in inputs["views"]:
                assert view.shape == (5, 8, 8, 3)
                assert np.all(np.isfinite(view))
    sizes = {tuple(map(int, s)) for (x,) in first for s in x["source_size"]}
    # Of the file that is turned, those of the image that is shown.
    assert sizes == {(20, 30), (40, 25), (30, 20), (1, 1), (1, 400), (300, 2)}


class TakesFiles:
    """Views that decode what they are given, and tell how it came."""

    accepts_encoded = True

    def __call__(self, example):
        is_file = example["images"].dtype == tf.string
        if is_file:
            example = {
                **example,
                "images": tf.io.decode_jpeg(
                    example["images"], 3, dct_method="INTEGER_ACCURATE"
                ),
            }
        views = describe(example)
        told = tf.constant([int(is_file)])
        return {**views, "views": (*views["views"], told)}


def test_layers_that_take_files_get_jpeg_files_that_are_not_turned(folder):
    source = load(folder, on_error="skip")
    options = {"shuffle": False, "batch_size": 10}
    ((inputs,),) = quiet(make(source, TakesFiles(), **options))
    ((expected,),) = quiet(make(source, **options))
    same(inputs["views"][:2], expected["views"])
    same(inputs["source_size"], expected["source_size"])
    came_as_file = inputs["views"][2][:, 0].numpy().tolist()
    # 0 and 9 are JPEG files, 5 is one that is turned.
    assert came_as_file == [1, 1, 0, 0, 0, 0, 0, 0, 0, 1]


def test_masks_come_decoded_beside_files(folder, tmp_path):
    seen = []

    class Masks(TakesFiles):
        def __call__(self, example):
            mask = example.pop("segmentation_masks")
            seen.append(mask.dtype)
            views = super().__call__(example)
            return {**views, "source_size": tf.reduce_max(mask)[None]}

    masks = [tmp_path / "0.png", tmp_path / "1.png"]
    masks[0].write_bytes(encoded(np.full((20, 30), 7, np.uint8)))
    masks[1].write_bytes(encoded(np.full((300, 3), 7, np.uint8)))
    source = load(
        [folder / "0.jpg", folder / "9.jpg"], masks=masks, on_error="skip"
    )
    batches = make(source, Masks(), shuffle=False, batch_size=2)
    # It is the mask that is told of.
    message = (
        r"1 of 2.*skipped: the mask \S*1\.png \(the mask is 300 x 3 pixels, "
        "its image 300 x 2"
    )
    with pytest.warns(UserWarning, match=message):
        ((inputs,),) = list(batches)
    assert inputs["source_size"].numpy().tolist() == [[7], [7]]
    assert set(seen) == {tf.uint8}
