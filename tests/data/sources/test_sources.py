import os
import pathlib

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")

from image_files import encoded, picture  # noqa: E402

from keras_vicregl.data import ImageSource, digit_scenes, load, steps_per_epoch  # noqa: E402

# Paths of images in a folder, out of order and of different sizes.
PATHS = ["b/2.png", "a/x/1.JPG", "b/1.jpeg", "a/0.png", "c/3.webp"]
KINDS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
IN_ORDER = ["a/0.png", "a/x/1.JPG", "b/1.jpeg", "b/2.png", "c/3.webp"]


def write(path, contents):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(contents)


def pixels(path):
    return picture(20 + len(path), 30, seed=PATHS.index(path))


@pytest.fixture
def folder(tmp_path):
    for path in PATHS:
        kind = KINDS[pathlib.Path(path).suffix.lower()]
        options = {"lossless": True} if kind == "WEBP" else {}
        write(tmp_path / path, encoded(pixels(path), kind, **options))
    # What is no image by its name, or hidden, is none.
    for path in ("a/notes.txt", "b/Thumbs.db", "b/._1.jpeg", ".trash/1.png"):
        write(tmp_path / path, b"no image")
    return tmp_path


def examples(source):
    found = list(source.dataset().as_numpy_iterator())
    for example in found:
        assert example["images"].dtype == np.uint8
        assert example["images"].shape[2:] == (3,)
        if "labels" in example:
            assert example["labels"].dtype == np.int32
        if "segmentation_masks" in example:
            assert example["segmentation_masks"].dtype == np.uint8
            size = (*example["images"].shape[:2], 1)
            assert example["segmentation_masks"].shape == size
    return found


def labels_of(source):
    return [int(example["labels"]) for example in examples(source)]


def assert_are_pictures(found, paths):
    assert len(found) == len(paths)
    for example, path in zip(found, paths, strict=True):
        difference = example["images"].astype(int) - pixels(path)
        assert np.mean(np.abs(difference)) < (0.1 if "png" in path else 20)


@pytest.mark.parametrize("as_type", [str, pathlib.Path])
def test_a_folder_of_classes(folder, as_type):
    source = load(as_type(folder))
    assert isinstance(source, ImageSource)
    assert len(source) == 5 and source.num_classes == 3
    assert source.class_names == ("a", "b", "c") and not source.has_masks
    found = examples(source)
    assert_are_pictures(found, IN_ORDER)
    assert [int(each["labels"]) for each in found] == [0, 0, 1, 1, 2]
    assert steps_per_epoch(source, 2) == 2
    assert source.dataset().cardinality() == 5
    assert repr(source) == f"<ImageSource {folder}: 5 images, 3 classes>"


def test_a_split_is_a_folder_in_the_folder(folder):
    source = load(folder, "a")
    # Of one folder and an image beside it there are no classes.
    assert source.num_classes is None and source.class_names is None
    found = examples(source)
    assert_are_pictures(found, IN_ORDER[:2])
    assert "labels" not in found[0]
    message = "split='val' must be a folder in .*'a', 'b', 'c'.*split=None"
    with pytest.raises(ValueError, match=message):
        load(folder, "val")


def test_a_flat_folder_has_no_labels(tmp_path):
    for name in ("0.png", "1.png"):
        write(tmp_path / name, encoded(picture()))
    source = load(tmp_path)
    assert len(source) == 2 and source.num_classes is None


def test_one_folder_for_all_is_no_class(folder):
    (folder / "a" / "0.png").unlink()
    source = load(folder, "a")
    assert len(source) == 1 and source.num_classes is None


def test_labels_can_be_left_out(folder):
    source = load(folder, labels=False)
    assert source.num_classes is None
    assert "labels" not in examples(source)[0]


def test_class_names_say_which_folder_is_which_class(folder):
    source = load(folder, class_names=["d", "c", "b", "a"])
    assert source.num_classes == 4
    assert labels_of(source) == [3, 3, 2, 2, 1]
    with pytest.raises(ValueError, match="not in class_names: 'a', 'c'"):
        load(folder, class_names=["b"])
    (folder / "a" / "0.png").rename(folder / "a" / "x" / "0.png")
    with pytest.raises(ValueError, match="no folder for each class"):
        load(folder, "a/x", class_names=["x"])


def test_an_empty_folder_is_a_class_too(folder):
    # Else labels would depend on the split.
    (folder / "a0").mkdir()
    assert labels_of(load(folder)) == [0, 0, 2, 2, 3]


def test_links_are_followed_but_not_in_circles(folder, tmp_path):
    (folder / "c" / "back").symlink_to(folder)
    (folder / "d").symlink_to(folder / "c")
    with pytest.warns(UserWarning, match="1 links .* left out: 'd'"):
        source = load(folder)
    assert len(source) == 5


def test_a_folder_without_images_is_an_error(tmp_path):
    write(tmp_path / "a" / "readme.txt", b"hello")
    with pytest.raises(ValueError, match=r"no images in the folder.*\.jpg"):
        load(tmp_path)


@pytest.mark.parametrize(
    "source", ["./nowhere", "/nowhere", "~/nowhere/", pathlib.Path("cifar10")]
)
def test_a_folder_that_is_not_there_is_an_error(source):
    with pytest.raises(ValueError, match="There is no folder"):
        load(source)


def masks_of(paths):
    return {
        path: np.full((20 + len(path), 30), number + 1, np.uint8)
        for number, path in enumerate(paths)
    }


def test_masks_in_a_folder_of_their_own(folder, tmp_path_factory):
    masks = tmp_path_factory.mktemp("masks")
    for path, mask in masks_of(PATHS).items():
        write((masks / path).with_suffix(".png"), encoded(mask))
    source = load(folder, masks=masks)
    assert source.has_masks
    for example, path in zip(examples(source), IN_ORDER, strict=True):
        expected = masks_of(PATHS)[path]
        found = example["segmentation_masks"][:, :, 0]
        np.testing.assert_array_equal(found, expected)
    (masks / "b" / "2.png").unlink()
    with pytest.raises(ValueError, match=r"1 of 5 images have no mask.*2\.png"):
        load(folder, masks=masks)
    with pytest.raises(ValueError, match="no folder of masks"):
        load(folder, masks=masks / "x")
    with pytest.raises(ValueError, match="masks=True does not say where"):
        load(folder, masks=True)


def test_a_list_of_files(folder):
    paths = [folder / path for path in PATHS[:3]]
    source = load([str(paths[0]), *paths[1:]], labels=[1, 0, 3])
    assert_are_pictures(examples(source), PATHS[:3])
    assert labels_of(source) == [1, 0, 3] and source.num_classes == 4
    source = load(paths, masks=[folder / "a/0.png"] * 3)
    assert source.num_classes is None and source.has_masks
    named = load(paths, labels=[1, 0, 1], class_names="xyz")
    assert named.num_classes == 3 and named.class_names == ("x", "y", "z")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": [0, 1]}, "labels must be 3 integers, one an image"),
        ({"labels": [0.0, 1.0, 2.0]}, "labels must be 3 integers"),
        ({"labels": [0, -2, 2]}, "labels must be at least 0.* from -2 to 2"),
        (
            {"labels": [0, 1, 2], "class_names": "ab"},
            r"labels must be in 0\.\.1, the indices of class_names, or -1.*2",
        ),
        ({"masks": ["a"]}, "masks must be 3 files, one an image. Received: 1"),
    ],
)
def test_lists_that_do_not_fit_together(options, message):
    with pytest.raises(ValueError, match=message):
        load(["1.png", "2.png", "3.png"], **options)


def test_an_empty_list_is_an_error():
    with pytest.raises(ValueError, match="list of files is empty"):
        load([])


def test_scenes():
    source = load("digit_scenes", "test", count=3, size=48, seed=5)
    assert len(source) == 3 and source.has_masks
    assert source.num_classes == 10 and source.class_names[7] == "7"
    expected = digit_scenes("test", 3, size=48, seed=5)
    for i, example in enumerate(examples(source)):
        for key, value in example.items():
            np.testing.assert_array_equal(value, expected[key][i])
    source = load("digit_scenes", count=2, labels=False, masks=False)
    assert source.num_classes is None and source.class_names is None
    assert examples(source)[0].keys() == {"images"}


IMAGES = np.random.default_rng(0).integers(0, 256, (4, 6, 8, 3), np.uint8)


def test_arrays():
    assert len(load(IMAGES)) == 4
    np.testing.assert_array_equal(
        [each["images"] for each in examples(load(IMAGES))], IMAGES
    )
    arrays = {
        "images": IMAGES,
        "labels": np.array([0, 2, 1, 0], np.int64),
        "segmentation_masks": IMAGES[:, :, :, :1],
    }
    source = load(arrays)
    assert source.num_classes == 3 and source.has_masks
    assert labels_of(source) == [0, 2, 1, 0]
    assert load(arrays, labels=False, masks=False).num_classes is None


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (IMAGES[0], r"uint8 of shape \(N, H, W, 3\).*uint8 of shape \(6, 8, 3"),
        (IMAGES[:, :, :, 0], r"shape \(4, 6, 8\).*images\[..., None\]"),
        (np.zeros((4, 3, 48, 64), "uint8"), "channels seem to come first"),
        (IMAGES / 255, "must be uint8.*Received: float64"),
        (IMAGES[:0], "must have one length, which is not zero"),
        ({"labels": np.zeros(3, int)}, "must have the key 'images'"),
        (
            {"images": IMAGES, "labels": np.zeros(3, int)},
            "must have one length",
        ),
        ({"images": IMAGES, "labels": np.arange(4) - 2}, "at least 0"),
        (
            {"images": IMAGES, "segmentation_masks": IMAGES[:, :5, :, :1]},
            r"size of their images, shape \(4, 6, 8, 1\).*\(4, 5, 8, 1\)",
        ),
    ],
)
def test_arrays_that_do_not_fit_together(arrays, message):
    with pytest.raises(ValueError, match=message):
        load(arrays)


@pytest.mark.parametrize(
    ("source", "options", "error", "message"),
    [
        (3, {}, TypeError, "source must be 'digit_scenes', a folder.*int"),
        ([1, 2], {}, TypeError, "source must be .* Received: list"),
        (IMAGES, {"on_error": "ignore"}, ValueError, "'raise' or 'skip'"),
        (IMAGES, {"split": "train"}, TypeError, "split: not for arrays"),
        (["a.png"], {"count": 3}, TypeError, "count: not for a list of files"),
        (".", {"labels": [1]}, TypeError, "labels: not for a folder"),
        (".", {"cache": 3}, ValueError, "True, False or a folder.* 3"),
        ("digit_scenes", {"masks": "x"}, TypeError, "masks: not for"),
        ("digit_scenes", {"split": "val"}, ValueError, "split='val'"),
        ("cifar10", {"cache": "x"}, ValueError, "on disk in data_dir already"),
    ],
)
def test_bad_arguments(source, options, error, message):
    with pytest.raises(error, match=message):
        load(source, **options)


@pytest.mark.parametrize("kind", ["memory", "disk"])
def test_cached_files_are_not_read_again(folder, tmp_path_factory, kind):
    copies = tmp_path_factory.mktemp("cache") / "of" / "files"
    cache = True if kind == "memory" else copies
    source = load(folder, cache=cache, masks=None)
    first = examples(source)
    assert_are_pictures(first, IN_ORDER)
    for path in PATHS:
        (folder / path).write_bytes(b"")
    again = [source]
    if kind == "disk":
        # By a later run too, and what has not been copied is.
        (kept,) = copies.iterdir()
        assert len(list(kept.rglob("*/*"))) == 5
        again.append(load(folder, cache=cache))
    for each in again:
        for one, other in zip(examples(each), first, strict=True):
            np.testing.assert_array_equal(one["images"], other["images"])


def test_a_cache_that_cannot_be_written_is_done_without(folder, tmp_path):
    source = load(folder, cache=tmp_path / "cache")
    (kept,) = (tmp_path / "cache").iterdir()
    # We may be allowed everything: a file where a folder should be stops all.
    write(kept / "0", b"")
    with pytest.warns(UserWarning, match="cache cannot be written"):
        assert_are_pictures(examples(source), IN_ORDER)
    with pytest.raises(
        ValueError, match="must be a folder that can be written"
    ):
        load(folder, cache=kept / "0" / "x")


def test_undecodable_names_are_read(tmp_path):
    path = os.fsencode(tmp_path) + b"/\xff\xe4.png"
    with open(path, "wb") as file:
        file.write(encoded(picture()))
    (example,) = examples(load(tmp_path))
    np.testing.assert_array_equal(example["images"], picture())
