"""The geometry for workers: that of tensors, and no tensors."""

import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import ops

from keras_vicregl.views import geometry, numpy_geometry

RNG = np.random.default_rng(0)
SIZES = RNG.integers(20, 600, (5, 2))
BOXES = np.concatenate([SIZES // 7, SIZES // 2], axis=1)
MAPS = RNG.normal(0.0, 100.0, (5, 2, 3))
CALLS = {
    "positions": [(MAPS, 3, 5), (MAPS[0], 1, 1), (MAPS[:, None], 7, 2)],
    "identity_map": [(SIZES,), ([60, 80],), ((60.5, 80.0),)],
    "crop_map": [(BOXES, SIZES), ((3, 4, 30, 40), (60, 80)), (BOXES, (700, 9))],
    "flip_map": [(SIZES > 300,), (True,), ([0, 1],)],
    "compose": [(MAPS, MAPS[::-1]), (MAPS[:, None], MAPS), (MAPS[0], MAPS)],
}


@pytest.mark.parametrize("name", CALLS)
def test_arrays_have_the_numbers_of_tensors(name):
    for arguments in CALLS[name]:
        found = getattr(numpy_geometry, name)(*arguments)
        expected = getattr(geometry, name)(*arguments)
        assert type(found) is np.ndarray
        assert found.dtype == np.float32
        expected = ops.convert_to_numpy(expected)
        if keras.backend.backend() == "jax":
            # XLA divides by a number as it multiplies by its inverse: the last
            # bit of three roundings.
            np.testing.assert_allclose(found, expected, rtol=4e-7, atol=0)
        else:
            # The same operations of float32 in the same order.
            np.testing.assert_array_equal(found, expected)


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match="view_to_source must hold affine"):
        numpy_geometry.positions(np.eye(3), 7, 7)
    with pytest.raises(ValueError, match=r"box must have shape \(\.\.\., 4\)"):
        numpy_geometry.crop_map(np.zeros(3), np.ones(2))
    with pytest.raises(ValueError, match=r"height must be at least 1\. Got 0"):
        numpy_geometry.positions(MAPS, 0, 7)


NO_TENSORS = """
import multiprocessing
import keras, numpy as np
from keras_vicregl.views import MultiView, numpy_geometry as geometry

views = MultiView.scenes(size=8, on="device")

def refused(*args, **kwargs):
    raise AssertionError("a tensor was made")

def work(seed):
    # Every way of Keras to a tensor, and the devices of the backend itself.
    keras.src.backend.convert_to_tensor = refused
    keras.src.backend.core.convert_to_tensor = refused
    keras.src.ops.convert_to_tensor = keras.ops.convert_to_tensor = refused
    keras.ops.cast = keras.ops.stack = refused
    backend = keras.backend.backend()
    if backend == "jax":
        import jax
        from jax._src import xla_bridge
        xla_bridge.backends = refused
    elif backend == "torch":
        import torch
        torch.as_tensor = torch.tensor = torch.from_numpy = refused
        torch.zeros = torch.empty = refused
        torch.cuda._lazy_init = refused
    else:
        import tensorflow as tf
        from tensorflow.python.eager import context
        context.ensure_initialized = refused
        tf.convert_to_tensor = tf.constant = refused
    size, box = (60, 80), (10, 20, 30, 40)
    inner = geometry.compose(geometry.crop_map(box, size),
                             geometry.flip_map(True))
    map_ = geometry.compose(geometry.identity_map(size), inner)
    (x,) = views.inputs(np.zeros((1, 9, 9, 3), "uint8"), [[0, seed]])
    return geometry.positions(map_, 1, 1), x["parameters"][0]["boxes"]

if __name__ == "__main__":
    with multiprocessing.get_context("fork").Pool(2) as pool:
        found = pool.map(work, range(3))
    for seed, (center, boxes) in enumerate(found):
        assert center.tolist() == [[40.0, 25.0]], center
        drawn = views.parameters([[0, seed]], (9, 9))[0]["boxes"]
        assert np.array_equal(boxes, drawn)
    print("done")
"""


def test_forked_workers_make_no_tensors(tmp_path):
    script = tmp_path / "workers.py"
    script.write_text(NO_TENSORS)
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, timeout=120
    )
    assert done.stdout == "done\n", done.stderr
