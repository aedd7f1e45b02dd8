"""What views show, and whether their maps say so.

Views are made by TensorFlow, whatever Keras runs on: once is enough.
"""

import keras_cv
import numpy as np
import pytest
import tensorflow as tf
from view_helpers import (
    GROUPS,
    PLAIN,
    SIZES,
    SOURCE,
    assert_close,
    batch_of,
    make_views,
    to_numpy,
)

from keras_vicregl.views import (
    MultiView,
    RandomHorizontalFlip,
    RandomResizedCrop,
    ViewGroup,
)
from keras_vicregl.views.geometry import positions


def test_masks_are_left_out_unless_wanted():
    masks = np.zeros((2, *SOURCE, 1), "uint8")
    outputs = make_views(GROUPS)(batch_of(2, segmentation_masks=masks))
    assert set(outputs) == {"views", "view_to_source", "source_size"}


def test_datasets_know_the_shapes():
    dataset = tf.data.Dataset.from_tensor_slices(batch_of(8)).batch(4)
    spec = dataset.map(make_views(GROUPS)).element_spec
    assert [view.shape[1:] for view in spec["views"]] == [
        (*size, 3) for size in SIZES
    ]
    assert all(maps.shape[1:] == (2, 3) for maps in spec["view_to_source"])
    assert spec["source_size"].shape[1:] == (2,)


def coordinate_batch(count):
    height, width = SOURCE
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    image = np.stack([x, y, np.full_like(x, 100)], axis=-1).astype("float32")
    return batch_of(count, images=np.repeat(image[None], count, axis=0))


@pytest.mark.parametrize("before", [False, True])
def test_every_map_says_what_its_view_shows(before):
    groups = [
        ViewGroup((32, 24), 2, scale=(0.3, 1.0), blur=[0], solarize=[0]),
        ViewGroup((16, 20), 2, scale=(0.1, 0.3), blur=[0], solarize=[0]),
    ]
    batch = coordinate_batch(16)
    if before:
        batch = RandomHorizontalFlip()(batch)
        batch = keras_cv.layers.RandomBrightness((0.0, 0.0))(batch)
        batch = RandomResizedCrop(90, 56, scale=(0.8, 1.0))(batch)
    outputs = make_views(groups, **PLAIN)(batch)
    # A kernel widened for a reduction is off by up to 0.03 px on a ramp, see
    # the tests of the crop, and twice that when it is applied twice. The edges,
    # where it is cut off, are left out.
    tolerance = 0.06 if before else 0.03
    flips = set()
    for view, maps in zip(
        outputs["views"], outputs["view_to_source"], strict=True
    ):
        height, width = view.shape[1:3]
        said = to_numpy(positions(maps, height, width))
        said = said.reshape(16, height, width, 2)[:, 6:-6, 6:-6]
        seen = to_numpy(view)[:, 6:-6, 6:-6, :2]
        assert np.abs(seen - said).max() < tolerance
        flips |= set(np.sign(to_numpy(maps)[:, 0, 0]))
    assert flips == {-1.0, 1.0}
    np.testing.assert_array_equal(
        to_numpy(outputs["source_size"]), [SOURCE] * 16
    )


def test_untracked_flips_leave_the_views_alone():
    batch = batch_of(16)
    tracked = make_views(GROUPS)(batch)
    ignored = make_views(GROUPS, track_flips=False)(batch)
    for first, second in zip(tracked["views"], ignored["views"], strict=True):
        np.testing.assert_array_equal(to_numpy(first), to_numpy(second))
    assert any(
        (to_numpy(m)[:, 0, 0] < 0).any() for m in tracked["view_to_source"]
    )
    assert all(
        (to_numpy(m)[:, 0, 0] > 0).all() for m in ignored["view_to_source"]
    )


def test_masks_show_the_classes_at_their_positions():
    rng = np.random.default_rng(1)
    masks = rng.integers(0, 21, (8, *SOURCE, 1)).astype("uint8")
    outputs = make_views(GROUPS, return_masks=True)(
        batch_of(8, segmentation_masks=masks)
    )
    for seen, maps in zip(
        outputs["view_masks"], outputs["view_to_source"], strict=True
    ):
        height, width = seen.shape[1:3]
        said = to_numpy(positions(maps, height, width))
        x, y = np.floor(said).astype(int).transpose(2, 0, 1)
        expected = masks[np.arange(8)[:, None], y, x, 0]
        # Centres that fall on the border of two pixels belong to either.
        clear = (np.abs(said - np.rint(said)) > 1e-3).all(axis=-1)
        assert clear.mean() > 0.5
        np.testing.assert_array_equal(
            to_numpy(seen).reshape(8, -1)[clear], expected[clear]
        )


def test_the_papers_recipes():
    (large,) = MultiView.resnet().groups
    assert large == ViewGroup(
        (224, 224), 2, (0.08, 1.0), (3 / 4, 4 / 3), (1.0, 0.1), (0.0, 0.2)
    )
    large, small = MultiView.convnext().groups
    assert (large.size, large.count, large.scale) == ((224, 224), 2, (0.4, 1.0))
    assert (small.size, small.count, small.scale) == ((96, 96), 6, (0.08, 0.4))
    assert large.blur_sigma == small.blur_sigma == (0.1, 2.0)
    config = MultiView.resnet().get_config()
    expected = {
        "flip": 0.5,
        "track_flips": True,
        "brightness": 0.4,
        "contrast": 0.4,
        "saturation": 0.2,
        "hue": 0.1,
        "jitter": 0.8,
        "grayscale": 0.2,
        "mean": (0.485, 0.456, 0.406),
        "std": (0.229, 0.224, 0.225),
        "interpolation": "bicubic",
        "antialias": True,
        "return_masks": False,
    }
    assert {key: config[key] for key in expected} == expected


def test_recipes_take_the_arguments_of_the_layer():
    std = (0.228, 0.224, 0.225)
    layer = MultiView.scenes(48, (0.5, 1.0), flip=0.0, std=std)
    assert layer.groups[0].size == (48, 48)
    assert layer.groups[0].scale == (0.5, 1.0)
    assert (layer.flip, layer.std) == (0.0, std)


def test_blur_and_solarise_alternate_within_each_group():
    """Views are those of their crop and the layers in the paper's order."""
    groups = [
        ViewGroup((16, 12), 2, blur=(1.0, 0.0), solarize=(0.0, 1.0)),
        ViewGroup((8, 8), 3, blur=(1.0, 0.0), solarize=(0.0, 1.0)),
    ]
    batch = batch_of(12)
    plain = make_views(
        [
            ViewGroup((16, 12), 2, blur=[0], solarize=[0]),
            ViewGroup((8, 8), 3, blur=[0], solarize=[0]),
        ],
        **PLAIN,
    )(batch)
    found = make_views(groups, **PLAIN)(batch)
    for view, index in enumerate([0, 1, 0, 1, 0]):
        before = to_numpy(plain["views"][view])
        after = to_numpy(found["views"][view])
        if index == 1:
            expected = np.where(before < 128, before, 255 - before)
            # 1e-3: pixel values are divided by 255 and multiplied again.
            np.testing.assert_allclose(after, expected, atol=1e-3)
        else:
            # A blur takes away variance from noise, and little of the mean.
            assert after.var() < 0.7 * before.var()
            np.testing.assert_allclose(after.mean(), before.mean(), rtol=0.02)


def test_parallel_maps_make_the_same_views():
    batch = batch_of(12)
    dataset = tf.data.Dataset.from_tensor_slices(batch)
    layer = make_views(GROUPS)
    one_by_one = dataset.map(layer, num_parallel_calls=4).batch(12)
    assert_close(next(iter(one_by_one)), layer(batch))
    in_batches = dataset.batch(4).map(layer, num_parallel_calls=2)
    for index, views in enumerate(in_batches):
        rows = slice(4 * index, 4 * index + 4)
        assert_close(views, layer(batch), rows)


def test_other_seeds_make_other_views():
    layer = make_views(GROUPS)
    batch = batch_of(8)
    found = layer(batch)
    for column in (0, 1):
        seeds = batch["seeds"].copy()
        seeds[:, column] += 100
        other = layer({**batch, "seeds": seeds})
        for first, second in zip(
            found["view_to_source"], other["view_to_source"], strict=True
        ):
            same = to_numpy(first) == to_numpy(second)
            assert not same.all(axis=(1, 2)).any()


def test_views_and_streams_draw_independently():
    """The places of the boxes of all views of two layers do not correlate."""
    count = 1000
    images = np.zeros((count, 8, 8, 3), "uint8")
    batch = batch_of(count, images=images)
    groups = [ViewGroup(1, 4, (0.1, 0.3))]
    places = []
    for stream in (0, 1):
        layer = make_views(groups, stream=stream)
        (drawn,) = layer.parameters(batch["seeds"], (8, 8))
        for maps in np.moveaxis(drawn["view_to_source"], 1, 0):
            centres = to_numpy(positions(maps, 1, 1))[:, 0]
            flipped = maps[:, 0, 0] < 0
            places += [centres[:, 0], centres[:, 1], flipped]
    # A crop on its own, from the same seeds.
    alone = RandomResizedCrop(1, 1, (0.1, 0.3), interpolation="nearest")
    places += list(to_numpy(alone(batch)["view_to_source"])[:, :, 2].T)
    correlation = np.corrcoef(np.array(places, "float64"))
    np.fill_diagonal(correlation, 0.0)
    # 4.5 standard deviations of independent numbers, for 325 pairs.
    assert np.abs(correlation).max() < 4.5 / np.sqrt(count)


def test_datasets_without_seeds_draw_anew_in_every_epoch():
    batch = {"images": batch_of(16)["images"]}

    def two_epochs():
        dataset = tf.data.Dataset.from_tensors(batch)
        dataset = dataset.map(RandomHorizontalFlip(seed=0))
        return [next(iter(dataset))["view_to_source"].numpy() for _ in range(2)]

    first, second = two_epochs()
    assert (first != second).any()
    np.testing.assert_array_equal(two_epochs(), [first, second])
