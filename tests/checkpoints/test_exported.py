"""Exported backbones in evaluations give the figures of the Keras model."""

import keras
import numpy as np
import pytest

from keras_vicregl.checkpoints import export, load_backbone
from keras_vicregl.data import digit_scenes
from keras_vicregl.evaluation import (
    evaluate_knn,
    evaluate_linear,
    evaluate_segmentation,
    extract_features,
    normalize_images,
)
from keras_vicregl.models.backbones import SmallResNet

SCENES = {split: digit_scenes(split, 32) for split in ("train", "test")}


@pytest.fixture(scope="module")
def backbone():
    model = SmallResNet(widths=(8, 8, 8, 16), name="exported")
    rng = np.random.default_rng(0)
    # Also of batch norms, whose moving statistics are 0 and 1 at first.
    model.set_weights(
        [
            w + 0.1 * np.abs(rng.normal(size=w.shape))
            for w in model.get_weights()
        ]
    )
    return model


def features_of(model, **kwargs):
    return [
        extract_features(model, SCENES[split], batch_size=16, **kwargs)
        for split in ("train", "test")
    ]


@pytest.mark.parametrize("name", ["backbone.keras", "saved", "backbone.onnx"])
def test_figures_of_an_exported_backbone(backbone, tmp_path, name):
    export(backbone, tmp_path / name)
    loaded = load_backbone(tmp_path / name)
    expected, found = features_of(backbone), features_of(loaded)
    for ours, theirs in zip(expected, found, strict=True):
        largest = np.abs(ours["features"]).max()
        # What export promises.
        np.testing.assert_allclose(
            theirs["features"], ours["features"], atol=1e-5 * largest
        )
    # Of neighbours that are as near to 1e-5 one or the other is taken, which
    # may decide the class of an image.
    theirs, ours = (evaluate_knn(None, *f, k=5) for f in (found, expected))
    assert theirs == pytest.approx(ours, abs=1 / 32)
    for evaluate in (evaluate_linear, evaluate_segmentation):
        theirs = evaluate(None, *found, epochs=3)
        ours = evaluate(None, *expected, epochs=3)
        assert theirs == pytest.approx(ours, abs=1e-3, nan_ok=True)


def test_with_preprocessing_inside(backbone, tmp_path):
    export(backbone, tmp_path / "saved", preprocessing=True)
    loaded = load_backbone(tmp_path / "saved")
    images = SCENES["test"]["images"]
    expected = keras.ops.convert_to_numpy(backbone(normalize_images(images)))
    np.testing.assert_allclose(
        loaded.predict_on_batch(images),
        expected,
        atol=1e-5 * np.abs(expected).max(),
    )


def test_what_is_not_there_or_no_model(tmp_path):
    with pytest.raises(FileNotFoundError, match="no exported backbone"):
        load_backbone(tmp_path / "none.keras")
    with pytest.raises(ValueError, match=r"\.keras or \.onnx file or the"):
        load_backbone(tmp_path)
