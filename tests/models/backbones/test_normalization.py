"""One mean and deviation for views, model, evaluation and export."""

import warnings

import keras
import numpy as np
import pytest
import seeded_weights
import small

from keras_vicregl import VICRegL
from keras_vicregl.checkpoints import export
from keras_vicregl.evaluation import (
    evaluate_finetuning,
    extract_features,
    normalize_images,
)
from keras_vicregl.models.backbones import SmallResNet, as_backbone
from keras_vicregl.models.backbones.normalization import (
    PIXELS,
    FromNormalized,
    learn_normalization,
    normalization_of,
    resolved,
)
from keras_vicregl.training.saving.facts import configuration_facts
from keras_vicregl.views import MultiView

PIXEL_VALUES = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3))
PIXEL_VALUES = PIXEL_VALUES.astype("uint8")
OTHER = {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.4)}


def normalized(mean, std):
    return ((PIXEL_VALUES / 255 - mean) / std).astype("float32")


def assert_close(found, expected, tolerance=1e-4):
    scale = np.abs(expected).max()
    assert np.abs(found - expected).max() <= tolerance * scale


@pytest.mark.parametrize("pixels", PIXELS)
def test_pixels_are_those_of_keras_applications(pixels):
    layer = FromNormalized.from_config(FromNormalized(pixels).get_config())
    images = keras.ops.convert_to_tensor(normalize_images(PIXEL_VALUES))
    found = keras.ops.convert_to_numpy(layer(images))
    raw = PIXEL_VALUES.astype("float32")
    plain = {"raw": raw, "unit": raw / 255}
    expected = plain.get(pixels)
    if expected is None:
        expected = keras.applications.imagenet_utils.preprocess_input(
            raw.copy(), data_format="channels_last", mode=pixels
        )
    assert_close(found, expected, 1e-5)


def rescaling():
    """Normalises itself as EfficientNet does."""
    images = keras.Input((None, None, 3))
    x = keras.layers.Rescaling(1 / 255, name="to_unit")(images)
    x = keras.layers.Normalization(
        mean=(0.4, 0.5, 0.6), variance=(0.1, 0.2, 0.3), name="to_normal"
    )(x)
    return keras.Model(images, keras.layers.Conv2D(4, 3)(x), name="foreign")


def rescaling_inside():
    images = keras.Input((None, None, 3))
    inner = keras.Sequential(
        [
            keras.Input((None, None, 3)),
            keras.layers.Rescaling(1 / 127.5, offset=-1, name="to_unit"),
        ]
    )
    x = keras.layers.Conv2D(4, 3)(inner(images))
    return keras.Model(images, x, name="foreign")


def of_operations(family):
    """`keras.applications`' own function in the graph, and a Lambda."""
    images = keras.Input((None, None, 3))
    x = getattr(keras.applications, family).preprocess_input(images)
    x = keras.layers.Lambda(lambda x: x, name="a_lambda")(x)
    return keras.Model(images, keras.layers.Conv2D(4, 3)(x), name="foreign")


def mobilenet():
    return keras.applications.MobileNetV3Small(
        input_shape=(32, 32, 3), weights=None, include_top=False, alpha=0.35
    )


def heads(backbone, **arguments):
    return VICRegL(
        backbone,
        expander_units=(8,),
        local_expander_units=(8,),
        normalization="layer",
        **arguments,
    )


@pytest.mark.parametrize(
    "make, named",
    [
        (
            rescaling,
            r"'foreign'.*'to_unit' \(Resc.*'to_normal' \(Normal",
        ),
        (rescaling_inside, r"'foreign'.*'to_unit' \(Rescaling\)"),
        (mobilenet, r"'MobileNetV3Small'.*\(Rescaling\)"),
    ],
)
def test_models_that_normalise_themselves(make, named, tmp_path):
    model = make()
    data = {"images": PIXEL_VALUES}
    for use in (
        as_backbone,
        heads,
        lambda model: extract_features(model, data),
        lambda model: export(model, tmp_path / "a.keras", preprocessing=True),
    ):
        with pytest.warns(UserWarning, match=f"{named}.*pixels='raw'"):
            use(model)
    expected = seeded_weights.run(model, PIXEL_VALUES.astype("float32"))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        backbone = as_backbone(model, pixels="raw")
        heads(backbone)
        found = extract_features(backbone, data)["features"]
        assert_close(found, expected)
        export(backbone, tmp_path / "b.keras", preprocessing=True)
    exported = keras.saving.load_model(tmp_path / "b.keras")
    assert_close(seeded_weights.run(exported, PIXEL_VALUES), expected)


@pytest.mark.parametrize(
    "family, told",
    [
        ("mobilenet_v2", r"Divide\), .*Subtract\), 'a_lambda' \(Lambda\)"),
        ("resnet", r"\(Add\), 'a_lambda' \(Lambda\)"),
    ],
)
def test_models_that_normalise_by_operations(family, told):
    model = of_operations(family)
    with pytest.warns(UserWarning, match=rf"'foreign'.*{told}.*'raw'"):
        as_backbone(model)


@pytest.mark.parametrize("scale", [0.1, "normal"])
def test_scales_of_features_are_no_concern(scale):
    """A residual branch that is scaled, say, sees no images."""
    layer = (
        keras.layers.Normalization(mean=0.5, variance=0.2)
        if scale == "normal"
        else keras.layers.Rescaling(scale)
    )
    images = keras.Input((None, None, 3))
    first = keras.layers.Conv2D(3, 3, padding="same")
    x = first(keras.layers.RandomFlip()(images))
    x = keras.layers.Add()([x, keras.Sequential([layer])(x)]) / 2
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        as_backbone(keras.Model(images, x))


def test_pixels_are_made_once():
    backbone = as_backbone(rescaling(), pixels="raw")
    with pytest.raises(ValueError, match=r"already.*Leave out pixels='raw'"):
        as_backbone(backbone, pixels="raw")
    with pytest.warns(UserWarning, match=r"pixels='tf' scales.*'to_unit'"):
        as_backbone(rescaling(), pixels="tf")


@pytest.mark.parametrize("pixels", ["caffe", "tf"])
def test_models_of_another_scale(pixels):
    model = small.seeded(small.backbone())
    wanted = keras.applications.imagenet_utils.preprocess_input(
        PIXEL_VALUES.astype("float32"),
        data_format="channels_last",
        mode=pixels,
    )
    expected = seeded_weights.run(model, wanted)
    backbone = as_backbone(model, pixels=pixels)
    found = extract_features(backbone, {"images": PIXEL_VALUES})["features"]
    assert_close(found, expected)


def test_unknown_pixels_are_refused():
    with pytest.raises(ValueError, match=r"one of raw, unit.*'bgr'"):
        as_backbone(small.backbone(), pixels="bgr")


class Batches(keras.utils.PyDataset):
    """What `view_batches` gives, without its cost."""

    def __init__(self, **normalization):
        super().__init__()
        self.multi_view = MultiView.scenes(**normalization)

    def __len__(self):
        return 1

    def __getitem__(self, index):
        return (small.batch(sizes=((32, 32), (32, 32)))[0],)


def trained_on(backbone=None, **normalization):
    model = heads(backbone or SmallResNet(widths=(4, 4, 8, 8)))
    small.compiled(model, keras.optimizers.SGD(1e-3))
    model.fit(Batches(**normalization), verbose=0)
    return model.backbone


def test_evaluation_and_export_take_what_the_views_had(tmp_path):
    backbone = trained_on(**OTHER)
    backbone.save(tmp_path / "trained.keras")
    expected = seeded_weights.run(backbone, normalized(**OTHER))
    for each in (backbone, keras.saving.load_model(tmp_path / "trained.keras")):
        assert normalization_of(each) == (OTHER["mean"], OTHER["std"])
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            data = extract_features(each, {"images": PIXEL_VALUES})
            export(each, tmp_path / "bytes.keras", preprocessing=True)
        assert_close(data["features"], expected)
        exported = keras.saving.load_model(tmp_path / "bytes.keras")
        assert_close(seeded_weights.run(exported, PIXEL_VALUES), expected)


def test_differences_are_told(tmp_path):
    backbone = trained_on(std=(0.228, 0.224, 0.225))
    told = r"trained on .*0\.228.*gets them by "
    with pytest.warns(UserWarning, match=rf"{told}.*0\.229"):
        export(
            backbone,
            tmp_path / "a.keras",
            preprocessing=True,
            std=(0.229, 0.224, 0.225),
        )
    with pytest.warns(UserWarning, match=rf"{told}`preprocess`"):
        extract_features(
            backbone, {"images": PIXEL_VALUES}, preprocess=lambda x: x / 255
        )
    data = {"images": PIXEL_VALUES, "labels": np.array([0, 1])}
    with pytest.warns(UserWarning, match=rf"{told}mean=\(0\.5") as warned:
        evaluate_finetuning(backbone, data, data, epochs=1, **OTHER)
    assert sum("trained on" in str(each.message) for each in warned) == 1
    with pytest.warns(UserWarning, match=r"views.*0\.229.*takes.*0\.228"):
        trained_on(backbone)
    with pytest.warns(UserWarning, match=r"views.*0\.2, .*takes.*0\.229"):
        trained_on(as_backbone(small.backbone(), pixels="tf"), **OTHER)


def test_models_that_make_views_know_them():
    views = MultiView.scenes(on="device", **OTHER)
    backbone = SmallResNet(widths=(4, 4, 8, 8))
    heads(backbone, views=views)
    assert normalization_of(backbone) == (OTHER["mean"], OTHER["std"])
    assert backbone.normalization == views.normalization


def of_keras(kind):
    convolution = keras.layers.Conv2D(4, 2, strides=2)
    if kind == "sequential":
        return keras.Sequential([keras.Input((None, None, 3)), convolution])
    images = keras.Input((None, None, 3))
    return keras.Model(images, convolution(images))


@pytest.mark.parametrize("kind", ["functional", "sequential"])
def test_the_file_of_a_model_of_keras_tells(tmp_path, kind):
    """Else raw values would be normalised as if they were of 8 bits."""
    backbone = of_keras(kind)
    facts = configuration_facts(backbone)
    views = MultiView.scenes(on="device", value_range=(0, 4000))
    model = heads(as_backbone(backbone), views=views)
    assert model.backbone is backbone
    # A run that began before goes on.
    assert configuration_facts(backbone) == facts
    backbone.save(tmp_path / "backbone.keras")
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "backbone.keras")
    assert again.normalization == views.normalization
    whole = keras.saving.load_model(tmp_path / "model.keras")
    assert whole.backbone.normalization == views.normalization
    dark = np.full((1, 8, 8, 3), 200, "uint16")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        found = [
            extract_features(each, {"images": dark})["features"]
            for each in (backbone, again, whole.backbone)
        ]
    expected = seeded_weights.run(backbone, views.normalization(dark))
    for each in found:
        assert_close(each, expected)
    # A copy is of nobody's images yet.
    assert normalization_of(keras.models.clone_model(backbone)) is None


def test_a_file_that_cannot_tell_is_told_of():
    class Own(keras.Model):
        """A class that is not made of a configuration with more in it."""

    images = keras.Input((None, None, 3))
    backbone = Own(images, keras.layers.Conv2D(4, 2)(images))
    told = r"file of .*, a Own, will not know .*value_range=\(0\.0, 4000\.0\)"
    with pytest.warns(UserWarning, match=told):
        heads(
            backbone,
            views=MultiView.scenes(on="device", value_range=(0, 4000)),
        )
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        # What is taken where nothing is told.
        heads(
            keras.Model(images, keras.layers.Conv2D(4, 2)(images)),
            views=MultiView.scenes(on="device"),
        )


def test_what_is_not_known_is_imagenets():
    backbone = small.backbone()
    learn_normalization(backbone, lambda inputs: inputs)  # of the user's own
    assert normalization_of(backbone) is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert resolved(backbone, None, None)[1] == (0.229, 0.224, 0.225)
        assert resolved(backbone, OTHER["mean"], None)[0] == OTHER["mean"]
