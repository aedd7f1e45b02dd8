"""Exported backbones, used by someone who does not know this package."""

import contextlib
import functools
import importlib.util
import json
import os
import pathlib
import subprocess
import sys

import forked
import keras
import numpy as np
import pytest
import seeded_weights
from seeded_weights import GOLDENS, run

from keras_vicregl import VICRegL, backbone
from keras_vicregl.checkpoints import (
    check_export,
    export,
    load_backbone,
    to_state_dict,
)
from keras_vicregl.models.backbones import (
    ConvNeXt,
    ConvNeXtTiny,
    ResNet,
    ResNet50,
    SmallResNet,
    state_dict_layout,
)
from keras_vicregl.views.normalization import IMAGENET_MEAN, IMAGENET_STD

BACKEND = keras.backend.backend()
# Two image sizes, two batch sizes.
SHAPES = ((2, 64, 64, 3), (3, 40, 100, 3))
# Convolutions of two libraries; the project's promise.
TOLERANCE = 1e-5

# A process that serves what it is told of, line by line.
STRANGER = """
import sys
import numpy as np
import onnxruntime
import tensorflow as tf

def outputs_of(path, images):
    if path.endswith(".onnx"):
        session = onnxruntime.InferenceSession(path)
        names = [output.name for output in session.get_outputs()]
        for key in images:
            outputs = session.run(names, {"images": images[key]})
            for name, value in zip(names, outputs):
                yield f"{key}/{name}", value
        return
    model = tf.saved_model.load(path)
    assert sorted(model.signatures) == [
        "pooled", "pyramid", "serve", "serving_default"
    ], sorted(model.signatures)
    for key in images:
        batch = tf.constant(images[key])
        yield f"{key}/feature_map", model.serve(batch)
        yield f"{key}/pooled", model.pooled(batch)
        for name, value in model.pyramid(batch).items():
            yield f"{key}/{name}", value

for line in sys.stdin:
    path, images, results = line.rstrip().split("|")
    np.savez(results, **dict(outputs_of(path, np.load(images))))
    assert "keras_vicregl" not in sys.modules
    print("served", flush=True)
"""

HOMEMADE = """
import keras

@keras.saving.register_keras_serializable("homemade")
class Double(keras.layers.Layer):
    def call(self, x):
        return 2 * x

    def compute_output_shape(self, shape):
        return shape
"""

UNFOLLOWED = """
import keras

@keras.saving.register_keras_serializable("unfollowed")
class Negative(keras.layers.Layer):
    def call(self, x):
        if keras.backend.backend() == "torch" and float(x.sum()) > 1e9:
            return x
        return -x

    def compute_output_shape(self, shape):
        return shape
"""


@pytest.fixture(scope="module")
def small():
    keras.utils.set_random_seed(0)
    return SmallResNet(widths=(8, 8, 16, 16))


# Smaller networks of the same layers, for time's sake; those of the paper with
# ALL_TESTS.
PUBLISHED = {"resnet50": ResNet50, "convnext_tiny": ConvNeXtTiny}
if "ALL_TESTS" not in os.environ:
    PUBLISHED = {
        "resnet50": functools.partial(
            ResNet, (1, 1, 1, 1), widths=(8, 8, 8, 16)
        ),
        "convnext_tiny": functools.partial(
            ConvNeXt, depths=(1, 1, 1, 1), widths=(8, 8, 8, 16)
        ),
    }


@pytest.fixture(scope="module", params=PUBLISHED)
def published(request):
    with seeded_weights.no_random_weights():
        model = PUBLISHED[request.param]()
    seeded_weights.assign(state_dict_layout(model), seed=1)
    return model


def expected_outputs(backbone, images):
    pyramid = keras.Model(backbone.input, backbone.pyramid_outputs)
    found = {}
    for key, batch in images.items():
        feature_map = run(backbone, batch)
        found[f"{key}/feature_map"] = feature_map
        found[f"{key}/pooled"] = feature_map.mean(axis=(1, 2))
        for name, value in run(pyramid, batch).items():
            found[f"{key}/{name}"] = value
    return found


@pytest.fixture(scope="module")
def stranger():
    with subprocess.Popen(
        [sys.executable, "-c", STRANGER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield process
        process.stdin.close()


@pytest.fixture
def served(stranger, tmp_path):
    """What a stranger gets from an export for some images."""

    def get(path, images):
        np.savez(tmp_path / "images.npz", **images)
        paths = (path, tmp_path / "images.npz", tmp_path / "results.npz")
        print(*paths, sep="|", file=stranger.stdin, flush=True)
        assert stranger.stdout.readline() == "served\n"
        return dict(np.load(tmp_path / "results.npz"))

    return get


def leave_to_tensorflow(*backends):
    """Skips an export that a process of TensorFlow makes.

    It makes them from a .keras file, whatever backend that comes from. With its
    own networks TensorFlow tests all of them, other backends some.
    """
    if BACKEND in backends and "ALL_TESTS" not in os.environ:
        pytest.skip("as under TensorFlow")


def assert_close(found, expected):
    assert sorted(found) == sorted(expected)
    for name, value in expected.items():
        assert found[name].shape == value.shape, name
        scale = np.abs(value).max()
        assert np.abs(found[name] - value).max() <= TOLERANCE * scale, name


@pytest.mark.parametrize("name", ["backbone", "backbone.onnx"])
def test_a_stranger_gets_all_outputs_at_any_size(
    published, name, served, tmp_path
):
    is_onnx, is_resnet = name.endswith(".onnx"), isinstance(published, ResNet)
    if is_resnet:
        leave_to_tensorflow("jax" if is_onnx else "torch")
    rng = np.random.default_rng(0)
    images = {
        "x".join(map(str, shape)): rng.normal(size=shape).astype("float32")
        for shape in SHAPES
    }
    folder = tmp_path / "exported"
    export(published, folder / name)
    assert [path.name for path in folder.iterdir()] == [name]
    found = served(folder / name, images)
    assert_close(found, expected_outputs(published, images))


@pytest.mark.parametrize("name", ["backbone", "backbone.onnx"])
def test_preprocessing_takes_bytes(small, name, served, tmp_path):
    leave_to_tensorflow("jax" if name.endswith(".onnx") else "torch")
    rng = np.random.default_rng(0)
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
    pixels = rng.integers(0, 256, (2, 32, 32, 3)).astype("uint8")
    export(
        small,
        tmp_path / name,
        preprocessing=True,
        mean=mean,
        std=std,
    )
    found = served(tmp_path / name, {"bytes": pixels})
    normalized = ((pixels / 255 - mean) / std).astype("float32")
    assert_close(found, expected_outputs(small, {"bytes": normalized}))


@contextlib.contextmanager
def global_policy(name):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("name", ["served", "served.onnx", "served.keras"])
def test_exports_are_in_float32_whatever_the_policy(
    name, policy, served, tmp_path
):
    if name.endswith(".onnx"):
        leave_to_tensorflow("jax", "torch")
    if policy == "mixed_bfloat16":
        leave_to_tensorflow("torch")
    backbone = SmallResNet(widths=(4, 4, 8, 8), dtype=policy)
    copy = SmallResNet(widths=(4, 4, 8, 8), dtype="float32")
    seeded_weights.assign(state_dict_layout(backbone), seed=1)
    copy.set_weights(backbone.get_weights())
    rng = np.random.default_rng(0)
    pixels = {"bytes": rng.integers(0, 256, (2, 32, 32, 3)).astype("uint8")}
    mean, std = np.array(IMAGENET_MEAN), np.array(IMAGENET_STD)
    normalized = ((pixels["bytes"] / 255 - mean) / std).astype("float32")
    # Whatever the layers that the export adds would take.
    with global_policy(policy):
        export(backbone, tmp_path / name, preprocessing=True)
        assert keras.config.dtype_policy().name == policy
    expected = expected_outputs(copy, {"bytes": normalized})
    if name.endswith(".keras"):
        model = keras.saving.load_model(tmp_path / name)
        found = {"bytes/feature_map": run(model, pixels["bytes"])}
        expected = {key: expected[key] for key in found}
    else:
        found = served(tmp_path / name, pixels)
    assert {value.dtype for value in found.values()} == {np.dtype("float32")}
    assert_close(found, expected)
    assert backbone.dtype_policy.name == policy


def test_weights_that_are_not_finite_are_not_exported(tmp_path):
    backbone = SmallResNet(widths=(4, 4, 4, 4), dtype="float16")
    norm = backbone.get_layer("bn1")
    norm.moving_variance.assign(np.full(4, 1e6, "float32"))
    with pytest.raises(
        ValueError, match=r"1 weights.*bn1/moving_variance.*655"
    ):
        export(backbone, tmp_path / "backbone.keras")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("preprocessing", [False, True])
def test_a_keras_file_loads(small, preprocessing, tmp_path):
    model = ConvNeXt(depths=(1, 1, 1, 1), widths=(8, 8, 16, 16))
    path = tmp_path / "backbone.keras"
    export(model, path, preprocessing=preprocessing)
    reloaded = keras.saving.load_model(path)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 32, 64, 3))
    normalized = (pixels / 255 - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
    images = pixels.astype("uint8") if preprocessing else normalized
    expected = run(model, normalized.astype("float32"))
    found = run(reloaded, images if preprocessing else images.astype("float32"))
    scale = np.abs(expected).max()
    assert np.abs(found - expected).max() <= TOLERANCE * scale
    if not preprocessing:
        assert list(reloaded.pyramid_outputs) == ["P2", "P3", "P4", "P5"]


def test_an_older_export_is_replaced(small, tmp_path):
    path = tmp_path / "backbone.keras"
    export(SmallResNet(widths=(4, 4, 4, 4)), path)
    export(small, path)
    assert keras.saving.load_model(path).widths == (8, 8, 16, 16)


@pytest.mark.parametrize(
    "name, create",
    [("thesis", pathlib.Path.mkdir), ("backbone.onnx", pathlib.Path.mkdir)],
)
def test_what_is_something_else_is_not_replaced(small, name, create, tmp_path):
    create(tmp_path / name)
    with pytest.raises(FileExistsError, match=f"{name}.*exists and is not"):
        export(small, tmp_path / name)


def test_unknown_formats_are_refused(small, tmp_path):
    with pytest.raises(ValueError, match=r"`format` must be one of.*'\.h5'"):
        export(small, tmp_path / "backbone.h5")
    for format in ("keras", "onnx"):
        with pytest.raises(ValueError, match=rf"must end in \.{format}"):
            export(small, tmp_path / "backbone.pdf", format)


def test_numbers_are_no_suffix(small, tmp_path):
    leave_to_tensorflow("torch")
    export(small, tmp_path / "resnet50_alpha0.9")
    assert (tmp_path / "resnet50_alpha0.9" / "saved_model.pb").exists()


def test_nothing_is_normalised_twice(small, tmp_path):
    export(small, tmp_path / "bytes.keras", preprocessing=True)
    model = keras.saving.load_model(tmp_path / "bytes.keras")
    with pytest.warns(UserWarning, match="no part in it without"):
        export(small, tmp_path / "floats.keras", mean=(0.5, 0.5, 0.5))
    with pytest.raises(ValueError, match="takes uint8 images"):
        export(model, tmp_path / "again.keras", preprocessing=True)


def test_channels_first_are_refused(tmp_path):
    images = keras.Input((3, 16, 16))
    x = keras.layers.Conv2D(4, 3, data_format="channels_first")(images)
    model = keras.Model(images, x, name="first")
    with pytest.raises(ValueError, match=r"'first' has its channels first"):
        export(model, tmp_path / "first.keras")


def test_layers_of_ones_own_reach_the_second_process(tmp_path, monkeypatch):
    (tmp_path / "homemade_layers.py").write_text(HOMEMADE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    layers = importlib.import_module("homemade_layers")
    images = keras.Input((None, None, 3))
    model = keras.Model(images, layers.Double()(images))
    # Of the two formats the one that is made there.
    path = tmp_path / ("double" if BACKEND == "torch" else "double.onnx")
    export(model, path)
    ones = np.ones((1, 2, 2, 3), "float32")
    found = load_backbone(path).predict_on_batch(ones)
    np.testing.assert_array_equal(found, 2 * ones)


def test_a_model_without_feature_map_is_refused(small, tmp_path):
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Dense(2)(inputs), name="flat")
    with pytest.raises(ValueError, match=r"feature map.*'flat'.*\(None, 2\)"):
        export(model, tmp_path / "flat")


WITHOUT = """
import sys
import keras
import numpy as np
from keras_vicregl.checkpoints import export
from keras_vicregl.models.backbones import SmallResNet

model = SmallResNet(widths=(4, 4, 8, 8))
rng = np.random.default_rng(0)
weights = model.get_weights()
model.set_weights([w + 0.1 * rng.random(w.shape) for w in weights])
pixels = rng.integers(0, 256, (3, 40, 100, 3)).astype("uint8")
scale, offset = 255 * np.array([0.2, 0.3, 0.4]), np.array([0.5, 0.4, 0.3])
normalized = (pixels - 255 * offset) / scale
export(
    model, "backbone.onnx", preprocessing=True, mean=offset, std=scale / 255
)
feature_map = model(normalized.astype("float32"), training=False)
expected = keras.ops.convert_to_numpy(feature_map)
np.savez("expected.npz", pixels=pixels, feature_map=expected)
assert not sys.modules.get("tf2onnx")
"""


def test_onnx_is_written_without_tensorflow(tmp_path):
    """By PyTorch, in this process or, under another backend, in a second."""
    absent = ["tf2onnx"]
    if BACKEND != "tensorflow":
        absent += ["tensorflow", "keras_cv"]
    # PyTorch writes it, as it does for a process of another backend.
    result = forked.run(
        ["-c", WITHOUT],
        env={**os.environ, "KERAS_BACKEND": BACKEND},
        cwd=tmp_path,
        absent=absent,
    )
    assert result.returncode == 0, result.stderr
    with np.load(tmp_path / "expected.npz") as file:
        pixels, expected = file["pixels"], file["feature_map"]
    found = load_backbone(tmp_path / "backbone.onnx").predict_on_batch(pixels)
    scale = np.abs(expected).max()
    assert np.abs(found - expected).max() <= TOLERANCE * scale


@pytest.mark.parametrize(
    "name, absent, message",
    [
        ("model", ["tensorflow"], "needs tensorflow, not.*pip install tens"),
        (
            "model.onnx",
            ["tf2onnx", "onnxscript"],
            "needs (tf2onnx|onnxscript), or else .*pip install",
        ),
        ("model.pth", ["torch"], "needs torch, not.*pip install torch"),
    ],
)
def test_what_is_missing_is_named_before_anything_is_written(
    small, name, absent, message, tmp_path, monkeypatch
):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec",
        lambda wanted: None if wanted in absent else find(wanted),
    )
    path = tmp_path / "new" / name
    with pytest.raises(ImportError, match=message):
        export(small, path)
    with pytest.raises(ImportError, match=message):
        check_export(path)
    assert not list(tmp_path.iterdir())
    assert check_export(tmp_path / "model.keras") is None


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_torchvision_finds_all_but_its_classifier(name, tmp_path):
    torch = pytest.importorskip("torch")
    path = GOLDENS / "torchvision_resnets.json"
    theirs = json.loads(path.read_text())[name]
    with seeded_weights.no_random_weights():
        model = backbone(name)
    seeded_weights.assign(state_dict_layout(model), seed=1)
    export(model, tmp_path / "backbone.pth")
    found = torch.load(tmp_path / "backbone.pth", weights_only=True)
    shapes = {key: list(value.shape) for key, value in found.items()}
    classifier = {key: theirs.pop(key) for key in ("fc.weight", "fc.bias")}
    assert classifier["fc.weight"] == [1000, model.output_shape[-1]]
    assert shapes == theirs
    for key, value in seeded_weights.state_dict(shapes, seed=1).items():
        np.testing.assert_array_equal(found[key].numpy(), value)


def test_a_state_dict_is_of_our_backbones_and_weights_alone(small, tmp_path):
    pytest.importorskip("torch")
    images = keras.Input((None, None, 3))
    other = keras.Model(images, keras.layers.Conv2D(4, 3)(images))
    with pytest.raises(TypeError, match="ResNet or ConvNeXt"):
        export(other, tmp_path / "other.pth")
    with pytest.raises(ValueError, match="weights alone"):
        export(small, tmp_path / "small.pth", preprocessing=True)
    assert not list(tmp_path.iterdir())


def test_a_state_dict_with_the_names_of_timm(tmp_path):
    torch = pytest.importorskip("torch")
    model = ConvNeXt(depths=(1,), widths=(8,))
    export(model, tmp_path / "backbone.pth", layout="timm")
    found = torch.load(tmp_path / "backbone.pth", weights_only=True)
    expected = to_state_dict(model, layout="timm")
    assert list(found) == list(expected)
    for key, value in expected.items():
        np.testing.assert_array_equal(found[key].numpy(), value)


def test_a_layout_is_of_state_dicts(small, tmp_path):
    with pytest.raises(ValueError, match=r"`layout='timm'` is of \.pth"):
        export(small, tmp_path / "backbone.keras", layout="timm")
    with pytest.raises(ValueError, match="`layout` must be one of"):
        export(small, tmp_path / "backbone.keras", layout="torch")
    assert not list(tmp_path.iterdir())


def test_a_whole_model_is_no_backbone(small, tmp_path):
    model = VICRegL(small, expander_units=(8,), local_expander_units=(8,))
    with pytest.raises(ValueError, match="Pass its `backbone`"):
        export(model, tmp_path / "model.keras")


@pytest.mark.skipif(BACKEND != "torch", reason="PyTorch's own exporter")
def test_what_torch_cannot_export_tensorflow_does(tmp_path, monkeypatch):
    """A layer of one's own, of code that PyTorch cannot follow."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "unfollowed.py").write_text(UNFOLLOWED)
    layers = importlib.import_module("unfollowed")
    images = keras.Input((None, None, 3))
    model = keras.Model(images, layers.Negative()(images), name="negative")
    path = tmp_path / "negative.onnx"
    with pytest.warns(UserWarning, match=r"cannot write.*batch, height"):
        export(model, path)
    x = np.random.default_rng(0).normal(size=(2, 5, 6, 3)).astype("float32")
    np.testing.assert_array_equal(load_backbone(path).predict_on_batch(x), -x)
    # The function has the name of its module.
    module = sys.modules["keras_vicregl.checkpoints.export"]
    monkeypatch.setattr(module, "writers_of", lambda _: ["torch"])
    with pytest.raises(ValueError, match=r"PyTorch's exporter.*'negative'"):
        export(model, path)
