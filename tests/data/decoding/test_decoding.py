import struct

import numpy as np
import pytest
from PIL import Image

tf = pytest.importorskip("tensorflow")

from image_files import SIZE, as_pillow_sees, encoded, exif, picture  # noqa: E402

from keras_vicregl.data.decoding.images import (  # noqa: E402
    decode_example,
    decode_image,
    decode_mask,
    is_plain_jpeg,
)
from keras_vicregl.data.decoding.orientation import jpeg_orientation  # noqa: E402

PICTURE = picture()
GRAY = Image.fromarray(PICTURE).convert("L")
PALETTE = Image.fromarray(PICTURE).convert("P")
ALPHA = np.dstack([PICTURE, picture(seed=1)[:, :, 0]])
FRAMES = [Image.fromarray(picture(seed=i)) for i in range(3)]
FRAMES_ALPHA = [frame.convert("RGBA") for frame in FRAMES]
for i, frame in enumerate(FRAMES_ALPHA):
    frame.putalpha(Image.fromarray(picture(seed=i + 5)[:, :, 0]))


def animated(frames, kind, **options):
    options = {"save_all": True, "append_images": frames[1:], **options}
    return encoded(frames[0], kind, **options)


FILES = {
    "JPEG": encoded(PICTURE, "JPEG"),
    "JPEG, progressive": encoded(PICTURE, "JPEG", progressive=True),
    "JPEG, full colours": encoded(PICTURE, "JPEG", subsampling=0),
    "JPEG, gray": encoded(GRAY, "JPEG"),
    "JPEG, CMYK": encoded(Image.fromarray(PICTURE).convert("CMYK"), "JPEG"),
    "PNG": encoded(PICTURE),
    "PNG, gray": encoded(GRAY),
    "PNG, gray and transparent": encoded(Image.fromarray(ALPHA).convert("LA")),
    "PNG, black and white": encoded(GRAY.convert("1")),
    "PNG, palette": encoded(PALETTE),
    "PNG, palette of 4 bits": encoded(GRAY.quantize(16), bits=4),
    "PNG, transparent palette": encoded(PALETTE, transparency=3),
    "PNG, transparent": encoded(ALPHA),
    "PNG, 16 bits": tf.io.encode_png(PICTURE.astype("uint16") * 257).numpy(),
    "PNG, animated": animated(FRAMES, "PNG"),
    "GIF": encoded(PALETTE, "GIF"),
    "GIF, animated": animated([f.quantize(64) for f in FRAMES], "GIF"),
    "BMP": encoded(PICTURE, "BMP"),
    "BMP, gray": encoded(GRAY, "BMP"),
    "BMP, palette": encoded(PALETTE, "BMP"),
    "BMP, 32 bits": encoded(Image.fromarray(ALPHA), "BMP"),
    "WebP": encoded(PICTURE, "WEBP", lossless=True),
    "WebP, transparent": encoded(ALPHA, "WEBP", lossless=True, exact=True),
    "WebP, animated": animated(FRAMES, "WEBP", lossless=True),
    "WebP, animated and transparent": animated(
        FRAMES_ALPHA, "WEBP", lossless=True, exact=True
    ),
    "1 x 1": encoded(PICTURE[:1, :1]),
    "1 x 1, JPEG": encoded(PICTURE[:1, :1], "JPEG"),
    "1 x 3000": encoded(picture(1, 3000), "JPEG"),
    "3000 x 2": encoded(picture(3000, 2)),
}


@pytest.mark.parametrize("kind", FILES)
def test_pixels_are_those_that_pillow_finds(kind):
    image = decode_image(FILES[kind])
    assert image.dtype == tf.uint8
    np.testing.assert_array_equal(image, as_pillow_sees(FILES[kind]))


def test_gray_of_16_bits_is_brought_to_8():
    # Pillow cuts it off at 255 instead.
    values = np.random.default_rng(0).integers(0, 65536, SIZE, dtype=np.uint16)
    image = decode_image(encoded(values)).numpy()
    np.testing.assert_array_equal(image[:, :, 0], image[:, :, 2])
    np.testing.assert_allclose(image[:, :, 1], values / 257, atol=1)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_turned_as_exif_says(orientation, kind, order):
    data = encoded(PICTURE, kind, exif=exif(orientation, order))
    expected = as_pillow_sees(data)
    assert expected.shape[:2] == (SIZE if orientation < 5 else SIZE[::-1])
    np.testing.assert_array_equal(decode_image(data), expected)
    assert is_plain_jpeg(data) == (kind == "JPEG" and orientation == 1)


def segment(marker, content):
    return (
        b"\xff"
        + bytes([marker])
        + struct.pack(">H", len(content) + 2)
        + content
    )


def jpeg_with(*segments):
    data = FILES["JPEG"]
    return data[:2] + b"".join(segments) + data[2:]


@pytest.mark.parametrize(
    ("segments", "orientation"),
    [
        ([], 1),
        ([segment(0xE1, exif(6))], 6),
        # Where cameras and programs put it: after others of their own.
        ([segment(0xE0, b"JFIF\0" + bytes(9)), segment(0xE1, exif(3))], 3),
        ([segment(0xE1, b"http://xmp"), segment(0xE1, exif(7))], 7),
        (
            [
                segment(0xE2, bytes(65533)),
                segment(0xFE, b"!"),
                segment(0xE1, exif(8)),
            ],
            8,
        ),
        # Beyond what there is.
        ([segment(0xE1, exif(0))], 1),
        ([segment(0xE1, exif(9))], 1),
        # Broken off at different places, and of no sense.
        *[
            ([segment(0xE1, exif(6)[:length])], 1)
            for length in (6, 9, 14, 20, 30)
        ],
        ([segment(0xE1, b"Exif\0\0II*\0\xff\xff\xff\xff")], 1),
        ([segment(0xE1, b"Exif\0\0MM\0*\x7f\xff\xff\xff")], 1),
        ([segment(0xE1, b"Exif\0\0II*\0\x08\0\0\0\xff\xff")], 1),
    ],
)
def test_orientation_of_jpeg_files(segments, orientation):
    data = jpeg_with(*segments)
    assert jpeg_orientation(data) == orientation
    np.testing.assert_array_equal(decode_image(data), as_pillow_sees(data))


@pytest.mark.parametrize(
    "data", [b"", b"\xff", b"\xff\xd8\xff", b"\xff\xd8\xff\xe1"]
)
def test_orientation_of_what_has_hardly_begun(data):
    assert jpeg_orientation(data) == 1


def cut(kind, fraction):
    data = FILES[kind]
    return data[: int(len(data) * fraction)]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not a JPEG, PNG, GIF, BMP or WebP file"),
        (b"<html>404 Not Found</html>", "not a JPEG"),
        (encoded(PICTURE, "TIFF"), "not a JPEG"),
        (cut("JPEG", 0.99), "Invalid JPEG data"),
        (cut("JPEG", 0.5), "Invalid JPEG data"),
        (FILES["JPEG"][:3], "Invalid JPEG data"),
        (cut("PNG", 0.9), "Invalid PNG data"),
        (FILES["PNG"][:10], "PNG"),
        (cut("GIF", 0.5), "GIF"),
        (cut("BMP", 0.9), "Input size should match"),
        (FILES["BMP"][:20], "bmp"),
        (cut("WebP", 0.9), "WebP"),
        (cut("WebP, animated", 0.1), "WebP"),
        (FILES["WebP, animated"][:18], "WebP"),
        (encoded(GRAY.convert("1"), "BMP"), "channels"),
    ],
)
def test_what_is_no_image_or_damaged_is_an_error(data, message):
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        decode_image(data)


def test_a_compressed_bmp_is_an_error():
    data = bytearray(FILES["BMP, palette"])
    data[30] = 1
    with pytest.raises(tf.errors.InvalidArgumentError, match="compressed BMP"):
        decode_image(bytes(data))


def classes(below, height=SIZE[0], width=SIZE[1]):
    rng = np.random.default_rng(below)
    return rng.integers(0, below, (height, width), dtype=np.uint8)


COLORS = list(np.random.default_rng(1).integers(0, 256, 768))


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("transparency", [None, 0, b"\1\2"])
def test_the_classes_of_a_mask_are_the_indices_of_its_palette(
    bits, transparency
):
    mask = Image.fromarray(classes(2**bits), "P")
    mask.putpalette(COLORS)
    options = {} if transparency is None else {"transparency": transparency}
    data = encoded(mask, bits=bits, dpi=(72, 72), **options)
    assert data[24] == bits and data[25] == 3
    decoded = decode_mask(data)
    assert decoded.dtype == tf.uint8
    np.testing.assert_array_equal(decoded[:, :, 0], classes(2**bits))


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_the_classes_of_a_mask_are_its_gray_values(bits):
    values = classes(2 ** min(bits, 8))
    image = values.astype(np.uint16) if bits == 16 else values
    data = gray_png(image, bits)
    assert data[24] == bits and data[25] == 0
    np.testing.assert_array_equal(decode_mask(data)[:, :, 0], values)


def gray_png(values, bits):
    if bits >= 8:
        return encoded(values)
    # Pillow writes no gray values of few bits: take a palette away.
    import zlib

    image = Image.fromarray(values, "P")
    image.putpalette(COLORS)
    data = encoded(image, bits=bits)
    header = data[12:25] + b"\0" + data[26:29]
    body = data[data.index(b"IDAT") - 4 :]
    return data[:12] + header + struct.pack(">I", zlib.crc32(header)) + body


def test_masks_are_turned_too():
    mask = encoded(classes(9), exif=exif(6))
    np.testing.assert_array_equal(
        decode_mask(mask)[:, :, 0], np.rot90(classes(9), -1)
    )


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (FILES["JPEG"], "must be a PNG file"),
        (b"", "must be a PNG file"),
        (FILES["PNG"], "one channel or a palette, not colours"),
        (encoded(np.full(SIZE, 256, np.uint16)), "must be <= 255"),
        (cut("PNG, palette", 0.9), "Invalid PNG"),
        (FILES["PNG, palette"][:40], "PNG"),
    ],
)
def test_what_is_no_mask_is_an_error(data, message):
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        decode_mask(data)


def test_a_mask_of_another_size_than_its_image_is_an_error():
    example = {
        "images": encoded(PICTURE),
        "segmentation_masks": encoded(classes(3, 24, 30)),
    }
    message = "the mask is 24 x 30 pixels, its image 24 x 31"
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        decode_example(example)
    example["images"] = encoded(PICTURE[:, :30])
    example["labels"] = 3
    decoded = decode_example(example)
    np.testing.assert_array_equal(decoded["images"], PICTURE[:, :30])
    assert decoded["segmentation_masks"].shape == (24, 30, 1)
    assert decoded["labels"] == 3


def test_decoding_runs_in_graphs():
    data = [
        FILES["WebP, animated"],
        FILES["BMP, palette"],
        jpeg_with(segment(0xE1, exif(6))),
    ]
    images = tf.data.Dataset.from_tensor_slices(data).map(decode_image)
    for image, each in zip(images, data, strict=True):
        np.testing.assert_array_equal(image, as_pillow_sees(each))
