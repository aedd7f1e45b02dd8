"""The package as a whole."""

import os
import subprocess
import sys

import keras
import pytest

WITHOUT_TENSORFLOW = """
import sys

# An import of these now fails.
absent = dict.fromkeys(("tensorflow", "keras_cv", "matplotlib"))
sys.modules.update(absent)

import keras
import numpy as np
import keras_vicregl

rng = np.random.default_rng(0)
inputs = keras.Input((16, 16, 3))
backbone = keras.Model(inputs, keras.layers.Conv2D(8, 4, 4)(inputs))
model = keras_vicregl.VICRegL(
    backbone, expander_units=(8,), local_expander_units=(8,)
)
model.compile(keras.optimizers.AdamW(1e-3))
views = tuple(rng.normal(size=(8, 16, 16, 3)).astype("f4") for _ in range(2))
maps = (np.tile(np.float32([[16, 0, 0], [0, 16, 0]]), (8, 1, 1)),) * 2
model.fit({"views": views, "view_to_source": maps}, verbose=0)
data = {"images": views[0], "labels": np.arange(8) % 2}
keras_vicregl.evaluation.evaluate_knn(
    model.backbone, data, data, k=1, preprocess=None
)
images = rng.integers(0, 256, (8, 16, 16, 3), dtype="uint8")
data = {"images": images, "labels": np.arange(8) % 2}
keras_vicregl.evaluation.evaluate_augmented_linear(
    model.backbone, data, data, epochs=1
)
assert not any(sys.modules[name] for name in absent)
"""


@pytest.mark.skipif(
    keras.backend.backend() == "tensorflow", reason="TensorFlow is needed there"
)
def test_trains_and_evaluates_where_tensorflow_is_not_installed():
    subprocess.run([sys.executable, "-c", WITHOUT_TENSORFLOW], check=True)


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow",
    reason="a process of no backend, the same in each run",
)
def test_an_unknown_backend_is_refused():
    result = subprocess.run(
        [sys.executable, "-c", "import keras_vicregl"],
        env={**os.environ, "KERAS_BACKEND": "numpy"},
        capture_output=True,
        text=True,
    )
    assert result.returncode
    assert "KERAS_BACKEND is 'numpy'" in result.stderr
