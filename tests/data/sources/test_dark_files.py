"""Pictures of 12 bits in files of 16 are told of."""

import warnings

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")

from image_files import encoded  # noqa: E402

from keras_vicregl.data import load, subset, view_batches  # noqa: E402
from keras_vicregl.views import MultiView  # noqa: E402


def gray(bits, seed=0):
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 2**bits, (24, 31), dtype=np.uint16)
    values[0, 0] = 2**bits - 1
    return values


def files(folder, *values):
    paths = [folder / f"{row}.png" for row in range(len(values))]
    for path, image in zip(paths, values, strict=True):
        path.write_bytes(encoded(image))
    return paths


def load_beside_8_bits(folder, *values):
    """Files of 16 bits that become files of 8, as another one is."""
    paths = files(folder, *values)
    (folder / "8.png").write_bytes(encoded(gray(8).astype("uint8")))
    with pytest.warns(UserWarning, match=r"\d of \d files .* PNG of 16 bits"):
        return load([*paths, folder / "8.png"])


def read(source):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        images = [e["images"].numpy() for e in source.dataset()]
    told = [str(w.message) for w in caught if "16 bits" in str(w.message)]
    return images, told


def test_it_is_told_once_what_to_do(tmp_path):
    values = [gray(16), gray(12), gray(12, seed=1)]
    source = load_beside_8_bits(tmp_path, *values)
    images, (message,) = read(source)
    assert "png has 16 bits a channel, but no value above 4095" in message
    assert "no more than 16 of 256" in message and "by 16" in message
    for image, expected in zip(images[:3], values, strict=True):
        np.testing.assert_array_equal(image[:, :, 1], expected // 256)
    # Of a source, whoever reads it.
    assert read(source)[1] == []
    _, (message,) = read(subset(source, np.array([0, 2])))
    assert "2.png" in message


@pytest.mark.parametrize("bits", [8, 14, 15])
def test_other_depths(tmp_path, bits):
    _, (message,) = read(load_beside_8_bits(tmp_path, gray(bits)))
    assert f"no value above {2**bits - 1} " in message


@pytest.mark.parametrize(
    "values",
    [gray(16), gray(16) * 0],
    ids=["bright", "black"],
)
def test_others_are_not_told_of(tmp_path, values):
    assert read(load_beside_8_bits(tmp_path, values))[1] == []


def test_batches_tell_it_too(tmp_path):
    source = load_beside_8_bits(tmp_path, gray(12), gray(12))
    batches = view_batches(
        source, MultiView.scenes(size=16), batch_size=3, seed=0
    )
    with pytest.warns(UserWarning, match="no value above 4095") as caught:
        for _ in range(2):
            list(batches)
    assert len(caught) == 1
