"""Python's decoders beside TensorFlow's: one meaning, and the same pixels."""

import numpy as np
import pytest
from PIL import Image

tf = pytest.importorskip("tensorflow")

from image_files import SIZE, encoded, exif, picture  # noqa: E402
from test_decoding import FILES, GRAY, PALETTE, PICTURE  # noqa: E402

from keras_vicregl.data.decoding import images, pillow  # noqa: E402


@pytest.mark.parametrize("kind", FILES)
def test_pixels_are_those_of_tensorflow(kind):
    # Both have libjpeg-turbo, libpng and libwebp beneath them.
    found = pillow.decode_image(FILES[kind])
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, images.decode_image(FILES[kind]))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_images_are_turned_as_tensorflow_turns_them(kind, order, tmp_path):
    for orientation in range(10):
        data = encoded(PICTURE, kind, exif=exif(orientation, order))
        found = pillow.decode_image(data)
        np.testing.assert_array_equal(found, images.decode_image(data))
        file = tmp_path / "file"
        file.write_bytes(data)
        assert pillow.size_of(file) == found.shape[:2]


def masks():
    classes = np.random.default_rng(0).integers(0, 2, SIZE, dtype=np.uint8)
    gray = Image.fromarray(classes)
    few = Image.fromarray(classes * 3).convert("P")
    return {
        "gray": encoded(classes * 255),
        "one bit": encoded(Image.fromarray(classes * 255).convert("1")),
        "16 bits": encoded(classes.astype(np.uint16) * 200),
        "palette": encoded(PALETTE),
        "palette of 2 bits": encoded(few, bits=2),
        "palette of 4 bits": encoded(GRAY.quantize(16), bits=4),
        "turned": encoded(gray, exif=exif(6)),
    }


@pytest.mark.parametrize("kind", masks())
def test_masks_have_the_classes_that_tensorflow_finds(kind):
    table = np.arange(256, dtype=np.uint8)[::-1].copy()
    for labels in (None, table):
        found = pillow.decode_mask(masks()[kind], labels)
        expected = images.decode_mask(masks()[kind], labels)
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, expected)


def gray_png(bits, values):
    """A PNG file of one channel with few bits, which Pillow does not write."""
    import struct
    import zlib

    rows = b"".join(
        b"\0"
        + np.packbits((row[:, None] >> np.arange(bits)[::-1]) & 1).tobytes()
        for row in values
    )

    def chunk(kind, content):
        checksum = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + checksum

    height, width = values.shape
    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_gray_masks_of_few_bits(bits):
    values = np.uint8(np.arange(48).reshape(4, 12) % 2**bits)
    found = pillow.decode_mask(gray_png(bits, values))
    np.testing.assert_array_equal(found[..., 0], values)


@pytest.mark.parametrize(
    "data",
    [
        encoded(PICTURE),
        encoded(PICTURE, "JPEG"),
        encoded(np.full(SIZE, 300, np.uint16)),
        encoded(GRAY.convert("LA")),
    ],
)
def test_what_is_no_mask(data):
    with pytest.raises(ValueError) as ours:
        pillow.decode_mask(data)
    with pytest.raises(
        # Whose words cannot tell what there is.
        tf.errors.InvalidArgumentError,
        match=str(ours.value)[:36],
    ):
        images.decode_mask(data)


def test_a_mask_of_another_size():
    files = {
        "images": encoded(PICTURE),
        "segmentation_masks": encoded(GRAY.rotate(90, expand=True)),
    }
    with pytest.raises(ValueError, match="the mask is 31 x 24 pixels, its im"):
        pillow.decode_example(files)


# Of an animation that is broken off later, Pillow takes the first picture.
@pytest.mark.parametrize("kind", [k for k in FILES if k != "GIF, animated"])
def test_what_is_broken_off_is_an_error(kind):
    data = FILES[kind]
    rng = np.random.default_rng(0)
    # (The padding at the end of a BMP, and the last two bytes of a GIF or a
    # JPEG, are missed by TensorFlow alone.)
    for length in (0, 1, 8, 20, *rng.integers(20, len(data) - 4, 4)):
        with pytest.raises(ValueError):
            pillow.decode_image(data[:length])
        with pytest.raises(tf.errors.InvalidArgumentError):
            images.decode_image(data[:length])


def test_messages_say_what_is_wrong_and_nothing_of_addresses():
    broken = FILES["JPEG"][:200]
    with pytest.raises(ValueError, match="a damaged JPEG file") as error:
        pillow.decode_image(broken)
    assert "0x" not in str(error.value)
    with pytest.raises(ValueError, match="not a JPEG, PNG, GIF, BMP or WebP"):
        pillow.decode_image(b"<html>404</html>")


def test_dark_files_are_noted_and_no_others():
    noted = []
    dark = np.full(SIZE, 4095, np.uint16)
    pillow.decode_image(encoded(dark), noted.append)
    assert noted == [4095]
    colours = np.stack([dark] * 3, axis=-1)
    pillow.decode_image(tf.io.encode_png(colours).numpy(), noted.append)
    assert noted == [4095, 4095]
    for data in (
        encoded(dark * 10),
        encoded(np.zeros(SIZE, np.uint16)),
        encoded(picture() // 8),
        FILES["JPEG"],
    ):
        pillow.decode_image(data, noted.append)
    assert len(noted) == 2


def test_the_size_of_what_cannot_be_read_is_not_known(tmp_path):
    assert pillow.size_of(tmp_path / "none.png") is None
    (tmp_path / "text.png").write_bytes(b"a text")
    assert pillow.size_of(tmp_path / "text.png") is None


def test_large_images_are_not_taken_for_attacks(monkeypatch, recwarn):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    data = encoded(picture(24, 31))
    assert pillow.size_of(data) == (24, 31)
    assert pillow.decode_image(data).shape == (24, 31, 3)
    assert not recwarn
