"""Files of any channels and depth, against what was written into them."""

import re
import struct
import threading
import zlib

import numpy as np
import pytest
from PIL import Image

from keras_vicregl._installed import missing
from keras_vicregl.data import (
    ImageSource,
    channel_statistics,
    labels_of,
    load,
    match_classes,
    subset,
    view_batches,
)
from keras_vicregl.data.decoding import raw, tiff, wide_png
from keras_vicregl.data.sources import image_source
from keras_vicregl.evaluation import image_batches
from keras_vicregl.views import MultiView

tf = pytest.importorskip("tensorflow")
tifffile = pytest.importorskip("tifffile")

from image_files import exif, picture  # noqa: E402

GREY16 = np.random.default_rng(0).integers(0, 65536, (20, 33), dtype="uint16")
BANDS = np.random.default_rng(1).normal(size=(20, 33, 13)).astype("float32")


def images_of(source):
    return [example["images"] for example in source.examples_in_python()]


def written(path, image, **options):
    tifffile.imwrite(path, image, **options)
    return path


def stack_of_metamorph(path, pages):
    """A file whose one page says how many follow it."""
    count = len(pages)
    plane_tags = [
        (33628, 4, count, (0,) * count, True),
        (33629, 5, count, (1,) * 2 * count, True),
    ]
    tifffile.imwrite(path, pages[0], metadata=None, extratags=plane_tags)
    with open(path, "ab") as file:
        file.write(pages[1:].tobytes())


class TestTiff:
    @pytest.mark.parametrize("kind", ["shaped", "metamorph"])
    def test_one_page_may_say_where_all_are(self, tmp_path, kind):
        stack = np.stack([GREY16, GREY16 // 2, GREY16 // 3])
        if kind == "shaped":
            options = {"truncate": True, "photometric": "minisblack"}
            written(tmp_path / "a.tif", stack, **options)
        else:
            stack_of_metamorph(tmp_path / "a.tif", stack)
        with pytest.raises(ValueError, match="it has 3 pages"):
            load(tmp_path)
        (found,) = images_of(load(tmp_path, pages="channels"))
        np.testing.assert_array_equal(found, np.moveaxis(stack, 0, -1))
        found = images_of(load(tmp_path, pages="examples"))
        np.testing.assert_array_equal(np.stack(found)[..., 0], stack)

    @pytest.mark.parametrize(
        ("image", "tag", "count"),
        [
            (np.where(BANDS < -1, np.float32(-9999), BANDS), "-9999", 1),
            (np.where(BANDS < -1, np.float32("nan"), BANDS), "nan", 1),
            # As GDAL writes it: as a float32 it is the smallest.
            (
                np.where(BANDS < -1, np.finfo("f4").min, BANDS),
                "-3.4028234663852886e+38 ",
                1,
            ),
            (np.where(GREY16 < 9000, 65535, GREY16)[..., None], "65535", 0),
        ],
        ids=["number", "nan", "smallest", "uint16"],
    )
    def test_no_data_is_told_or_filled(self, tmp_path, image, tag, count):
        image = image.astype(BANDS.dtype if count else GREY16.dtype)
        missing = np.isnan(image) | (image == np.float32(tag))
        options = {
            "photometric": "minisblack",
            "planarconfig": "contig" if count else None,
            "extratags": [(42113, 2, 0, tag, True)],
        }
        written(tmp_path / "a.tif", image, **options)
        told = f"{missing.sum()} of {image.size} values are no data.*no_data=0"
        with pytest.raises(ValueError, match=told):
            images_of(load(tmp_path))
        (found,) = images_of(load(tmp_path, no_data=7))
        np.testing.assert_array_equal(found, np.where(missing, 7, image))
        assert found.dtype == image.dtype
        if not count:
            with pytest.raises(ValueError, match="no_data=-1 is no uint16"):
                images_of(load(tmp_path, no_data=-1))

    def test_no_data_that_is_zero_stays(self, tmp_path):
        image = np.where(GREY16 < 9000, 0, GREY16)
        options = {"extratags": [(42113, 2, 0, "0", True)]}
        written(tmp_path / "a.tif", image, **options)
        (found,) = images_of(load(tmp_path))
        np.testing.assert_array_equal(found[..., 0], image)
        (found,) = images_of(load(tmp_path, no_data=5))
        np.testing.assert_array_equal(found[..., 0] == 5, image == 0)

    @pytest.mark.parametrize("value", ["0", float("nan"), True])
    def test_no_data_is_a_number(self, tmp_path, value):
        written(tmp_path / "a.tif", GREY16)
        with pytest.raises(ValueError, match="no_data must be a finite"):
            load(tmp_path, no_data=value)

    def test_axes_that_a_file_tells_are_not_guessed(self, tmp_path):
        image = np.random.default_rng(0).integers(0, 9, (4, 100, 30), "uint16")
        options = {"photometric": "minisblack", "planarconfig": "contig"}
        written(tmp_path / "a.tif", image, **options)
        (found,) = images_of(load(tmp_path))
        np.testing.assert_array_equal(found, image)

    def test_a_palette_of_eight_bits(self, tmp_path):
        values = np.arange(12, dtype="uint8").reshape(3, 4)
        colors = np.stack([np.arange(256)] * 3).astype("uint16")
        written(
            tmp_path / "a.tif", values, photometric="palette", colormap=colors
        )
        (found,) = images_of(load(tmp_path))
        np.testing.assert_array_equal(found, values[..., None].repeat(3, -1))

    @pytest.mark.parametrize(
        ("image", "options"),
        [
            (GREY16, {"rowsperstrip": 7}),
            (GREY16, {"tile": (16, 16), "compression": "zlib"}),
            (GREY16, {"byteorder": ">", "bigtiff": True}),
            (GREY16, {"predictor": 2, "compression": "zlib"}),
            (picture(20, 33), {}),
            (BANDS, {"photometric": "minisblack", "planarconfig": "contig"}),
        ],
        ids=["strips", "tiles", "big", "predictor", "RGB", "bands"],
    )
    def test_values_are_as_they_were(self, tmp_path, image, options):
        path = written(tmp_path / "a.tif", image, **options)
        source = load([path])
        whole = image if image.ndim == 3 else image[..., None]
        (found,) = images_of(source)
        np.testing.assert_array_equal(found, whole)
        assert found.dtype == image.dtype and found.dtype.isnative
        assert (source.channels, source.dtype) == (whole.shape[2], image.dtype)
        assert source._size_of(0) == (20, 33)

    @pytest.mark.parametrize("tiled", [{}, {"tile": (16, 16)}])
    def test_planes_become_channels(self, tmp_path, tiled):
        planes = np.moveaxis(BANDS, -1, 0)
        written(
            tmp_path / "a.tif",
            planes,
            planarconfig="separate",
            photometric="minisblack",
            **tiled,
        )
        (found,) = images_of(load(tmp_path))
        np.testing.assert_array_equal(found, BANDS)

    @pytest.mark.parametrize("options", [{}, {"imagej": True}])
    def test_pages(self, tmp_path, options):
        stacks = [
            np.random.default_rng(n).integers(0, 999, (3, 9, 8)).astype("u2")
            for n in range(2)
        ]
        if not options:
            options = {"photometric": "minisblack"}
        for name, stack in zip("ab", stacks, strict=True):
            (tmp_path / name).mkdir()
            written(tmp_path / name / "0.tif", stack, **options)
        with pytest.raises(ValueError, match=r"a/0.*3 pages: pages='channels'"):
            load(tmp_path)
        one = load(tmp_path, pages="channels")
        for found, stack in zip(images_of(one), stacks, strict=True):
            np.testing.assert_array_equal(found, np.moveaxis(stack, 0, -1))
        many = load(tmp_path, pages="examples")
        np.testing.assert_array_equal(
            np.stack(images_of(many))[..., 0], np.concatenate(stacks)
        )
        assert labels_of(many).tolist() == [0] * 3 + [1] * 3
        assert "b/0.tif, page 2" in many._name_of(5, {})

    def test_a_stack_that_only_its_first_page_describes(self, tmp_path):
        stack = np.arange(3 * 40 * 40, dtype="u2").reshape(3, 40, 40)
        whole = written(tmp_path / "a.tif", stack, imagej=True)
        with tifffile.TiffFile(whole) as file:
            last = file.pages[0].offset
            count = struct.unpack("<H", whole.read_bytes()[last:][:2])[0]
        data = bytearray(whole.read_bytes())
        # No page follows the first.
        place = last + 2 + 12 * count
        data[place : place + 4] = bytes(4)
        whole.write_bytes(data)
        found = images_of(load([whole], pages="examples"))
        np.testing.assert_array_equal(np.stack(found)[..., 0], stack)

    def test_smaller_copies_are_no_pages(self, tmp_path):
        with tifffile.TiffWriter(tmp_path / "a.tif") as file:
            file.write(GREY16)
            file.write(GREY16[::2, ::2], subfiletype=1)
        (found,) = images_of(load(tmp_path))
        np.testing.assert_array_equal(found[..., 0], GREY16)

    def test_a_palette_becomes_its_colours(self, tmp_path):
        colors = np.random.default_rng(0).integers(0, 65536, (3, 256))
        values = (GREY16 % 256).astype("uint8")
        written(
            tmp_path / "a.tif",
            values,
            photometric="palette",
            colormap=colors.astype("uint16"),
        )
        (found,) = images_of(load(tmp_path))
        expected = Image.open(tmp_path / "a.tif").convert("RGB")
        np.testing.assert_array_equal(found, np.asarray(expected))

    @pytest.mark.parametrize(
        ("contents", "message"),
        [
            (lambda whole: whole[:400], "a damaged TIFF file: failed to read"),
            (lambda whole: whole[:6], "a damaged TIFF file"),
        ],
    )
    def test_damage_is_told_with_the_name(self, tmp_path, contents, message):
        good = written(tmp_path / "0.tif", GREY16)
        bad = tmp_path / "1.tif"
        bad.write_bytes(contents(good.read_bytes()))
        with pytest.raises(ValueError, match=rf"1\.tif.*{message}"):
            images_of(load(tmp_path))

    @pytest.mark.skipif(not missing("imagecodecs"), reason="nothing is missing")
    def test_compressions_that_need_another_package_say_so(self, tmp_path):
        image = Image.fromarray(picture())
        image.save(tmp_path / "0.tif", compression="tiff_lzw")
        with pytest.raises(
            ValueError, match=r"0\.tif.*pip install imagecodecs"
        ):
            load(tmp_path)

    def test_without_tifffile_it_says_what_to_install(
        self, tmp_path, monkeypatch
    ):
        written(tmp_path / "0.tif", picture())
        Image.fromarray(picture()).save(tmp_path / "1.png")
        monkeypatch.setattr(tiff, "missing", lambda *names: names)
        with pytest.raises(ModuleNotFoundError, match=r"pip install tifffile"):
            load(tmp_path)
        with pytest.warns(UserWarning, match=r"1 of 2 .* TIFF .*0\.tif"):
            assert len(load(tmp_path, on_error="skip")) == 1


# Adam7: the first column and row of each pass, and the steps.
PASSES = (
    *((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4)),
    *((1, 0, 2, 2), (0, 1, 1, 2)),
)


def png(values, color_type, orientation=None, interlaced=False):
    """A PNG of 16 bits as the standard has it, not filtered."""

    def chunk(name, data):
        checksum = struct.pack(">I", zlib.crc32(name + data))
        return struct.pack(">I", len(data)) + name + data + checksum

    height, width = values.shape[:2]
    kind = (16, color_type, 0, 0, int(interlaced))
    header = struct.pack(">IIBBBBB", width, height, *kind)
    passes = [values]
    if interlaced:
        passes = [values[y::dy, x::dx] for x, y, dx, dy in PASSES]
    rows = b"".join(
        b"\0" + row.astype(">u2").tobytes() for each in passes for row in each
    )
    turn = b""
    if orientation is not None:
        turn = chunk(b"eXIf", exif(orientation).removeprefix(b"Exif\0\0"))
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + turn
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


class TestPng:
    @pytest.mark.parametrize(
        ("color_type", "stored", "channels"),
        [(0, 1, 1), (2, 3, 3), (4, 2, 1), (6, 4, 3)],
    )
    def test_all_sixteen_bits_stay(
        self, tmp_path, color_type, stored, channels
    ):
        rng = np.random.default_rng(color_type)
        values = rng.integers(0, 65536, (20, 33, stored), dtype="uint16")
        (tmp_path / "a.png").write_bytes(png(values, color_type))
        source = load(tmp_path)
        (found,) = images_of(source)
        np.testing.assert_array_equal(found, values[..., :channels])
        assert (source.channels, source.dtype) == (channels, "uint16")
        data = png(values, color_type, interlaced=True)
        np.testing.assert_array_equal(wide_png.decode(data), found)
        # With filters, by another library.
        data = tf.io.encode_png(values).numpy()
        np.testing.assert_array_equal(wide_png.decode(data), found)

    def test_it_is_turned(self, tmp_path):
        path = tmp_path / "a.png"
        path.write_bytes(png(GREY16[..., None], 0, orientation=6))
        source = load([path])
        (found,) = images_of(source)
        np.testing.assert_array_equal(found[..., 0], np.rot90(GREY16, -1))
        assert source._size_of(0) == found.shape[:2] == (33, 20)

    def test_damage_is_told(self, tmp_path):
        whole = png(GREY16[..., None], 0)
        (tmp_path / "0.png").write_bytes(whole)
        (tmp_path / "1.png").write_bytes(whole[:300])
        with pytest.raises(ValueError, match=r"1\.png \(a damaged PNG"):
            images_of(load(tmp_path))


class TestArrays:
    def test_npy_files_of_one_image_each(self, tmp_path):
        for name, image in {"0": BANDS, "1": BANDS[::-1].copy("F")}.items():
            np.save(tmp_path / f"{name}.npy", image)
        source = load(tmp_path)
        np.testing.assert_array_equal(images_of(source)[1], BANDS[::-1])
        assert (source.channels, source.dtype) == (13, "float32")
        np.save(tmp_path / "0.npy", GREY16.astype(">u2"))
        (found,) = images_of(load([tmp_path / "0.npy"]))
        np.testing.assert_array_equal(found[..., 0], GREY16)
        assert found.dtype.isnative

    @pytest.mark.parametrize("order", "<>")
    def test_a_file_of_many_is_mapped(self, tmp_path, order):
        many = np.stack([GREY16, GREY16 // 3])[..., None]
        np.save(tmp_path / "many.npy", many.astype(f"{order}u2"))
        source = load(tmp_path / "many.npy")
        if order == "<":  # not copied
            assert isinstance(source._arrays["images"].base, np.memmap)
        for found in (
            images_of(source),
            [e["images"] for e in source.dataset()],
        ):
            np.testing.assert_array_equal(np.stack(found), many)
        assert source.dtype == "uint16"
        expected = channel_statistics(many)
        assert channel_statistics(source) == expected

    @pytest.mark.parametrize(
        ("array", "message"),
        [
            (np.zeros((2, 9, 9, 3)), r"many.npy.*Pass images.astype"),
            (np.zeros((9, 9), "u1"), r"many.npy.*one image is load\(\["),
        ],
    )
    def test_other_files_of_arrays_are_told(self, tmp_path, array, message):
        np.save(tmp_path / "many.npy", array)
        with pytest.raises(ValueError, match=message):
            load(tmp_path / "many.npy")


def big_endian(path):
    """A format of one's own: rows of 30 values."""
    with open(path, "rb") as file:
        return np.frombuffer(file.read(), ">u2").reshape(-1, 30)


@pytest.fixture
def own(tmp_path):
    """Files that `big_endian` reads, of two classes and many sizes."""
    rng = np.random.default_rng(0)
    root = tmp_path / "own"
    for number in range(6):
        folder = root / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        values = rng.integers(0, 4096, (20 + number, 30)).astype(">u2")
        (folder / f"{number}.dat").write_bytes(values.tobytes())
    (root / "README.txt").write_text("notes")
    return root


VIEWS = MultiView.for_channels(1, size=8, value_range=(0, 4095), on="device")


class TestReadByAFunction:
    def test_both_engines_have_the_same_batches(self, own):
        source = load(own, read=big_endian)
        assert repr(source).endswith(
            "6 images, 2 classes, 1 channel of uint16>"
        )
        options = {"batch_size": 3, "seed": 2, "start": (1, 1), "canvas": 22}
        with pytest.warns(UserWarning, match="larger than the canvas"):
            (ours,), (theirs,) = (
                list(view_batches(source, VIEWS, engine=engine, **options))
                for engine in ("python", "tensorflow")
            )
        np.testing.assert_array_equal(ours[0]["images"], theirs[0]["images"])
        assert ours[0]["images"].dtype == np.uint16
        assert ours[0]["images"].shape == (3, 22, 22, 1)
        np.testing.assert_array_equal(ours[1], theirs[1])
        boxes = [each[0]["parameters"][0]["boxes"] for each in (ours, theirs)]
        np.testing.assert_array_equal(*boxes)

    def test_labels_masks_subsets_and_images_to_test_on(self, own, tmp_path):
        paths = sorted(own.rglob("*.dat"))
        masks = [tmp_path / f"{path.stem}.png" for path in paths]
        for path, mask in zip(paths, masks, strict=True):
            large = (big_endian(path) > 2000).astype("uint8")
            Image.fromarray(large).save(mask)
        labels = [0, 1, -1, 0, 1, 2]
        source = load(paths, read=big_endian, labels=labels, masks=masks)
        first = load({"images": np.zeros((2, 8, 8, 1), "u1"), "labels": [0, 1]})
        some, _ = match_classes(subset(source, [0, 2, 5]), first)
        assert labels_of(some).tolist() == [0, -1, 2]
        assert (some.channels, some.dtype) == (1, "uint16")
        for examples in (some.examples_in_python(), some.dataset()):
            for example in examples:
                np.testing.assert_array_equal(
                    example["images"] > 2000, example["segmentation_masks"] > 0
                )
        (batch,) = image_batches(source, size=14)
        assert batch["images"].shape == (6, 14, 14, 1)
        Image.fromarray(np.zeros((3, 3), "u1")).save(masks[1])
        with pytest.raises(
            ValueError, match=r"the mask \S*png \(the mask is 3 x 3"
        ):
            images_of(source)

    @pytest.mark.parametrize("kind", ["memory", "disk"])
    def test_a_cache_reads_a_file_once(self, own, tmp_path, kind):
        calls = []

        def read(path):
            calls.append(path)
            return big_endian(path)

        cache = True if kind == "memory" else tmp_path / "cache"
        source = load(own, read=read, cache=cache)
        first = images_of(source)
        calls.clear()
        again = (
            source if kind == "memory" else load(own, read=read, cache=cache)
        )
        calls.clear()  # of the file that `load` tries
        for one, other in zip(first, images_of(again), strict=True):
            np.testing.assert_array_equal(one, other)
        assert calls == []
        if kind == "disk":  # one that is cut off is made again
            copy = next(each for each in cache.rglob("3") if each.is_file())
            copy.write_bytes(copy.read_bytes()[:90])
            np.testing.assert_array_equal(images_of(again)[3], first[3])
            assert len(calls) == 1

    @pytest.mark.parametrize("on_error", ["raise", "skip"])
    def test_one_that_hangs_or_fails_is_named_by_both_engines(
        self, own, on_error
    ):
        gate = threading.Event()

        def read(path):
            if path.endswith("1.dat"):
                gate.wait(60)
            if path.endswith("4.dat"):
                raise RuntimeError("a hole in it")
            if path.endswith("5.dat"):
                return np.zeros((20, 30, 2), "uint16")
            return big_endian(path)

        reasons = {
            "1.dat": r"more than 0\.3 seconds",
            "4.dat": "a hole in it",
            "5.dat": "it has 2 channels of uint16, and the other",
        }
        try:
            for engine in ("examples_in_python", "dataset"):
                # Anew: a source tells once.
                source = load(own, read=read, time_limit=0.3, on_error=on_error)
                examples = getattr(source, engine)
                if on_error == "raise":
                    errors = (ValueError, tf.errors.InvalidArgumentError)
                    with pytest.raises(errors, match=r"4\.dat \(a hole"):
                        list(examples())
                    continue
                with pytest.warns(UserWarning, match="3 of 6") as caught:
                    assert len(list(examples())) == 3
                (told,) = (str(w.message) for w in caught if "3 of" in str(w))
                for name, reason in reasons.items():
                    assert re.search(rf"{name} \([^;]*{reason}", told)
        finally:
            gate.set()

    def test_one_that_hangs_is_waited_for_once(self, own):
        gate, begun = threading.Event(), []

        def read(path):
            if path.endswith("4.dat"):
                begun.append(path)
                gate.wait(60)
            return big_endian(path)

        source = load(own, read=read, time_limit=1.0, on_error="skip")
        options = {"batch_size": 6, "seed": 0, "engine": "python"}
        try:
            # Its size is asked for, its values, and then itself.
            with pytest.warns(UserWarning, match=r"4\.dat \(reading it has"):
                (found,) = view_batches(source, VIEWS, **options)
        finally:
            gate.set()
        assert found[0]["images"].shape == (6, 25, 30, 1)
        assert len(begun) == 1

    @pytest.mark.parametrize(
        ("read", "message"),
        [
            (lambda path: np.zeros((9, 9, 3)), "float64 of shape .9, 9, 3.: c"),
            (lambda path: np.zeros((2, 9, 9, 3), "u1"), "uint8 of shape .2, 9"),
            (lambda path: np.zeros((3, 60, 60), "u1"), "channels seem to come"),
            (lambda path: None, "not object of shape"),
            (lambda path: np.full((9, 9), np.nan, "f4"), "81 of 81 values are"),
            (lambda path: {}["pixels"], "KeyError: 'pixels'"),
        ],
        ids=["dtype", "rank", "channels first", "None", "NaN", "raises"],
    )
    def test_what_is_no_image_is_told_at_once(self, own, read, message):
        with pytest.raises(ValueError, match=rf"0\.dat .*{message}"):
            load(own, read=read)
        with pytest.raises(ValueError, match=rf"none of the first.*{message}"):
            load(own, read=read, on_error="skip")

    def test_it_is_told_what_is_read(self, own):
        (own / "a" / "more.bin").write_bytes(bytes(600))
        with pytest.warns(
            UserWarning, match=r"all 7 files .* 1 \.bin, 6 \.dat"
        ):
            load(own, read=big_endian)

    @pytest.mark.parametrize(
        ("options", "error", "message"),
        [
            ({"read": "dcm"}, TypeError, "read must be a function.*'dcm'"),
            ({"read": big_endian, "pages": "channels"}, ValueError, "pages="),
            ({"read": big_endian, "time_limit": 0}, ValueError, "time_limit"),
            ({"read": big_endian, "channels": 0}, ValueError, "channels must"),
            ({"read": big_endian, "channels": 4}, ValueError, "channels=4 was"),
            ({"pages": "all"}, ValueError, "pages must be 'channels' or 'exam"),
        ],
    )
    def test_arguments(self, own, options, error, message):
        with pytest.raises(error, match=message):
            load(own, **options)
        arrays = np.zeros((2, 8, 8, 1), "uint8")
        if error is ValueError and "read" in options:
            with pytest.raises(TypeError, match="not for arrays"):
                load(arrays, read=big_endian)


class TestForms:
    def test_those_that_differ_are_told_at_once(self, tmp_path):
        for number in range(5):
            shape = (9, 8, 4 if number % 2 else 2)
            np.save(tmp_path / f"{number}.npy", np.ones(shape, "float32"))
        message = r"3 have 2 channels of float32, as .*0\.npy.*; 2 have 4 chan"
        with pytest.raises(ValueError, match=message):
            load(tmp_path)
        with pytest.warns(UserWarning, match=r"2 of 5 .*1\.npy.*left|left out"):
            source = load(tmp_path, on_error="skip")
        assert (len(source), source.channels) == (3, 2)

    def test_values_that_are_not_finite_are_named(self, tmp_path):
        for number in range(3):
            bands = BANDS.copy()
            bands[3, 3, 5] = np.inf if number == 1 else 0
            np.save(tmp_path / f"{number}.npy", bands)
        message = r"1\.npy \(1 of 8580 values are NaN or infinite, .*channel 5"
        errors = (ValueError, tf.errors.InvalidArgumentError)
        for read in (
            images_of,
            lambda s: list(s.dataset()),
            channel_statistics,
        ):
            with pytest.raises(errors, match=message):
                read(load(tmp_path))
        with pytest.warns(UserWarning, match=message):
            assert len(images_of(load(tmp_path, on_error="skip"))) == 2

    @pytest.mark.parametrize(
        ("array", "message"),
        [
            (np.zeros((9, 8)), r"float64 of shape .9, 8.: convert it"),
            (np.array([None, 1]), "Python objects"),
            (np.zeros((2, 9, 8, 3), "u1"), r"uint8 of shape .2, 9, 8, 3."),
        ],
        ids=["dtype", "objects", "rank"],
    )
    def test_what_headers_tell_is_told_at_once(self, tmp_path, array, message):
        np.save(tmp_path / "0.npy", GREY16)
        np.save(tmp_path / "1.npy", array, allow_pickle=True)
        with pytest.raises(ValueError, match=rf"1 of 2 .*1\.npy.*{message}"):
            load(tmp_path)
        with pytest.warns(UserWarning, match=r"1 of 2 .*left out"):
            assert len(load(tmp_path, on_error="skip")) == 1

    def test_grey_and_colours(self, tmp_path):
        colors = picture(9, 8)
        written(tmp_path / "0.tif", colors)
        written(tmp_path / "1.tif", colors[..., 0])
        with pytest.raises(ValueError, match="channels=3, which makes three"):
            load(tmp_path)
        three = images_of(load(tmp_path, channels=3))
        np.testing.assert_array_equal(three[0], colors)
        np.testing.assert_array_equal(three[1], colors[..., [0, 0, 0]])
        one = images_of(load(tmp_path, channels=1))
        expected = np.asarray(Image.fromarray(colors).convert("L"))
        np.testing.assert_array_equal(one[0][..., 0], expected)
        np.testing.assert_array_equal(one[1], colors[..., :1])

    def test_pictures_are_grey_where_views_are(self, tmp_path):
        for number in range(2):
            image = Image.fromarray(picture(9, 8, number))
            image = image.convert("L") if number else image
            image.save(tmp_path / f"{number}.png")
        source = load(tmp_path)
        assert (source.channels, source.dtype) == (3, "uint8")
        grey = [np.asarray(Image.open(p).convert("L")) for p in source._paths]
        for engine in ("python", "tensorflow"):
            ((x,),) = view_batches(
                source,
                VIEWS,
                batch_size=2,
                seed=0,
                shuffle=False,
                engine=engine,
            )
            np.testing.assert_array_equal(x["images"][..., 0], grey)
        for found in load(tmp_path, channels=1).dataset():
            assert found["images"].shape == (9, 8, 1)
        with pytest.raises(ValueError, match="channels=4 of"):
            load(tmp_path, channels=4)

    def test_recipes_for_other_images_are_told_before_all(self, own):
        source = load(own, read=big_endian)
        options = {"batch_size": 2, "seed": 0}
        with pytest.raises(ValueError, match=r"1 channels, uint16, and multi"):
            view_batches(source, MultiView.resnet(), **options)
        with pytest.raises(ValueError, match="uint16 images need a range"):
            view_batches(source, MultiView.for_channels(1), **options)
        views = MultiView.for_channels(1, value_range=(0, 1), on="device")
        with pytest.warns(UserWarning, match="of the values of images are bey"):
            view_batches(source, views, engine="python", **options)


class Columns(ImageSource):
    """Images that are neither files nor arrays."""

    def __init__(self, of="float32", **facts):
        super().__init__("columns", 4, **facts)
        self._of = of

    def example(self, index):
        return {"images": np.full((9, 8 + index, 5), index, self._of)}


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_a_source_of_ones_own_says_its_form_or_shows_it(dtype):
    for source in (Columns(dtype), Columns(dtype, channels=5, dtype=dtype)):
        assert (source.channels, source.dtype) == (5, dtype)
        (example, *_) = source.dataset()
        assert example["images"].dtype == dtype
        assert example["images"].shape == (9, 8, 5)


def test_a_form_that_was_said_is_held():
    with pytest.raises(ValueError, match=r"\(H, W, 3\) uint8, the channels"):
        list(Columns(channels=3).examples_in_python())
    with pytest.raises(ValueError, match="dtype must be one of uint8"):
        Columns(dtype="int16")


def test_statistics_need_no_tensorflow(own, monkeypatch):
    source = load(own, read=big_endian)
    whole = np.concatenate([each.ravel() for each in images_of(source)])
    monkeypatch.setattr(image_source, "has_tensorflow", lambda: False)
    statistics = channel_statistics(source)
    assert statistics.dtype == "uint16" and statistics.examples == 6
    np.testing.assert_allclose(statistics.mean, whole.mean(), rtol=1e-12)
    assert channel_statistics(source, examples=2).examples == 2


def test_what_a_file_is_is_found_by_its_contents(tmp_path):
    path = written(tmp_path / "scan", GREY16)
    assert raw.kind_of(path.read_bytes()[:26]) == "tiff"
    (found,) = images_of(load([path]))
    np.testing.assert_array_equal(found[..., 0], GREY16)
