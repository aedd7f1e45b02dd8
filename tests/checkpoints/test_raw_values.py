"""From files of any channels and depth to a backbone that takes their values.

On each backend, with views made on the host and on the device.
"""

import warnings

import keras
import numpy as np
import pytest
import small
from backend_tools import eager_steps

from keras_vicregl import backbone
from keras_vicregl.checkpoints import export, load_backbone
from keras_vicregl.data import (
    ArrayBatches,
    channel_statistics,
    load,
    view_batches,
)
from keras_vicregl.evaluation import evaluate_knn, extract_features
from keras_vicregl.models import VICRegL
from keras_vicregl.models.backbones.normalization import remember
from keras_vicregl.views import MultiView


def thirteen_bands(folder):
    """Reflectances, each band of its own level, a few pixels far off."""
    rng = np.random.default_rng(0)
    levels = np.linspace(-0.1, 3.0, 13)
    images = rng.normal(levels, 0.1 + 0.1 * levels**2, (12, 24, 24, 13))
    images[rng.random(images.shape) < 1e-3] = 90.0
    images = images.astype("float32")
    for number, image in enumerate(images):
        np.save(folder / f"{number:02}.npy", image)
    return images, {}


def twelve_bits():
    rng = np.random.default_rng(1)
    return rng.integers(90, 4096, (12, 24, 24, 1), dtype="uint16")


def mapped_file(folder):
    """One file, which is not read as a whole."""
    images = twelve_bits()
    np.save(folder / "images.npy", images)
    return images, {"source": folder / "images.npy"}


def tiff_files(folder):
    """One channel each, without an axis of it."""
    tifffile = pytest.importorskip("tifffile")
    images = twelve_bits()
    for number, image in enumerate(images):
        tifffile.imwrite(folder / f"{number:02}.tif", image[..., 0])
    return images, {}


def own_format(folder):
    """Numbers of big-endian bytes, which a function reads."""
    images = twelve_bits()
    for number, image in enumerate(images):
        image.astype(">u2").tofile(folder / f"{number:02}.raw")
    return images, {
        "read": lambda path: np.fromfile(path, ">u2").reshape(24, 24)
    }


@pytest.mark.parametrize(
    ("make", "on", "engine"),
    [
        (thirteen_bands, "host", "tensorflow"),
        (mapped_file, "device", "python"),
        (tiff_files, "device", "python"),
        (own_format, "device", "tensorflow"),
    ],
)
def test_from_files_to_an_export_that_takes_their_values(
    tmp_path, make, on, engine
):
    files = tmp_path / "files"
    files.mkdir()
    images, options = make(files)
    source = load(**{"source": files, **options})
    labels = np.arange(len(images)) % 3 - 1  # -1: none
    labelled = load({"images": images, "labels": labels})
    statistics = channel_statistics(source)
    # Sums of floating-point numbers are in another order.
    np.testing.assert_allclose(
        statistics.mean, channel_statistics(images).mean, rtol=1e-12
    )
    channels = images.shape[-1]
    assert (source.channels, source.dtype) == (channels, images.dtype)
    views = MultiView.for_channels(
        statistics, size=16, on=on, jit_compile=False
    )
    batches = view_batches(source, views, batch_size=4, seed=0, engine=engine)
    keras.utils.set_random_seed(0)
    model = VICRegL(
        backbone("small_resnet", input_shape=(None, None, channels)),
        expander_units=(8,),
        local_expander_units=(8,),
        num_matches=(2, 2),
        views=views if on == "device" else None,
    )
    small.compiled(model, keras.optimizers.SGD(1e-2))
    with eager_steps():
        logs = model.fit(batches, verbose=0).history
    assert np.isfinite(logs["loss"]).all()

    model.backbone.save(tmp_path / "trained.keras")
    again = keras.saving.load_model(tmp_path / "trained.keras")
    path = tmp_path / "raw.keras"
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        export(again, path, preprocessing=True)
        expected = extract_features(model.backbone, source)["features"]
    raw = np.asarray(images, "float32")
    exported = load_backbone(path)
    assert exported.inputs[0].dtype == "float32"
    found = exported.predict_on_batch(raw)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * scale)
    # What was seen in training, by the definition in float64.
    low, high = np.transpose(statistics.value_range)
    unit = np.clip((np.float64(images) - low) / (high - low), 0, 1)
    normalized = (unit - statistics.pixel_mean) / statistics.pixel_std
    direct = model.backbone.predict_on_batch(normalized.astype("float32"))
    np.testing.assert_allclose(direct, expected, rtol=0, atol=1e-5 * scale)
    figures = evaluate_knn(model.backbone, labelled, labelled, k=1)
    assert figures["top1"] == 1.0


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow",
    reason="the second process of other backends writes them as TensorFlow's",
)
@pytest.mark.parametrize("name", ["served", "backbone.onnx"])
def test_any_runtime_takes_raw_values(tmp_path, name):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 5000, (3, 32, 32, 2), dtype="uint16")
    network = backbone("small_resnet", input_shape=(None, None, 2))
    views = MultiView.for_channels(2, value_range=[(0, 4095), (500, 4500)])
    remember(network, views.normalization)
    export(network, tmp_path / name, preprocessing=True)
    found = load_backbone(tmp_path / name).predict_on_batch(images)
    expected = extract_features(network, {"images": images})["features"]
    scale = np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * scale)


def test_a_backbone_of_other_channels_than_the_data_is_told_before_training():
    images = np.zeros((4, 24, 24, 4), "uint8")
    views = MultiView.for_channels(4, size=16, on="device")
    network = backbone("small_resnet")
    with pytest.raises(ValueError, match=r"x 3 alone.*16 x 16 x 4.*Build it"):
        VICRegL(network, views=views, expander_units=(8,))
    model = small.compiled(VICRegL(network, expander_units=(8,), alpha=1.0))
    batches = ArrayBatches(images, views, batch_size=2, seed=0)
    with pytest.raises(ValueError, match=r"x 3 alone.*16 x 16 x 4.*None, 4"):
        model.fit(batches, verbose=0)
    four = backbone("small_resnet", input_shape=(None, None, 4))
    with pytest.raises(
        ValueError, match=r"4 channels, and mean=.*not been told"
    ):
        extract_features(four, {"images": images})
    with pytest.raises(ValueError, match=r"3 channels, last. Received.* 4\)"):
        extract_features(network, {"images": images})
