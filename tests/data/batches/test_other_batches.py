"""Batches of images of other channels and depths: both engines, bad input."""

import numpy as np
import pytest
import tensorflow as tf

from keras_vicregl.data import ArrayBatches, load, view_batches
from keras_vicregl.views import MultiView


def sixteen_bits(count=8, channels=2):
    rng = np.random.default_rng(0)
    return rng.integers(0, 65536, (count, 24, 20, channels), dtype="uint16")


def recipe(on="host", **options):
    return MultiView.for_channels(
        2,
        **{
            "size": 8,
            "on": on,
            "jit_compile": False,
            "value_range": (0, 65535),
            **options,
        },
    )


def test_any_form_of_the_data_gives_the_same_views(tmp_path):
    images = sixteen_bits()
    np.save(tmp_path / "images.npy", images)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    dataset = tf.data.Dataset.from_tensor_slices({"images": images})
    expected = None
    for data in ({"images": images}, load(mapped), dataset):
        (batch,) = next(
            iter(
                view_batches(
                    data, recipe(), batch_size=4, seed=3, shuffle=False
                )
            )
        )
        views = [np.asarray(view) for view in batch["views"]]
        expected = expected or views
        assert views[0].shape == (4, 8, 8, 2)
        for one, other in zip(views, expected, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-5)


def test_the_devices_batches_are_those_of_tf_data():
    images, views = sixteen_bits(), recipe("device")
    (one,) = ArrayBatches(images, views, batch_size=4, seed=3)[0]
    data = view_batches({"images": images}, views, batch_size=4, seed=3)
    (other,) = next(iter(data))
    assert one["images"].dtype == "uint16"
    np.testing.assert_array_equal(one["images"], other["images"])
    for name in ("gain", "lift", "gamma", "noise"):
        for mine, theirs in zip(
            one["parameters"], other["parameters"], strict=True
        ):
            # Exponentials differ in the last bit.
            np.testing.assert_allclose(
                mine[name], theirs[name], rtol=1e-6, atol=1e-6
            )


def with_nan():
    images = np.float32(sixteen_bits(40) / 65535)
    images[38, 3, 4, 1] = np.nan  # none of those that are looked at first
    return images


@pytest.mark.parametrize(
    ("images", "options", "message"),
    [
        (sixteen_bits(channels=3), {}, "3 channels.*makes views of 2: Multi"),
        (sixteen_bits(), {"value_range": None}, "uint16 images need a range"),
        (sixteen_bits()[..., 0], {}, r"images\[..., None\]"),
        (np.moveaxis(sixteen_bits(), -1, 1), {}, "channels seem to come first"),
        (np.int32(sixteen_bits()), {}, "int32.*astype"),
        (np.float32(sixteen_bits()) * np.inf, {}, "must be finite.*arrays"),
    ],
)
def test_what_the_recipe_cannot_take_is_refused_at_once(
    images, options, message
):
    with pytest.raises(ValueError, match=message):
        view_batches(load(images), recipe(**options), batch_size=4, seed=0)
    with pytest.raises(ValueError, match=message):
        ArrayBatches(images, recipe("device", **options), batch_size=4, seed=0)


def test_what_is_not_finite_later_is_told_when_it_comes():
    images, ranged = with_nan(), {"value_range": (0, 1)}
    batches = ArrayBatches(
        images, recipe("device", **ranged), batch_size=4, seed=0
    )
    with pytest.raises(ValueError, match=r"NaN or infinite .* in example 38"):
        list(batches)
    batches = view_batches(
        {"images": images}, recipe(**ranged), batch_size=4, seed=0
    )
    with pytest.raises(tf.errors.InvalidArgumentError, match="nan_to_num"):
        list(batches)


def test_a_range_of_other_images_is_told():
    images = sixteen_bits()
    for on, make in (("host", view_batches), ("device", ArrayBatches)):
        with pytest.warns(UserWarning, match=r"100% .*beyond value_range=\(0"):
            make(
                {"images": images},
                recipe(on, value_range=(0, 255)),
                batch_size=4,
                seed=0,
            )
