"""A SavedModel, loaded by someone who has only TensorFlow."""

import subprocess
import sys

import keras
import numpy as np
import pytest

from keras_vicregl.checkpoints import export_saved_model
from keras_vicregl.models.backbones import SmallResNet

STRANGER = """
import sys
import numpy as np
import tensorflow as tf
assert "keras_vicregl" not in sys.modules
reloaded = tf.saved_model.load(sys.argv[1])
images = np.load(sys.argv[2])
results = {name: reloaded.serve(images[name]).numpy() for name in images}
np.savez(sys.argv[3], **results)
"""


def test_it_gives_the_same_features_at_any_batch_and_image_size(tmp_path):
    keras.utils.set_random_seed(0)
    backbone = SmallResNet(widths=(8, 8, 16, 16))
    rng = np.random.default_rng(0)
    images = {
        f"{count}x{height}x{width}": rng.normal(size=(count, height, width, 3))
        for count, height, width in ((2, 64, 64), (3, 48, 80))
    }
    images = {k: v.astype("float32") for k, v in images.items()}
    np.savez(tmp_path / "images.npz", **images)
    export_saved_model(backbone, tmp_path / "model")
    subprocess.run(
        [
            sys.executable,
            "-c",
            STRANGER,
            tmp_path / "model",
            tmp_path / "images.npz",
            tmp_path / "maps.npz",
        ],
        check=True,
    )
    served = np.load(tmp_path / "maps.npz")
    for name, batch in images.items():
        expected = keras.ops.convert_to_numpy(backbone(batch, training=False))
        # The promise of the README; convolutions of two frameworks.
        np.testing.assert_allclose(served[name], expected, atol=1e-5)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "images.npz",
        "maps.npz",
        "model",
    ]


def test_what_is_not_a_saved_model_is_not_replaced(tmp_path):
    (tmp_path / "thesis").mkdir()
    with pytest.raises(FileExistsError, match=r"thesis.*not a SavedModel"):
        export_saved_model(SmallResNet(), tmp_path / "thesis")
