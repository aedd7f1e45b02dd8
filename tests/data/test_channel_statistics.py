"""Statistics of channels against NumPy's, of all values at once."""

import numpy as np
import pytest
import tensorflow as tf

from keras_vicregl.data import _values as gathering
from keras_vicregl.data import channel_statistics, load
from keras_vicregl.data import statistics as streaming
from keras_vicregl.views import MultiView

PERCENTILES = (0.5, 98.0)


def images_of(dtype, channels=3, count=9):
    rng = np.random.default_rng(0)
    shape = (count, 11, 13, channels)
    if dtype == "float32":
        # Far from 0, where sums of squares cancel.
        return rng.normal(1e4, 2.0, shape).astype(dtype)
    most = np.iinfo(dtype).max
    return np.clip(rng.gamma(2.0, most / 9, shape), 0, most).astype(dtype)


def expected_of(images, percentiles=PERCENTILES):
    values = np.float64(images).reshape(-1, images.shape[-1])
    low, high = np.percentile(values, percentiles, axis=0)
    unit = np.clip((values - low) / (high - low), 0, 1)
    return {
        "mean": values.mean(axis=0),
        "std": values.std(axis=0),
        "smallest": values.min(axis=0),
        "largest": values.max(axis=0),
        "low": low,
        "high": high,
        "pixel_mean": unit.mean(axis=0),
        "pixel_std": unit.std(axis=0),
    }


def assert_figures(statistics, expected, **tolerance):
    for name, values in expected.items():
        np.testing.assert_allclose(
            getattr(statistics, name), values, err_msg=name, **tolerance
        )


# The mean of float32 images is that of rounded values, summed in float64; of
# their spread, a 5000th of it, seven more digits are left.
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("chunk", [1, 5000])
def test_they_are_numpys(dtype, chunk, monkeypatch):
    monkeypatch.setattr(streaming, "_CHUNK", chunk)
    images = images_of(dtype)
    statistics = channel_statistics(images, percentiles=PERCENTILES)
    assert_figures(statistics, expected_of(images), rtol=1e-9, atol=1e-9)
    assert (statistics.examples, statistics.dtype) == (9, dtype)
    views = MultiView.for_channels(statistics, size=8)
    np.testing.assert_array_equal(views.value_range, statistics.value_range)
    assert views.mean == statistics.pixel_mean


def test_any_form_of_the_data_has_the_same():
    images = images_of("uint16", 2)
    expected = channel_statistics(images)
    dataset = tf.data.Dataset.from_tensor_slices({"images": images})
    pairs = tf.data.Dataset.from_tensor_slices((images, np.arange(9))).batch(4)
    for data in (load(images), {"images": images}, dataset, pairs):
        assert channel_statistics(data) == expected
    some = channel_statistics(images[[0, 3, 6]])
    for data in (load(images), images):
        assert channel_statistics(data, examples=3) == some
    first = channel_statistics(images[:5])
    for data in (dataset, pairs):
        assert channel_statistics(data, examples=5) == first


def test_of_many_values_a_part_tells_the_percentiles(monkeypatch):
    monkeypatch.setattr(gathering, "_KEPT", 3 * 2**12)
    monkeypatch.setattr(streaming, "_CHUNK", 3000)
    images = images_of("float32", count=200)
    statistics = channel_statistics(images, percentiles=(2, 98))
    expected = expected_of(images, (2, 98))
    for name in ("pixel_mean", "pixel_std", "low", "high"):
        # 2048 values or more: four deviations of the estimates, of 2.0.
        error = np.subtract(getattr(statistics, name), expected.pop(name))
        assert np.abs(error).max() < (0.6 if name in ("low", "high") else 0.03)
    assert_figures(statistics, expected, rtol=1e-9)
    whole = channel_statistics(images, percentiles=(0, 100))
    assert whole.low == whole.smallest and whole.high == whole.largest


def test_what_cannot_be_mapped_is_told():
    images = images_of("uint16", 3)
    images[..., 1] = 7
    statistics = channel_statistics(images)
    with pytest.raises(
        ValueError, match="Channel 1 has the value 7 everywhere"
    ):
        MultiView.for_channels(statistics)
    with pytest.raises(
        ValueError, match="Channel 1 has the value 7 everywhere"
    ):
        MultiView.for_channels(statistics, value_range=(0, 65535))
    images[..., 1] = 0
    images[0, 0, 0, 1] = 900  # a single bright pixel
    statistics = channel_statistics(images)
    with pytest.raises(
        ValueError, match=r"0 as percentile 0\.1 and as 99\.9, tho"
    ):
        MultiView.for_channels(statistics)
    views = MultiView.for_channels(statistics, value_range=(0, 65535))
    assert views.value_range == (0.0, 65535.0)
    np.testing.assert_allclose(
        views.mean, np.divide(statistics.mean, 65535), rtol=1e-12
    )


def test_blank_images_are_told():
    images = images_of("uint8")
    images[[2, 5]] = 9
    with pytest.warns(UserWarning, match=r"2 of 9 images.*number 2, 5 of"):
        channel_statistics(images)


def with_value(value):
    images = images_of("float32")
    images[4, 2, 3, 1] = value
    return images


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        (with_value(np.nan), {}, r"Example 4 has 1 NaN.*in channel 1"),
        (with_value(-np.inf), {}, "Example 4 has 1 NaN"),
        (images_of("uint8"), {"examples": 0}, "examples must be"),
        (images_of("uint8"), {"percentiles": (5, 5)}, "percentiles must be"),
        (images_of("uint8"), {"percentiles": (-1, 99)}, "percentiles must be"),
        (images_of("uint8")[0], {}, r"images\[..., None\]"),
        (images_of("uint8").astype("int16"), {}, r"int16.*astype"),
        (np.zeros((2, 4, 24, 24), "uint16"), {}, "channels seem to come first"),
        ({"labels": np.zeros(2)}, {}, "must have the key 'images'"),
        ("folder", {}, "data must be what load returns"),
    ],
)
def test_what_has_no_statistics_is_refused(data, options, message):
    with pytest.raises(ValueError, match=message):
        channel_statistics(data, **options)


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_of_a_range_that_is_given(dtype):
    """What views clip is clipped; a narrower range alone is told."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 4000, (6, 8, 8, 2)).astype(dtype)
    found = channel_statistics(images, value_range=(500, 1000))
    assert found.value_range == ((500.0, 1000.0),) * 2
    pixels = np.clip((images.astype("float64") - 500) / 500, 0, 1)
    pixels = pixels.reshape(-1, 2)
    np.testing.assert_allclose(found.pixel_mean, pixels.mean(0), rtol=1e-12)
    np.testing.assert_allclose(found.pixel_std, pixels.std(0), rtol=1e-12)
    views = MultiView.for_channels(found, value_range=(500, 1000))
    assert views.mean == found.pixel_mean
    with pytest.warns(UserWarning, match="clips values that are not rare"):
        MultiView.for_channels(channel_statistics(images), value_range=(0, 900))
