"""The scripts about checkpoints, run as a user runs them."""

import pathlib
import re

import forked
import keras
import numpy as np
import pytest
from seeded_weights import GOLDENS, published_shapes, state_dict

from keras_vicregl.checkpoints.torch_files import write_state_dict
from keras_vicregl.evaluation import normalize_images

EXAMPLES = pathlib.Path(__file__).parents[2] / "examples"


def run(script, *arguments):
    return forked.run([EXAMPLES / script, *arguments])


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """The seeded ResNet-50, converted beside figures of the release."""
    pytest.importorskip("torch")
    folder = tmp_path_factory.mktemp("convert")
    weights = state_dict(published_shapes("resnet50_seed1"), seed=1)
    write_state_dict(weights, folder / "seeded.pth")
    rng = np.random.default_rng(1)
    images = [rng.standard_normal((2, s, s, 3)) for s in (224, 96)][1]
    with np.load(GOLDENS / "resnet50_seed1.npz") as file:
        maps = file["maps96"]
    np.savez(folder / "reference.npz", images=images, maps=maps)
    result = run(
        "convert_checkpoint.py",
        folder / "seeded.pth",
        *("--backbone", "resnet50", "--output", folder / "converted"),
        *("--reference", folder / "reference.npz"),
    )
    assert result.returncode == 0, result.stderr
    return folder / "converted", result.stdout


def test_conversion_writes_three_forms_and_the_difference(converted):
    folder, printed = converted
    assert sorted(path.name for path in folder.iterdir()) == [
        "seeded",
        "seeded.keras",
        "seeded.weights.h5",
    ]
    difference = float(re.search(r"largest value: (\S+)", printed)[1])
    # As in tests/models/backbones/test_backbone_figures.py.
    assert difference < 1e-5


def test_the_converted_backbone_exports(converted, tmp_path):
    folder, _ = converted
    path = tmp_path / "backbone.onnx"
    result = run("export_backbone.py", folder / "seeded.keras", path)
    assert result.returncode == 0, result.stderr
    import onnxruntime

    session = onnxruntime.InferenceSession(path)
    images = np.random.default_rng(2).integers(0, 256, (2, 64, 100, 3))
    images = images.astype("uint8")
    (maps,) = session.run(["feature_map"], {"images": images})
    model = keras.saving.load_model(folder / "seeded.keras")
    expected = model.predict(normalize_images(images), verbose=0)
    # As in tests/checkpoints/test_export.py, of the whole ResNet-50.
    assert np.abs(maps - expected).max() <= 1e-5 * np.abs(expected).max()


def test_a_file_needs_its_backbone(tmp_path):
    result = run("convert_checkpoint.py", tmp_path / "some.pth")
    assert result.returncode == 2
    assert "--backbone is needed" in result.stderr
