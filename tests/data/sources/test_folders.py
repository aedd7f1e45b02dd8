"""Folders that mean something else than they seem."""

import os
import unicodedata
import warnings

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")

from image_files import encoded, picture  # noqa: E402

from keras_vicregl.data import labels_of, load, match_classes  # noqa: E402

IMAGE = encoded(picture())


def write(root, *names, contents=IMAGE):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(contents)


def quietly(*arguments, **options):
    """What `load` returns, which must not warn."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return load(*arguments, **options)


def names_of(source):
    return [
        source._name_of(i, {}).rpartition("/")[2] for i in range(len(source))
    ]


@pytest.fixture
def animals(tmp_path):
    for name in ("ant", "bee", "cat"):
        write(tmp_path, f"{name}/{name}0.png", f"{name}/{name}1.png")
    return tmp_path


class TestImagesOutsideOfClasses:
    def test_they_have_no_label(self, animals):
        write(animals, "stray.png")
        with pytest.warns(UserWarning, match="1 of 7 images .* no label"):
            source = load(animals, labels=True)
        assert source.class_names == ("ant", "bee", "cat")
        assert labels_of(source).tolist() == [0, 0, 1, 1, 2, 2, -1]

    def test_of_a_split_too(self, animals):
        write(animals / "ant", "x/0.png", "y/0.png", "y/1.png")
        with pytest.warns(UserWarning, match="2 of 5 images"):
            source = load(animals, "ant")
        assert labels_of(source).tolist() == [-1, -1, 0, 1, 1]

    def test_where_most_are_outside_folders_are_no_classes(self, tmp_path):
        write(tmp_path, *(f"{i}.png" for i in range(5)), "a/0.png", "b/0.png")
        with pytest.warns(UserWarning, match="5 of 7 images are in none of"):
            assert load(tmp_path).num_classes is None
        with pytest.warns(UserWarning, match="5 of 7 images .* no label"):
            source = load(tmp_path, class_names=["b", "a"])
        assert labels_of(source).tolist() == [-1] * 5 + [1, 0]


class TestFoldersThatAreNoClasses:
    @pytest.mark.parametrize("name", ["__MACOSX", "@eaDir", "#recycle"])
    def test_of_systems(self, animals, name):
        (animals / name).mkdir()
        assert quietly(animals).num_classes == 3
        # Thumbnails are no images of the set.
        write(animals, f"{name}/ant0.png", f"ant/{name}/ant0.png/SMALL.jpg")
        assert len(quietly(animals)) == 6

    def test_links(self, animals, tmp_path_factory):
        (animals / "a_link").symlink_to(animals / "bee")
        (animals / "zoo").symlink_to(animals)
        with pytest.warns(UserWarning, match="2 links .*'a_link', 'zoo'"):
            source = load(animals)
        assert source.class_names == ("ant", "bee", "cat")
        assert labels_of(source).tolist() == [0, 0, 1, 1, 2, 2]

    def test_links_to_other_places_are_folders(self, animals, tmp_path_factory):
        other = tmp_path_factory.mktemp("other")
        write(other, "0.png")
        (animals / "dog").symlink_to(other)
        source = quietly(animals)
        assert source.class_names == ("ant", "bee", "cat", "dog")
        assert labels_of(source).tolist() == [0, 0, 1, 1, 2, 2, 3]

    def test_of_copies(self, animals):
        copies = animals / "copies"
        write(copies / "0123456789abcdef" / "0", "0", "1", contents=IMAGE)
        assert quietly(animals, cache=copies).num_classes == 3

    def test_without_images(self, animals):
        write(animals, "notes/a.txt", contents=b"")
        assert quietly(animals).class_names == ("ant", "bee", "cat")
        # A class of which this split has no example.
        (animals / "dog").mkdir()
        assert quietly(animals).num_classes == 4


class TestSplits:
    SPLITS = (
        ("train", "val", "test"),
        ("Training", "Validation"),
        ("train2017", "val2017"),
        ("train_set", "unlabeled"),
        ("Train", "dev"),
        ("seg_train", "seg_test"),
        ("images_train", "images_test"),
        ("trainA", "trainB", "testA", "testB"),
        ("labelled", "unlabelled"),
        ("fold_0", "fold_1", "fold_10"),
    )

    @pytest.mark.parametrize("splits", SPLITS, ids=" ".join)
    def test_are_never_classes(self, tmp_path, splits):
        for split in splits:
            write(tmp_path, f"{split}/0.png", f"{split}/1.png")
        count = 2 * len(splits)
        with pytest.warns(UserWarning, match=rf"All {count} images.*splits"):
            source = load(tmp_path)
        assert len(source) == count and source.num_classes is None

    def test_have_classes_in_them(self, tmp_path):
        for name in ("train/ant", "train/bee", "test/bee"):
            write(tmp_path, f"{name}/0.png", f"{name}/1.png")
        with pytest.warns(UserWarning, match="split='test'.*'test.train'"):
            source = load(tmp_path)
        assert source.class_names == ("ant", "bee")
        assert labels_of(source).tolist() == [1, 1, 0, 0, 1, 1]

    def test_several_are_joined(self, tmp_path):
        names = ("train/ant", "val/ant", "val/bee", "test/cat")
        for name in names:
            write(tmp_path, f"images/{name}/0.png", f"masks/{name}/0.png")
        for name in names:
            mask = encoded(np.zeros((24, 31), np.uint8))
            write(tmp_path, f"masks/{name}/0.png", contents=mask)
        source = quietly(
            tmp_path / "images", "train+val", masks=tmp_path / "masks"
        )
        assert source.class_names == ("ant", "bee")
        assert labels_of(source).tolist() == [0, 0, 1]
        assert source._masks[1] == str(tmp_path / "masks/val/ant/0.png")
        with pytest.raises(ValueError, match=r"'train\+x' must be a folder in"):
            load(tmp_path / "images", "train+x")
        with pytest.raises(ValueError, match="names a folder twice"):
            load(tmp_path / "images", "train+train")

    def test_one_beside_other_folders(self, animals):
        write(animals, "train/0.png", "train/1.png")
        with pytest.warns(UserWarning, match="'train', beside 'ant', 'bee'"):
            assert load(animals).num_classes is None
        vehicles = ["ant", "bee", "cat", "train"]
        assert quietly(animals, class_names=vehicles).num_classes == 4


class TestLooks:
    @pytest.mark.parametrize("each", [1, 2])
    def test_a_folder_an_image(self, tmp_path, each):
        count = 32
        for number in range(count):
            write(tmp_path, f"{number}/0.png")
        if each == 2:
            write(tmp_path, "0/1.png", "5/1.png")
        with pytest.warns(UserWarning, match="looks like a folder an image"):
            load(tmp_path)
        assert quietly(tmp_path, labels=False).num_classes is None
        names = [str(number) for number in range(count)]
        assert quietly(tmp_path, class_names=names).num_classes == count

    @pytest.mark.parametrize(
        "names",
        [
            ("images", "masks"),
            ("JPEGImages", "SegmentationClass"),
            ("img", "gt"),
            ("color", "trainannot"),
        ],
    )
    @pytest.mark.parametrize("labels", [True, False])
    def test_images_and_masks(self, tmp_path, names, labels):
        for name in names:
            write(tmp_path, f"{name}/0.png", f"{name}/1.png")
        with pytest.warns(UserWarning, match="looks like images and masks"):
            load(tmp_path, labels=labels)
        assert quietly(tmp_path, names[0]).num_classes is None

    def test_images_and_masks_of_each_case(self, tmp_path):
        for case in ("p1", "p2", "p3"):
            for name in ("images/0", "images/1", "masks/0", "masks/1"):
                write(tmp_path, f"{case}/{name}.png")
        with pytest.warns(
            UserWarning, match="'images' and 'masks', and all 12"
        ):
            load(tmp_path)

    @pytest.mark.parametrize("mask", ["{}_mask.png", "{}-GT.png", "{}.png"])
    def test_masks_beside_images(self, tmp_path, mask):
        for name in ("ant/a (1)", "ant/a (2)", "bee/b_3"):
            write(tmp_path, f"{name}.jpg", mask.format(name))
        with pytest.warns(UserWarning, match="3 of 6 files .* masks of images"):
            load(tmp_path)

    def test_few_that_look_like_masks_are_chance(self, animals):
        write(animals, "ant/ant0_mask.png", "ant/gt.png", "bee/a_label.png")
        assert len(quietly(animals)) == 9


class TestNamesInOtherForms:
    """Systems write an accented letter as one character or as two."""

    ONE, TWO = (unicodedata.normalize(f, "caf\xe9") for f in ("NFC", "NFD"))

    def test_are_one_class(self, tmp_path):
        assert self.ONE != self.TWO
        write(tmp_path, f"train/{self.ONE}/0.png", "train/bar/0.png")
        write(tmp_path, f"test/{self.TWO}/0.png", "test/bar/0.png")
        train, test = quietly(tmp_path, "train"), quietly(tmp_path, "test")
        assert train.class_names == test.class_names == ("bar", self.ONE)
        for given in (self.ONE, self.TWO):
            source = quietly(tmp_path, "test", class_names=[given, "bar"])
            assert labels_of(source).tolist() == [1, 0]
            assert source.class_names == (self.ONE, "bar")

    def test_other_letters_are_said(self, tmp_path):
        write(tmp_path, "train/Ant/0.png", "train/Bee/0.png")
        write(tmp_path, "test/Ant/0.png", "test/bee /0.png")
        train, test = load(tmp_path, "train"), load(tmp_path, "test")
        with pytest.warns(UserWarning, match="some are alike: 'Bee', 'bee '"):
            match_classes(train, test)


class TestWhatIsNoFolder:
    def test_a_file(self, tmp_path):
        write(tmp_path, "0.png", "a.zip")
        for name in ("0.png", "a.zip"):
            for path in (tmp_path / name, str(tmp_path / name)):
                with pytest.raises(ValueError, match="is a file, not a folder"):
                    load(path)

    @pytest.mark.parametrize("name", ["none.jpg", "data.zip", "data/*.jpg"])
    def test_nothing(self, name):
        with pytest.raises(ValueError, match="There is no folder") as caught:
            load(name)
        assert ("sorted(glob.glob(" in str(caught.value)) == ("*" in name)


class TestFilesThatAreNotRead:
    def test_are_counted_in_one_line(self, animals):
        write(
            animals, "ant/0.ppm", "bee/0.PPM", "a.npy", "bee/0", contents=b"x"
        )
        write(animals, "ant/README", "ant/list.csv", contents=b"x")
        write(animals, "ant/1.ppm", contents=b"")
        with pytest.warns(UserWarning) as caught:
            assert len(load(animals)) == 6
        (message,) = (str(each.message) for each in caught)
        assert "4 files" in message
        assert "1 .npy, 2 .ppm, 1 no ending" in message

    def test_are_told_of_where_there_is_nothing_else(self, tmp_path):
        write(tmp_path, "0.ppm", "1.ppm", contents=b"x")
        with pytest.raises(ValueError, match=r"no images.*but 2 \.ppm\."):
            load(tmp_path)

    @pytest.mark.parametrize("kind", ["tif", "HEIC", "jp2"])
    @pytest.mark.parametrize("as_list", [False, True])
    def test_those_that_cannot_be_decoded_are_named(
        self, tmp_path, kind, as_list
    ):
        write(tmp_path, "0.png", "1.png")
        write(tmp_path, f"x.{kind}", f"y.{kind}", contents=b"II*\0 no image")
        given = tmp_path
        if as_list:
            given = sorted(tmp_path.iterdir())
        message = rf"2 of 4 files .*cannot be read: .*x\.{kind}.*y\.{kind}"
        with pytest.raises(ValueError, match=message):
            load(given)
        with pytest.warns(UserWarning, match=rf"2 of 4 .*left out.*x\.{kind}"):
            source = load(given, on_error="skip")
        assert names_of(source) == ["0.png", "1.png"]

    def test_labels_and_masks_are_left_out_with_them(self, tmp_path):
        write(tmp_path, "0.tif", contents=b"no image")
        write(tmp_path, "1.png", "2.png", "m1.png", "m2.png")
        write(tmp_path, "m0.png", contents=b"no image")
        paths = [tmp_path / name for name in ("0.tif", "1.png", "2.png")]
        masks = [tmp_path / name for name in ("m0.png", "m1.png", "m2.png")]
        with pytest.warns(UserWarning, match=r"1 of 3 .*0\.tif"):
            source = load(paths, labels=[2, 1, 0], masks=masks, on_error="skip")
        assert labels_of(source).tolist() == [1, 0]
        assert source._masks == [str(path) for path in masks[1:]]

    def test_contents_count_where_names_do_not(self, tmp_path):
        write(tmp_path, "0.tif", "1")
        assert len(quietly([tmp_path / "0.tif", tmp_path / "1"])) == 2

    def test_masks_must_be_png(self, tmp_path):
        write(tmp_path, "0.png", "1.png", "m0.png")
        write(tmp_path, "m1.jpg", contents=encoded(picture(), "JPEG"))
        paths = [tmp_path / "0.png", tmp_path / "1.png"]
        masks = [tmp_path / "m0.png", tmp_path / "m1.jpg"]
        with pytest.raises(ValueError, match=r"1 of 2 .*PNG.*m1\.jpg"):
            load(paths, masks=masks)


def test_labels_of_none_are_taken(tmp_path):
    write(tmp_path, "0.png", "1.png", "2.png")
    paths = sorted(tmp_path.iterdir())
    source = load(paths, labels=[1, -1, 0])
    assert source.num_classes == 2
    assert labels_of(source).tolist() == [1, -1, 0]
    images = np.zeros((3, 8, 8, 3), np.uint8)
    source = load({"images": images, "labels": [-1, 2, -1]})
    assert source.num_classes == 3
    with pytest.raises(ValueError, match="or -1 where there is none"):
        load({"images": images, "labels": [-2, 2, -1]})


@pytest.mark.parametrize(
    ("labels", "advice"),
    [
        (list("abc"), "return_inverse"),
        (np.eye(3), "argmax"),
        ([[0], [1], [2]], r"labels\[:, 0\]"),
        ([0, 1, 2**40], "return_inverse"),
        ([0.0, 1.0, 2.0], "float64 of shape"),
    ],
)
def test_labels_of_other_kinds(labels, advice):
    images = np.zeros((3, 8, 8, 3), np.uint8)
    with pytest.raises(ValueError, match=advice):
        load({"images": images, "labels": labels})


@pytest.mark.parametrize(
    ("given", "meant"),
    [("label", "labels"), ("masks", "segmentation_masks"), ("bbox", "boxes")],
)
def test_keys_that_nothing_reads(given, meant):
    arrays = {"images": np.zeros((3, 8, 8, 3), np.uint8), given: np.arange(3)}
    with pytest.warns(UserWarning, match=f"has '{given}', .*'{meant}' for"):
        load(arrays)
    assert quietly({"images": arrays["images"], "weights": np.arange(3)})


def test_images_that_were_cut_off_when_they_became_integers():
    images = np.random.default_rng(0).uniform(size=(3, 8, 8, 3)).round()
    with pytest.warns(UserWarning, match="no values but 0 and 1"):
        load(images.astype(np.uint8))
    quietly(np.ones((3, 8, 8, 3), np.uint8))
    quietly(np.zeros((3, 8, 8, 3), np.uint8))


def test_mask_labels_are_a_dictionary():
    masks = np.zeros((3, 8, 8, 1), np.uint8)
    arrays = {"images": np.zeros((3, 8, 8, 3), np.uint8)}
    with pytest.raises(ValueError, match=r"mask_labels must .*\[0, 1\]"):
        load(arrays | {"segmentation_masks": masks}, mask_labels=[0, 1])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="has no pipes")
def test_a_pipe_among_images_is_passed_over(tmp_path):
    (tmp_path / "0.jpg").write_bytes(encoded(picture(8, 9), "JPEG"))
    os.mkfifo(tmp_path / "1.jpg")
    assert len(load(tmp_path)) == 1


def test_a_name_of_two_lines_is_told_in_one(tmp_path):
    (tmp_path / "new\nline.jpg").write_bytes(b"")
    reason = load(tmp_path)._reason(0, ValueError("empty"))
    assert reason.endswith("new\\nline.jpg (empty)")


def test_an_array_of_names_is_a_list_of_files(tmp_path):
    path = tmp_path / "0.jpg"
    path.write_bytes(encoded(picture(8, 9), "JPEG"))
    for names in (np.array([str(path)]), np.array([path], object)):
        assert load(names).example(0)["images"].shape == (8, 9, 3)
