"""A small training with one switch, twice; prints digests of its weights.

    python repeated.py SEED

Layers are large enough that threads share sums by default. Each training is a
fork of a process that has imported everything and used nothing, so that it is
as a new process, without the seconds that imports take.
"""

import contextlib
import hashlib
import json
import os
import pathlib
import sys

os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"  # before TensorFlow is imported
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

with contextlib.suppress(ImportError):
    import torch  # before TensorFlow
import keras
import numpy as np

sys.path.append(str(pathlib.Path(__file__).parents[1]))
from forked import code_of, start

import keras_vicregl
from keras_vicregl.distribution import deterministic
from keras_vicregl.views import MultiView


def threads():
    """Within an operation, where the backend tells."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.config.threading.get_intra_op_parallelism_threads()
    if keras.backend.backend() == "torch":
        return torch.get_num_threads()
    return 1 if "multi_thread_eigen=false" in os.environ["XLA_FLAGS"] else 0


def train():
    deterministic(int(sys.argv[1]))
    if keras.backend.backend() == "tensorflow":
        # keras-cv's layers can still be made.
        MultiView.scenes(size=16)
    inputs = keras.Input((24, 24, 3))
    x = keras.layers.Conv2D(64, 5, 2, padding="same")(inputs)
    x = keras.layers.ReLU()(keras.layers.BatchNormalization()(x))
    x = keras.layers.Dropout(0.1)(x)
    model = keras_vicregl.VICRegL(
        keras.Model(inputs, x), alpha=1.0, expander_units=(512,)
    )
    model.compile("adam")
    rng = np.random.default_rng(0)
    views = [rng.normal(size=(64, 24, 24, 3)).astype("f4") for _ in range(2)]
    # In an order that is of the seed as well.
    loss = model.fit(
        {"views": tuple(views)}, batch_size=32, epochs=2, verbose=0
    ).history["loss"]
    # Again, after what it was called for: nothing changes, and it may.
    deterministic(int(sys.argv[1]))
    digest = hashlib.sha256()
    for variable in model.variables:
        digest.update(keras.ops.convert_to_numpy(variable).tobytes())
    found = {"digest": digest.hexdigest(), "loss": loss, "threads": threads()}
    print(json.dumps(found), flush=True)


def main():
    for _ in range(2):
        if code := code_of(start(train)):
            sys.exit(code)


if __name__ == "__main__":
    main()
