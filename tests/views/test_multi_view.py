"""Views of whole batches: structure, seeds and configuration."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops
from view_helpers import (
    GROUPS,
    SIZES,
    SOURCE,
    assert_close,
    assert_same,
    batch_of,
    make_views,
    rows_of,
    to_numpy,
)

from keras_vicregl.views import (
    ColorJitter,
    MultiView,
    Normalize,
    RandomGaussianBlur,
    RandomGrayscale,
    RandomHorizontalFlip,
    RandomResizedCrop,
    RandomSolarize,
    ViewGroup,
)
from keras_vicregl.views.geometry import positions


@pytest.mark.parametrize("in_a_dataset", [False, True])
def test_batches_and_single_images_have_the_documented_structure(in_a_dataset):
    masks = np.zeros((4, *SOURCE, 1), "uint8")
    masks[:, 40:] = 7
    batch = batch_of(
        4,
        labels=np.arange(4, dtype="int32"),
        segmentation_masks=masks,
        name=np.array(["a", "b", "c", "d"]) if in_a_dataset else np.arange(4),
    )
    layer = make_views(GROUPS, return_masks=True)
    for leading in ((4,), ()):
        given = batch if leading else rows_of(batch, 1)
        if in_a_dataset:
            dataset = tf.data.Dataset.from_tensors(given).map(layer)
            outputs = next(iter(dataset))
        else:
            outputs = layer(given)
        assert set(outputs) == {
            "views",
            "view_masks",
            "view_to_source",
            "source_size",
            "labels",
            "name",
        }
        for key, dtype, channels in (
            ("views", "float32", 3),
            ("view_masks", "uint8", 1),
        ):
            assert isinstance(outputs[key], tuple)
            assert [tuple(part.shape) for part in outputs[key]] == [
                (*leading, *size, channels) for size in SIZES
            ]
            assert all(to_numpy(p).dtype == dtype for p in outputs[key])
        assert set(np.unique(to_numpy(outputs["view_masks"][0]))) == {0, 7}
        assert isinstance(outputs["view_to_source"], tuple)
        for maps in outputs["view_to_source"]:
            assert tuple(maps.shape) == (*leading, 2, 3)
            assert to_numpy(maps).dtype == "float32"
        np.testing.assert_array_equal(
            to_numpy(outputs["source_size"]), np.zeros((*leading, 2)) + SOURCE
        )
        assert to_numpy(outputs["labels"]).dtype == "int32"
        np.testing.assert_array_equal(
            to_numpy(outputs["labels"]), given["labels"]
        )


@pytest.mark.every_backend
def test_images_alone_are_enough():
    images = batch_of(2)["images"]
    outputs = make_views(GROUPS)(images)
    assert set(outputs) == {"views", "view_to_source", "source_size"}
    assert tuple(outputs["views"][0].shape) == (2, 32, 24, 3)


def test_targets_come_back_as_targets():
    targets = np.arange(2, dtype="int32")
    outputs = make_views(GROUPS)(batch_of(2, targets=targets))
    np.testing.assert_array_equal(to_numpy(outputs["targets"]), targets)
    assert "labels" not in outputs


@pytest.mark.every_backend
def test_to_fit_arranges_the_arguments_of_fit():
    labels = np.arange(3, dtype="int32")
    outputs = make_views(GROUPS)(batch_of(3, labels=labels, name=labels))
    x, y = MultiView.to_fit(outputs)
    assert set(x) == {"views", "view_to_source", "source_size"}
    assert x["views"] is outputs["views"]
    np.testing.assert_array_equal(to_numpy(y), labels)
    del outputs["labels"]
    (alone,) = MultiView.to_fit(outputs)
    assert alone["source_size"] is outputs["source_size"]
    with pytest.raises(ValueError, match=r"without .*views.*view_to_source"):
        MultiView.to_fit({"source_size": labels})


@pytest.mark.every_backend
def test_a_dataset_of_views_feeds_fit():
    dataset = tf.data.Dataset.from_tensor_slices(
        batch_of(8, labels=np.arange(8, dtype="int32") % 2)
    )
    dataset = dataset.batch(4).map(make_views(GROUPS)).map(MultiView.to_fit)

    class Model(keras.Model):
        def __init__(self):
            super().__init__()
            self.head = keras.layers.Dense(2)

        def call(self, x):
            first = positions(x["view_to_source"][0], 2, 2)[:, 0]
            pooled = ops.mean(x["views"][2], axis=(1, 2))
            return self.head(
                ops.concatenate([pooled, first / x["source_size"]], axis=-1)
            )

    model = Model()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss)
    history = model.fit(dataset, verbose=0)
    assert np.isfinite(history.history["loss"]).all()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_views_have_the_compute_dtype(dtype):
    views = make_views(GROUPS, dtype=f"mixed_{dtype}")(batch_of(2))["views"]
    assert keras.backend.standardize_dtype(views[0].dtype) == dtype
    full = make_views(GROUPS)(batch_of(2))["views"]
    np.testing.assert_array_equal(
        to_numpy(ops.cast(ops.cast(full[1], dtype), "float32")),
        to_numpy(ops.cast(views[1], "float32")),
    )


@pytest.mark.parametrize(
    ("faithful", "tolerance"),
    # Mirrored before or after resizing; and a blur that ends at 3 standard
    # deviations instead of 4, which is 0.3 % of its weight.
    [(True, 1e-4), (False, 4e-3)],
)
def test_a_view_is_the_chain_of_single_layers(faithful, tolerance):
    """Same order and same arguments; own draws, so only in what is certain."""
    group = ViewGroup(
        (24, 24), 1, (1.0, 1.0), blur=[1], solarize=[1], blur_sigma=(1.0, 1.0)
    )
    square = {"images": batch_of(4)["images"][:, :60]}
    layer = make_views(
        [group], flip=1.0, brightness=0, contrast=0, saturation=0, hue=0,
        jitter=1.0, grayscale=1.0, faithful=faithful,
    )  # fmt: skip
    found = layer(square)
    batch = square
    for layer in (
        RandomResizedCrop(24, 24, scale=(1.0, 1.0), aspect_ratio=(1.0, 1.0)),
        RandomHorizontalFlip(1.0),
        ColorJitter(0.0, 0.0, 0.0, 0.0, probability=1.0),
        RandomGrayscale(1.0),
        RandomGaussianBlur((1.0, 1.0), probability=1.0),
        RandomSolarize(probability=1.0),
        Normalize(),
    ):
        batch = layer(batch)
    full = to_numpy(found["view_to_source"][0])[:, 1, 1] == 60
    assert full.any()
    np.testing.assert_allclose(
        to_numpy(found["views"][0])[full],
        to_numpy(batch["images"])[full],
        atol=tolerance,
    )


def test_a_view_depends_on_its_examples_seed_only():
    layer = make_views(GROUPS)
    batch = batch_of(12)
    everything = layer(batch)
    order = np.array([7, 3, 11, 0, 5])
    assert_close(layer(rows_of(batch, order)), everything, order)
    assert_close(layer(rows_of(batch, 4)), everything, 4)
    # Whatever instance of the layer and whatever its own seed.
    assert_same(make_views(GROUPS, seed=3)(batch), everything)


@pytest.mark.parametrize("seed", [0, 7])
def test_without_seeds_the_layers_own_seed_decides(seed):
    batch = {"images": batch_of(4)["images"]}
    first, second = make_views(GROUPS, seed=seed), make_views(GROUPS, seed=seed)
    views = first(batch)
    assert_same(views, second(batch))
    again = first(batch)
    assert (
        to_numpy(views["view_to_source"][0])
        != to_numpy(again["view_to_source"][0])
    ).any()
    assert_same(again, second(batch))
    other = make_views(GROUPS, seed=seed + 1)(batch)
    assert (
        to_numpy(views["view_to_source"][0])
        != to_numpy(other["view_to_source"][0])
    ).any()


def test_without_any_seed_keras_seed_decides():
    batch = {"images": batch_of(64)["images"]}
    flips = []
    for seed in (3, 3, 4):
        keras.utils.set_random_seed(seed)
        views = RandomHorizontalFlip()(batch)
        flips.append(to_numpy(views["view_to_source"]))
    np.testing.assert_array_equal(flips[0], flips[1])
    assert (flips[0] != flips[2]).any()


LAYERS = {
    "multi_view": lambda: make_views(
        GROUPS, flip=0.3, track_flips=False, brightness=0.3, contrast=0.2,
        saturation=0.1, hue=0.05, jitter=0.7, grayscale=0.1,
        mean=(0.1, 0.2, 0.3), std=(1.0, 2.0, 3.0), interpolation="bilinear",
        antialias=False, return_masks=True, faithful=True, seed=2, stream=5,
    ),
    "crop": lambda: RandomResizedCrop(
        32, 24, (0.2, 0.9), (0.5, 1.5), "bilinear", False, flip=0.4,
        track_flips=False, seed=0, stream=2,
    ),
    "flip": lambda: RandomHorizontalFlip(0.4, track=False, stream=1),
    "jitter": lambda: ColorJitter(0.1, 0.2, 0.3, 0.4, probability=0.5, seed=9),
    "grayscale": lambda: RandomGrayscale(0.7, seed=1),
    "blur": lambda: RandomGaussianBlur((0.5, 1.0), 0.6, stream=4),
    "solarize": lambda: RandomSolarize(100.0, 0.6),
    "normalize": lambda: Normalize((0.1, 0.2, 0.3), (1.0, 2.0, 3.0)),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYERS)
def test_layers_come_back_from_their_configuration(name):
    layer = LAYERS[name]()
    text = json.dumps(keras.saving.serialize_keras_object(layer))
    again = keras.saving.deserialize_keras_object(json.loads(text))
    assert type(again) is type(layer)
    assert again.get_config() == layer.get_config()
    defaults = type(layer)(**required_arguments(layer)).get_config()
    own = {k for k in layer.get_config() if k not in ("name", "dtype")}
    own -= {"trainable", "seed", "stream", "on", *required_arguments(layer)}
    # Nothing is left at its default, so nothing can be lost unseen.
    assert all(layer.get_config()[key] != defaults[key] for key in own)
    batch = batch_of(6, segmentation_masks=np.ones((6, *SOURCE, 1), "uint8"))
    assert_same(again(batch), layer(batch))


@pytest.mark.parametrize("ranges", [(3, 700.0), [(0, 1)] * 3 + [(2, 90)]])
def test_views_of_other_images_come_back_from_their_configuration(ranges):
    layer = make_views(
        GROUPS, channels=4, value_range=ranges, gamma=0.2, noise=0.1,
        per_channel=True, saturation=0.0, hue=0.0, grayscale=0.0,
        mean=[0.1, 0.2, 0.3, 0.4], std=(1.0, 2.0, 3.0, 4.0), on="device",
    )  # fmt: skip
    text = json.dumps(keras.saving.serialize_keras_object(layer))
    again = keras.saving.deserialize_keras_object(json.loads(text))
    assert again.get_config() == layer.get_config()
    assert again.normalization == layer.normalization
    np.testing.assert_array_equal(again.value_range, ranges)
    assert (again.channels, again.gamma, again.noise) == (4, 0.2, 0.1)
    assert again.per_channel
    blur = RandomGaussianBlur(channels=2, seed=1)
    assert type(blur).from_config(blur.get_config()).channels == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"value_range": (1, 1)}, "low < high"),
        ({"value_range": (1e9, 1e9 + 1)}, "low < high"),
        ({"value_range": [(0, 1), (0, 1), (5, 5), (0, 1)]}, "of channel 2"),
        ({"value_range": (0, float("nan"))}, "finite"),
        ({"value_range": [(0, 1), (0, 2)]}, "each of the 4 channels"),
        ({"value_range": "percentiles"}, "pair of finite numbers"),
        ({"hue": 0.1}, "4 channels. Got hue=0.1. Pass .*hue=0"),
        ({"grayscale": 0.2, "saturation": 1}, "saturation, grayscale: colours"),
        ({"mean": (0.5, 0.5, 0.5)}, "mean must be 4 numbers"),
        ({"std": (0.5, 0.5, 0.5, 0)}, "std must be 4 positive numbers"),
        ({"faithful": True, "noise": 0.1}, "leave one or the other out"),
        ({"channels": 0}, "channels must be an integer"),
        ({"channels": 3, "per_channel": True, "hue": 0.1}, "per_channel=True"),
        ({"gamma": -1}, "gamma must be a number"),
        ({"noise": 10}, "noise must be a number"),
    ],
)
def test_what_no_channels_can_have_is_refused(options, message):
    others = dict.fromkeys(("saturation", "hue", "grayscale"), 0.0)
    with pytest.raises(ValueError, match=message):
        MultiView(GROUPS, **{"channels": 4, **others, **options})


def test_faithful_views_of_any_channels_are_close_to_the_fused():
    rng = np.random.default_rng(0)
    images = rng.uniform(-1, 1, (4, *SOURCE, 5)).astype("float32")
    seeds = np.stack([np.full(4, 5), np.arange(4)], 1)
    groups = [ViewGroup(24, 2, blur=(0.5,), solarize=(0.0,))]
    views = [
        make_views(
            groups, faithful=faithful, channels=5, value_range=(-1, 1),
            saturation=0.0, hue=0.0, grayscale=0.0,
        )({"images": images, "seeds": seeds})["views"]
        for faithful in (False, True)
    ]  # fmt: skip
    for fused, faithful in zip(*views, strict=True):
        # In deviations of a quarter of the range: clipped once, or each time.
        assert np.abs(to_numpy(fused) - to_numpy(faithful)).mean() < 0.03


def required_arguments(layer):
    config = layer.get_config()
    needed = {MultiView: ["groups"], RandomResizedCrop: ["height", "width"]}
    return {key: config[key] for key in needed.get(type(layer), [])}
