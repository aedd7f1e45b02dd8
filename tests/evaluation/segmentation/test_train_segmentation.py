import keras
import numpy as np
import pytest
import seeded_weights
import small
from backend_tools import eager_steps
from known_features import averaging_backbone, identity_backbone
from test_segmentation import bilinear, blocky_masks

from keras_vicregl.data import digit_scenes
from keras_vicregl.evaluation import (
    SEGMENTATION_PROTOCOLS,
    SegmentationProtocol,
    evaluate_segmentation,
    normalize_images,
    train_segmentation,
)
from keras_vicregl.evaluation.segmentation.model import (
    SegmentationModel,
    dense_features,
)
from keras_vicregl.evaluation.segmentation.protocols import (
    segmentation_protocol,
)
from keras_vicregl.evaluation.segmentation.training import _optimizer
from keras_vicregl.models.backbones import ConvNeXt, ResNet


@pytest.fixture(autouse=True)
def no_random_weights():
    """Weights are seeded here; those of heads are drawn by `RandomNormal`."""
    kind = keras.initializers.VarianceScaling
    original = kind.__call__
    kind.__call__ = seeded_weights._zeros
    yield
    kind.__call__ = original


@pytest.fixture
def eager():
    """Under TensorFlow tracing takes most of the time of a few steps."""
    with eager_steps():
        yield


def resnet(widths=(4, 8)):
    return small.seeded(
        ResNet((1, 1), widths, "basic", (2, 2), stem="small", stem_strides=2)
    )


def convnext():
    return small.seeded(ConvNeXt((1, 1, 1), (4, 6, 8), 0.9))


def colours(count=8, size=16, classes=3, seed=0):
    """Blocks whose colour is their class."""
    masks = blocky_masks(count, size, classes, 8, seed)
    images = (np.eye(3, dtype=np.uint8) * 255)[masks]
    return {"images": images, "segmentation_masks": masks.astype(np.uint8)}


QUICK = {
    "num_classes": 3,
    "iterations": 6,
    "batch_size": 4,
    "crop_size": 16,
    "learning_rate": 0.1,
}


def train(backbone, data=None, test=None, **options):
    data = colours() if data is None else data
    test = data if test is None else test
    return train_segmentation(backbone, data, test, **{**QUICK, **options})


def test_the_papers_protocols():
    resnet, convnext = (
        SEGMENTATION_PROTOCOLS[name] for name in ("resnet", "convnext")
    )
    assert (resnet.batch_size, resnet.iterations) == (16, 40_000)
    assert (convnext.batch_size, convnext.iterations) == (16, 40_000)
    rate = _optimizer(resnet, [])._learning_rate
    for step in (0, 1, 1000, 20_000, 39_999, 40_000):
        expected = 1e-4 + (0.01 - 1e-4) * (1 - step / 40_000) ** 0.9
        assert float(rate(step)) == pytest.approx(expected, rel=1e-5)
    rate = _optimizer(convnext, [])._learning_rate
    for step in (0, 1, 750, 1500, 1501, 20_000, 40_000):
        expected = 1e-4 * (1 - step / 40_000) * min(step / 1500, 1)
        assert float(rate(step)) == pytest.approx(expected, rel=1e-4)


def test_stages_are_resized_to_the_finest_and_concatenated():
    backbone = convnext()
    protocol = segmentation_protocol("convnext")
    features = dense_features(backbone, protocol)
    images = np.random.default_rng(0).normal(size=(2, 36, 52, 3))
    images = images.astype("float32")
    found = features.predict_on_batch(images)
    pyramid = keras.Model(backbone.input, backbone.pyramid_outputs)
    maps = pyramid.predict_on_batch(images)
    assert [maps[f"P{level}"].shape[1:3] for level in (2, 3, 4)] == [
        (9, 13),
        (4, 6),
        (2, 3),
    ]
    # Without the last norm.
    expected = [maps["P2"].transpose(0, 3, 1, 2)]
    for key in ("P3", "P4"):
        expected.append(
            [
                [bilinear(image[..., c], 9, 13) for c in range(image.shape[-1])]
                for image in maps[key]
            ]
        )
    expected = np.concatenate(expected, 1).transpose(0, 2, 3, 1)
    assert found.shape == (2, 9, 13, 18)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("protocol", ["resnet", "convnext"])
def test_a_frozen_backbone_stays_what_it_is(protocol, tmp_path):
    backbone = resnet() if protocol == "resnet" else convnext()
    before = small.weights(backbone)
    kept = []

    class Spy(SegmentationModel):
        def __init__(self, features, head, frozen):
            super().__init__(features, head, frozen)
            kept.extend([features, small.weights(features)])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "keras_vicregl.evaluation.segmentation.training.SegmentationModel",
            Spy,
        )
        result = train(
            backbone,
            protocol=protocol,
            warmup=0,
            learning_rate=0.01,
            window=None,
            window_stride=None,
        )
    # Neither the backbone nor the copy that the head was trained on, with the
    # statistics of its batch norms and the state of its stochastic depth.
    features, start = kept
    for model, values in ((backbone, before), (features, start)):
        after = small.weights(model)
        assert len(after) == len(values)
        for one, other in zip(values, after, strict=True):
            np.testing.assert_array_equal(one, other)
    assert all(layer.trainable for layer in backbone.layers)
    assert backbone.trainable_variables
    # What is trained on is what is tested: nothing is dropped.
    images = colours()["images"].astype("float32")
    images = keras.ops.convert_to_tensor(images[:2])
    model = SegmentationModel(features, keras.layers.Identity(), frozen=True)
    with seeded_weights.no_gradients():
        one = keras.ops.convert_to_numpy(model(images, training=True))
        other = keras.ops.convert_to_numpy(features(images, training=False))
    np.testing.assert_array_equal(one, other)
    assert result.losses.shape == (6,) and np.all(result.losses > 0)
    # Saved, with the layer that concatenates stages.
    model = result.segmenter.model
    model.save(tmp_path / "segmenter.keras")
    reloaded = keras.saving.load_model(tmp_path / "segmenter.keras")
    np.testing.assert_allclose(
        seeded_weights.run(reloaded, images),
        seeded_weights.run(model, images),
        rtol=1e-5,
        atol=1e-6,
    )


def test_fine_tuning_changes_a_copy():
    backbone = resnet()
    before = small.weights(backbone)
    result = train(backbone, frozen=False)
    for one, other in zip(before, small.weights(backbone), strict=True):
        np.testing.assert_array_equal(one, other)
    copy = result.segmenter.model.layers[1]
    for layer in backbone.layers:
        for old, new in zip(
            layer.get_weights(),
            copy.get_layer(layer.name).get_weights(),
            strict=True,
        ):
            assert np.any(old != new), layer.name


@pytest.mark.usefixtures("eager")
def test_the_backbone_learns_at_a_rate_of_its_own():
    """A step of SGD, whose length is the rate times the gradient."""
    start = small.seeded(
        keras.Sequential(
            [keras.Input((None, None, 3)), keras.layers.Conv2D(4, 4, 4)]
        )
    )

    def step(factor):
        result = train(
            start,
            frozen=False,
            iterations=1,
            backbone_factor=factor,
            output_stride="as_is",
            weight_decay=0.0,
        )
        copy, head = result.segmenter.model.layers[1:]
        new = copy.get_weights()[0] - start.get_weights()[0]
        return new, head.get_weights()[-1]

    (slow, slow_head), (fast, fast_head) = step(0.25), step(1.0)
    np.testing.assert_array_equal(slow_head, fast_head)
    # Differences of float32 weights of about 1.
    np.testing.assert_allclose(slow, fast / 4, rtol=1e-4, atol=1e-6)
    assert np.abs(fast).max() > 1e-4


@pytest.mark.usefixtures("eager")
def test_steps_are_those_of_torch():
    """SGD with momentum and weight decay on all weights of the head."""
    torch = pytest.importorskip("torch")
    # Scores at the labels' resolution; no crop is chosen, so that all batches
    # have the same images, in some order.
    data = colours(count=4)
    result = train(
        identity_backbone(3),
        data,
        output_stride="as_is",
        dropout=0.0,
        scales=(1.0, 1.0),
        flip=False,
        weight_decay=0.3,
        iterations=5,
        learning_rate=0.2,
        end_learning_rate=0.2,
    )
    norm, conv = torch.nn.BatchNorm2d(3), torch.nn.Conv2d(3, 3, 1)
    head = keras.initializers.RandomNormal(stddev=0.01, seed=0)((1, 1, 3, 3))
    head = keras.ops.convert_to_numpy(head)
    with torch.no_grad():
        conv.weight.copy_(torch.tensor(head.transpose(3, 2, 0, 1)))
        conv.bias.zero_()
    parameters = [*norm.parameters(), *conv.parameters()]
    optimizer = torch.optim.SGD(parameters, 0.2, momentum=0.9, weight_decay=0.3)
    images = normalize_images(data["images"]).transpose(0, 3, 1, 2)
    images = torch.tensor(np.ascontiguousarray(images))
    masks = torch.tensor(data["segmentation_masks"].astype(np.int64))
    # At a constant rate: where it falls, Keras' velocity has the rates of the
    # past in it and PyTorch's has not. In 40,000 steps that is no difference.
    for _ in range(5):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(conv(norm(images)), masks)
        loss.backward()
        optimizer.step()
    norm_layer, conv_layer = result.segmenter.model.layers[-1].layers
    gamma, beta = norm_layer.get_weights()[:2]
    kernel, bias = conv_layer.get_weights()
    # Float32 through five steps.
    for one, other in (
        (gamma, norm.weight),
        (beta, norm.bias),
        (kernel[0, 0].T, conv.weight[:, :, 0, 0]),
        (bias, conv.bias),
    ):
        np.testing.assert_allclose(
            one, other.detach().numpy(), rtol=1e-4, atol=1e-6
        )


def test_colours_are_learnt_as_by_the_quick_evaluation():
    test = colours(seed=1)
    result = train(
        averaging_backbone(),
        test=test,
        iterations=60,
        learning_rate=0.3,
        output_stride="as_is",
        scales=(1.0, 1.0),
    )
    # Cells of 4 px, blocks of 8 px: only corners may be mistaken.
    assert result.figures["mean_iou"] > 0.95
    assert result.losses[-10:].mean() < result.losses[:10].mean() / 2
    quick = evaluate_segmentation(averaging_backbone(), colours(), test)
    assert quick.keys() == result.figures.keys()
    assert quick["mean_iou"] > 0.95


def test_digit_scenes():
    """Better than the head is untrained, and than the largest class alone."""
    pytest.importorskip("sklearn")
    train_set = digit_scenes("train", 60)
    test_set = digit_scenes("test", 20)
    options = {
        "num_classes": 11,
        "crop_size": 48,
        "batch_size": 8,
        "scales": (0.8, 1.25),
    }
    backbone = resnet(widths=(8, 16))
    figures = [
        train(
            backbone,
            train_set,
            test_set,
            iterations=iterations,
            learning_rate=rate,
            frozen=frozen,
            backbone_factor=1.0,
            end_learning_rate=0.0,
            **options,
        ).figures
        for iterations, rate, frozen in (
            (1, 1e-9, True),
            (40, 0.1, True),
            (40, 0.1, False),
        )
    ]
    untrained, frozen, tuned = (each["mean_iou"] for each in figures)
    assert frozen > untrained + 0.02
    assert tuned > untrained + 0.02
    background = np.mean(test_set["segmentation_masks"] == 0)
    assert figures[1]["pixel_accuracy"] > background - 0.02


@pytest.mark.usefixtures("eager")
def test_seed_decides():
    data = colours(count=12)
    runs = [
        train(averaging_backbone(), data, seed=seed, output_stride="as_is")
        for seed in (0, 0, 1)
    ]
    np.testing.assert_array_equal(runs[0].losses, runs[1].losses)
    assert runs[0].figures == runs[1].figures
    assert np.any(runs[0].losses != runs[2].losses)


@pytest.mark.usefixtures("eager")
def test_pixels_without_a_label_do_not_train():
    data = colours(count=8)
    masks = data["segmentation_masks"]
    shown = np.where(np.arange(16) < 12, masks, 255)
    wrong = np.where(np.arange(16) < 12, masks, 7)
    losses = [
        train(
            averaging_backbone(),
            {**data, "segmentation_masks": each},
            data,
            output_stride="as_is",
            ignore_label=label,
        ).losses
        for each, label in ((shown, 255), (wrong, 7))
    ]
    np.testing.assert_array_equal(*losses)


def without_masks():
    return {"images": colours()["images"]}


def infinite(images):
    return np.full(images.shape, np.inf, np.float32)


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"protocol": "vit"}, "one of 'resnet', 'convnext'.*protocol='vit'"),
        ({"epochs": 3}, "epochs: no such field. .* has stages, output_stride"),
        ({"num_classes": 0}, "num_classes must be at least 1. Received: 0"),
        ({"iterations": 0}, "iterations must be at least 1.*iterations=0"),
        ({"warmup": 6}, "warmup must be .* less than iterations=6.*warmup=6"),
        ({"window": 8}, "both be None, or integers.*window=8, .*stride=None"),
        (
            {"window": 8, "window_stride": 9},
            "1 <= window_stride <= window.*window=8, window_stride=9",
        ),
        ({"scales": (2.0, 0.5)}, r"scales must be two pos.*\(2.0, 0.5\)"),
        ({"crop_size": 0}, r"crop_size must be .* at least 1.*\(0, 0\)"),
        ({"optimizer": "lars"}, "optimizer must be 'sgd' or 'adamw'.*'lars'"),
        ({"dropout": 1.0}, "dropout must be at least 0 and less than 1"),
        ({"learning_rate": 0.0}, "learning_rate must be positive"),
        ({"end_learning_rate": 1.0}, "between 0 and learning_rate"),
        ({"power": 0}, "power must be positive"),
        ({"weight_decay": -1.0}, "weight_decay must be at least 0"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"backbone_factor": 0.0}, "backbone_factor must be positive"),
        ({"shorter_side": 0}, "shorter_side must be None or at least 1"),
        ({"output_stride": 8}, "Only a backbone of this package"),
        ({"stages": True}, "stages=True needs a backbone of this package"),
        ({"num_classes": 2}, r"segmentation_masks of train\[.*from 0 to 2"),
        ({"preprocess": infinite}, "Features must be finite"),
        ({"learning_rate": 1e38}, "diverged.*Lower learning_rate"),
        ({"data": without_masks()}, "train must have 'segmentation_masks'"),
        ({"test": without_masks()}, "test must have 'segmentation_masks'"),
        (
            {
                "data": {
                    **colours(),
                    "segmentation_masks": np.full((8, 16, 16), 255),
                }
            },
            "train have no pixel with a label|No pixel of train had a label",
        ),
    ],
)
def test_bad_arguments(options, message):
    options = {"output_stride": "as_is", **options}
    with pytest.raises(ValueError, match=message):
        train(averaging_backbone(), **options)


def test_a_protocol_of_ones_own():
    protocol = SegmentationProtocol(iterations=3, crop_size=(8, 16))
    changed = segmentation_protocol(protocol, batch_size=2)
    assert changed == protocol._replace(batch_size=2)


def test_backbones_that_give_no_map():
    pooled = keras.Sequential(
        [keras.Input((8, 8, 3)), keras.layers.GlobalAveragePooling2D()]
    )
    with pytest.raises(ValueError, match=r"one feature map.*returns"):
        train(pooled, output_stride="as_is")
