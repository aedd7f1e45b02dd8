"""What the layers of views accept and refuse."""

import keras
import keras_cv
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

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

LAYERS = {
    "crop": lambda: RandomResizedCrop(4, 5),
    "flip": RandomHorizontalFlip,
    "jitter": ColorJitter,
    "multi_view": lambda: MultiView([ViewGroup(4, 2)], jit_compile=False),
    "normalize": Normalize,
}
PHOTOMETRIC = {
    "jitter": ColorJitter,
    "grayscale": RandomGrayscale,
    "blur": RandomGaussianBlur,
    "solarize": RandomSolarize,
    "normalize": Normalize,
}


def to_numpy(tensor):
    return ops.convert_to_numpy(tensor)


def images_of(*shape, dtype="uint8"):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, shape).astype(dtype)


def with_value(value):
    images = images_of(2, 6, 7, 3, dtype="float32")
    images[1, 2, 3, 0] = value
    return images


# Images ----------------------------------------------------------------------


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize(
    "shape", [(6, 7), (6, 7, 1), (2, 6, 7, 4), (1, 2, 6, 7, 3)]
)
def test_images_of_another_shape_are_refused(name, shape):
    with pytest.raises(ValueError, match="images must have shape"):
        LAYERS[name]()(images_of(*shape))
    with pytest.raises(ValueError, match="images must have shape"):
        LAYERS[name]()({"images": images_of(*shape)})


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("dtype", ["int32", "int64", "uint16", "bool"])
def test_images_of_other_integers_are_refused(name, dtype):
    with pytest.raises(ValueError, match=f"must be uint8.*Got dtype {dtype}"):
        LAYERS[name]()(images_of(2, 6, 7, 3, dtype=dtype))


def test_layers_of_other_channels_take_these_and_no_others():
    images = images_of(2, 6, 7, 4)
    for make in (*LAYERS.values(), *PHOTOMETRIC.values()):
        layer = make()
        if isinstance(layer, MultiView | ColorJitter | RandomGrayscale):
            continue
        config = {**layer.get_config(), "channels": 4}
        if isinstance(layer, Normalize):
            config |= {"mean": (0.5,) * 4, "std": (0.2,) * 4}
        other = type(layer).from_config(config)
        assert tuple(other(images).shape)[-1] == 4
        with pytest.raises(ValueError, match=r"width, 4.*pass channels=3"):
            other(images_of(2, 6, 7, 3))
    jitter = ColorJitter(saturation=0, hue=0, channels=4, probability=1.0)
    assert tuple(jitter(images).shape) == (2, 6, 7, 4)
    with pytest.raises(
        ValueError, match=r"RGB alone.*Pass saturation=0, hue=0"
    ):
        ColorJitter(channels=4)
    with pytest.raises(ValueError, match="move the channels to the end"):
        RandomResizedCrop(4, 4)(images_of(2, 3, 6, 7))


OTHERS = {"channels": 2, "saturation": 0, "hue": 0, "grayscale": 0}


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused_whatever_the_range(value):
    images = np.zeros((2, 6, 7, 2), "float32")
    images[1, 2, 3, 1] = value
    layer = MultiView([ViewGroup(4, 2)], value_range=(0, 1), **OTHERS)
    with pytest.raises(ValueError, match=r"finite.*nan_to_num"):
        layer({"images": images})


def test_sixteen_bits_without_a_range_are_told_of_it():
    layer = MultiView([ViewGroup(4, 2)], **OTHERS)
    with pytest.raises(ValueError, match=r"Got dtype uint16.*value_range"):
        layer(images_of(6, 7, 2, dtype="uint16"))


WRONG_VALUES = [
    pytest.param(with_value(-0.5), "in .0, 255.", id="negative"),
    pytest.param(with_value(255.5), "in .0, 255.", id="above 255"),
    pytest.param(with_value(np.nan), "finite", id="NaN"),
    pytest.param(with_value(np.inf), "finite", id="infinite"),
    pytest.param(with_value(0) / 255, "Multiply them by 255", id="in [0, 1]"),
    pytest.param(np.ones((6, 7, 3)), "Multiply them by 255", id="all ones"),
]


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize(("images", "message"), WRONG_VALUES)
def test_values_out_of_range_are_refused(name, images, message):
    with pytest.raises(ValueError, match=message):
        LAYERS[name]()({"images": images})


@pytest.mark.parametrize(("images", "message"), WRONG_VALUES)
def test_values_out_of_range_are_refused_in_datasets(images, message):
    dataset = tf.data.Dataset.from_tensors({"images": images})
    dataset = dataset.map(RandomHorizontalFlip())
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        next(iter(dataset))


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_floating_point_images_are_as_good_as_bytes(name, dtype):
    images = images_of(3, 6, 7, 3)
    seeds = np.arange(6).reshape(3, 2)
    layer = LAYERS[name]()
    expected = layer({"images": images, "seeds": seeds})
    found = layer({"images": images.astype(dtype), "seeds": seeds})
    key = "images" if "images" in found else "views"
    first, second = found[key], expected[key]
    if key == "views":
        first, second = first[0], second[0]
    assert to_numpy(first).dtype == np.float32
    np.testing.assert_array_equal(to_numpy(first), to_numpy(second))


def test_black_images_and_dark_crops_pass():
    black = np.zeros((2, 6, 7, 3), "float32")
    outputs = RandomResizedCrop(4, 4)({"images": black})
    np.testing.assert_array_equal(to_numpy(outputs["images"]), 0.0)
    # Within a chain a crop may hold nothing but noise of one grey level.
    dark = np.full((2, 6, 7, 3), 1, "uint8")
    outputs = RandomResizedCrop(4, 4)({"images": dark})
    outputs = ColorJitter(probability=0.0)(outputs)
    np.testing.assert_allclose(to_numpy(outputs["images"]), 1.0, atol=1e-5)


def test_normalised_images_are_told_to_come_last():
    normalised = Normalize()(images_of(2, 6, 7, 3))
    with pytest.raises(ValueError, match="normalise after all other layers"):
        ColorJitter()(normalised)


def test_ragged_batches_are_refused():
    ragged = tf.ragged.stack(
        [tf.zeros((4, 5, 3), tf.uint8), tf.zeros((6, 5, 3), tf.uint8)]
    )
    with pytest.raises(ValueError, match="before batching"):
        RandomResizedCrop(4, 4)({"images": ragged})


# Other keys ------------------------------------------------------------------


@pytest.mark.parametrize("name", LAYERS)
def test_dictionaries_need_images(name):
    with pytest.raises(ValueError, match=r"must have the key 'images'.*'label"):
        LAYERS[name]()({"labels": np.zeros(2)})


@pytest.mark.parametrize(
    "seeds",
    [
        np.zeros((2, 2), "float32"),
        np.zeros((2, 3), "int32"),
        np.zeros(2, "int32"),
        np.zeros((2, 2), "uint8"),
    ],
)
def test_seeds_of_another_shape_or_dtype_are_refused(seeds):
    with pytest.raises(ValueError, match=r"int32 or int64 of shape \(batch, 2"):
        ColorJitter()({"images": images_of(2, 6, 7, 3), "seeds": seeds})


def test_seeds_of_a_single_image_are_two_numbers():
    with pytest.raises(ValueError, match=r"int32 or int64 of shape \(2,\)"):
        ColorJitter()(
            {"images": images_of(6, 7, 3), "seeds": np.zeros((1, 2), "int32")}
        )


@pytest.mark.parametrize("shape", [(2, 6, 7), (2, 5, 7, 1), (2, 6, 8, 1)])
def test_masks_of_another_shape_are_refused(shape):
    batch = {
        "images": images_of(2, 6, 7, 3),
        "segmentation_masks": np.zeros(shape, "uint8"),
    }
    for name in ("crop", "flip", "multi_view"):
        with pytest.raises(ValueError, match="must have the images' height"):
            LAYERS[name]()(batch)


def test_maps_of_another_shape_are_refused():
    batch = {
        "images": images_of(2, 6, 7, 3),
        "view_to_source": np.zeros((2, 3, 3), "float32"),
        "source_size": np.zeros((2, 2), "float32"),
    }
    for name in ("crop", "flip", "multi_view"):
        with pytest.raises(ValueError, match=r"one \(2, 3\) map an image"):
            LAYERS[name]()(batch)


def test_multi_view_needs_the_size_of_the_source_of_given_maps():
    batch = {
        "images": images_of(2, 6, 7, 3),
        "view_to_source": np.zeros((2, 2, 3), "float32"),
    }
    with pytest.raises(ValueError, match="came without 'source_size'"):
        LAYERS["multi_view"]()(batch)


def test_multi_view_needs_the_masks_that_it_is_to_return():
    layer = MultiView([ViewGroup(4, 2)], return_masks=True)
    with pytest.raises(ValueError, match="needs the key 'segmentation_masks'"):
        layer({"images": images_of(2, 6, 7, 3)})


@pytest.mark.parametrize("name", ["crop", "flip", "multi_view"])
def test_geometry_that_would_not_follow_is_refused(name):
    batch = {
        "images": images_of(2, 6, 7, 3),
        "keypoints": np.zeros((2, 4, 2), "float32"),
    }
    with pytest.raises(ValueError, match="'keypoints' would not follow"):
        LAYERS[name]()(batch)


@pytest.mark.parametrize(
    ("name", "in_a_dataset"),
    [(name, False) for name in [*PHOTOMETRIC, "crop", "flip"]]
    + [("jitter", True), ("crop", True), ("flip", True)],
)
def test_other_keys_are_kept(name, in_a_dataset):
    batch = {
        "images": images_of(2, 6, 7, 3),
        "labels": np.array([3, 4], "int32"),
        "seeds": np.zeros((2, 2), "int32"),
        "weights": np.array([0.5, 2.0], "float32"),
    }
    layer = {**PHOTOMETRIC, **LAYERS}[name]()
    for given in (batch, {key: value[0] for key, value in batch.items()}):
        if in_a_dataset:
            outputs = next(iter(tf.data.Dataset.from_tensors(given).map(layer)))
        else:
            outputs = layer(given)
        for key in ("labels", "seeds", "weights"):
            value = to_numpy(outputs[key])
            np.testing.assert_array_equal(value, given[key])
            assert value.dtype == given[key].dtype
        assert to_numpy(outputs["images"]).ndim == given["images"].ndim
        assert ("view_to_source" in outputs) == (name in ("crop", "flip"))


@pytest.mark.parametrize("name", PHOTOMETRIC)
def test_photometric_layers_pass_geometry_through(name):
    maps = np.random.default_rng(0).normal(size=(2, 2, 3)).astype("float32")
    outputs = PHOTOMETRIC[name]()(
        {"images": images_of(2, 6, 7, 3), "view_to_source": maps}
    )
    np.testing.assert_array_equal(to_numpy(outputs["view_to_source"]), maps)


def test_a_single_image_is_a_batch_of_one():
    image, seeds = images_of(6, 7, 3), np.array([1, 2], "int32")
    for layer in (RandomResizedCrop(4, 5), ColorJitter(), RandomGaussianBlur()):
        one = layer({"images": image, "seeds": seeds})
        batch = layer({"images": image[None], "seeds": seeds[None]})
        for key in one:
            np.testing.assert_array_equal(
                to_numpy(one[key]), to_numpy(batch[key])[0]
            )


def test_layers_stand_among_those_of_keras_cv():
    layers = [
        keras_cv.layers.Resizing(20, 30),
        RandomResizedCrop(12, 10, flip=0.5),
        keras_cv.layers.RandomHue(0.1, (0, 255)),
        ColorJitter(),
        keras_cv.layers.Grayscale(3),
        RandomHorizontalFlip(),
        Normalize(),
    ]
    dataset = tf.data.Dataset.from_tensors(
        {
            "images": images_of(4, 24, 24, 3),
            "labels": np.arange(4),
            "seeds": np.zeros((4, 2), "int32"),
        }
    )
    for layer in layers:
        dataset = dataset.map(layer)
    outputs = next(iter(dataset))
    assert tuple(outputs["images"].shape) == (4, 12, 10, 3)
    np.testing.assert_array_equal(outputs["source_size"], [[20, 30]] * 4)
    # Whole numbers, a flip or two, and gray but for the normalisation.
    maps = np.abs(outputs["view_to_source"])
    np.testing.assert_array_equal(maps, np.rint(maps))
    std = np.array(layers[-1].std)
    colors = outputs["images"] * std + layers[-1].mean
    np.testing.assert_allclose(colors[..., 0], colors[..., 1], atol=1e-5)


def test_single_images_of_any_size_make_views_of_one_size():
    sizes = [(20, 31), (9, 8), (40, 17)]
    dataset = tf.data.Dataset.from_generator(
        lambda: ({"images": images_of(*size, 3)} for size in sizes),
        output_signature={
            "images": tf.TensorSpec((None, None, 3), tf.uint8),
        },
    )
    for layer in (RandomGaussianBlur(probability=1.0), ColorJitter()):
        dataset = dataset.map(layer)
    dataset = dataset.map(LAYERS["multi_view"]()).batch(3)
    outputs = next(iter(dataset))
    assert tuple(outputs["views"][0].shape) == (3, 4, 4, 3)
    np.testing.assert_array_equal(outputs["source_size"], sizes)


@pytest.mark.parametrize("name", LAYERS)
def test_the_dtype_of_results_is_asked_for_and_not_set_globally(name):
    config = LAYERS[name]().get_config()
    layer = type(LAYERS[name]()).from_config(
        {**config, "dtype": "mixed_float16"}
    )
    outputs = layer({"images": images_of(2, 6, 7, 3)})
    found = outputs["views"][0] if "views" in outputs else outputs["images"]
    # Only the views are for a network; the single layers hand on to others.
    expected = np.float16 if name == "multi_view" else np.float32
    assert to_numpy(found).dtype == expected
    keras.config.set_dtype_policy("mixed_float16")
    try:
        assert LAYERS[name]().compute_dtype == "float32"
    finally:
        keras.config.set_dtype_policy("float32")


# Arguments -------------------------------------------------------------------

WRONG_ARGUMENTS = [
    (lambda: RandomResizedCrop(0, 4), "height must be an integer >= 1. Got 0"),
    (lambda: RandomResizedCrop(4, -1), "width must be .* Got -1"),
    (lambda: RandomResizedCrop(4, 4.0), "width must be .* Got 4.0"),
    (lambda: RandomResizedCrop(True, 4), "height must be .* Got True"),
    (lambda: RandomResizedCrop(4, 4, (0.0, 1.0)), r"scale.*high <= 1\. Got"),
    (lambda: RandomResizedCrop(4, 4, (0.5, 1.1)), r"scale.*Got \(0.5, 1.1\)"),
    (lambda: RandomResizedCrop(4, 4, (0.5, 0.4)), "scale must be a pair"),
    (lambda: RandomResizedCrop(4, 4, 0.5), "scale must be a pair"),
    (lambda: RandomResizedCrop(4, 4, ("a", 1)), "scale must be a pair"),
    (
        lambda: RandomResizedCrop(4, 4, aspect_ratio=(2.0, 1.0)),
        "aspect_ratio must be a pair",
    ),
    (
        lambda: RandomResizedCrop(4, 4, aspect_ratio=(1.0, float("inf"))),
        "aspect_ratio must be a pair",
    ),
    (
        lambda: RandomResizedCrop(4, 4, interpolation="lanczos"),
        "interpolation must be .* Got 'lanczos'",
    ),
    (lambda: RandomResizedCrop(4, 4, flip=1.5), r"flip .*in \[0, 1\]. Got 1.5"),
    (lambda: RandomHorizontalFlip(-0.1), "probability must be a number in"),
    (lambda: ColorJitter(brightness=-1), "brightness must be a number >= 0"),
    (lambda: ColorJitter(contrast="x"), "contrast must be a number >= 0"),
    (lambda: ColorJitter(saturation=float("nan")), "saturation must be"),
    (lambda: ColorJitter(hue=0.6), r"hue must be a number in \[0, 0.5\]"),
    (lambda: ColorJitter(probability=2), "probability must be a number in"),
    (lambda: RandomGrayscale(None), "probability must be .* Got None"),
    (lambda: RandomGaussianBlur((0.0, 1.0)), "sigma must be a pair"),
    (lambda: RandomSolarize(300), r"threshold must be a number in \[0, 256\]"),
    (lambda: Normalize(mean=0.5), "mean must be three numbers"),
    (lambda: Normalize(std=(1, 0, 1)), "std must be three positive numbers"),
    (lambda: Normalize(std=(1, 1)), "std must be three positive numbers"),
    (lambda: Normalize(mean=(1, "a", 1)), "mean must be three numbers"),
    (lambda: ColorJitter(seed=-1), "seed must be an integer >= 0"),
    (lambda: ColorJitter(seed=0.5), "seed must be an integer >= 0"),
    (lambda: ColorJitter(stream="a"), "stream must be an integer >= 0"),
    (lambda: ViewGroup(0, 2), "size must be an integer >= 1. Got 0"),
    (lambda: ViewGroup((4, 4, 3), 2), "size must be an integer or a pair"),
    (lambda: ViewGroup("large", 2), "size must be an integer or a pair"),
    (lambda: ViewGroup(4, 0), "count must be an integer >= 1. Got 0"),
    (lambda: ViewGroup(4, 2, scale=(0, 1)), "scale must be a pair"),
    (lambda: ViewGroup(4, 2, blur=()), "blur must hold one probability a view"),
    (lambda: ViewGroup(4, 2, blur=0.5), "blur must hold one probability"),
    (lambda: ViewGroup(4, 2, solarize=(2,)), r"solarize .*in \[0, 1\]. Got 2"),
    (lambda: ViewGroup(4, 2, blur_sigma=(2, 1)), "blur_sigma must be a pair"),
    (lambda: MultiView([]), "groups must be a list of one or more"),
    (lambda: MultiView(ViewGroup(4, 2)), "groups must be a list"),
    (lambda: MultiView([4]), "groups must be a list"),
    (lambda: MultiView([ViewGroup(4, 2)], flip=2), "flip must be a number in"),
    (lambda: MultiView([ViewGroup(4, 2)], jitter=2), "jitter must be a number"),
    (lambda: MultiView([ViewGroup(4, 2)], hue=2), "hue must be a number in"),
    (lambda: MultiView([ViewGroup(4, 2)], std=2), "std must be three positive"),
    (
        lambda: MultiView([ViewGroup(4, 2)], interpolation="x"),
        "interpolation must be",
    ),
]


@pytest.mark.parametrize(("make", "message"), WRONG_ARGUMENTS)
def test_arguments_out_of_range_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
