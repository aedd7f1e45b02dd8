"""Small networks and batches of views for the tests of the model."""

import keras
import numpy as np

SIZES = ((32, 32), (32, 32), (16, 24))


def backbone(normalization="batch", channels=16):
    """Three convolutions, stride 8."""
    inputs = keras.Input((None, None, 3))
    x = inputs
    for width in (8, 8, channels):
        x = keras.layers.Conv2D(width, 3, 2, padding="same")(x)
        if normalization == "batch":
            x = keras.layers.BatchNormalization(momentum=0.9)(x)
        elif normalization == "layer":
            x = keras.layers.LayerNormalization()(x)
        x = keras.layers.ReLU()(x)
    return keras.Model(inputs, x)


class Fingerprint(keras.Model):
    """Its loss is a number of what was drawn for the views."""

    def __init__(self, built=True):
        super().__init__()
        self.dense = keras.layers.Dense(1, kernel_initializer="zeros")
        if built:
            self.dense.build((None, 1))
            self.built = True

    def call(self, inputs):
        drawn = inputs["parameters"][0]["matrix"][:, 0, :1, 0]
        return drawn + self.dense(drawn)

    def compute_loss(self, x, y, y_pred, sample_weight, training=True):
        return keras.ops.mean(keras.ops.square(y_pred))


def batch(count=8, sizes=SIZES, seed=0):
    """Views, their maps from crops of a 64 x 48 image, and labels."""
    rng = np.random.default_rng(seed)
    views, maps = [], []
    for height, width in sizes:
        views.append(rng.normal(size=(count, height, width, 3)))
        matrices = np.zeros((count, 2, 3))
        matrices[:, 0, 0] = rng.uniform(20, 40, count)
        matrices[:, 1, 1] = rng.uniform(16, 32, count)
        matrices[:, :, 2] = rng.uniform(0, 16, (count, 2))
        maps.append(matrices)
    x = {
        "views": tuple(np.float32(view) for view in views),
        "view_to_source": tuple(np.float32(m) for m in maps),
        "source_size": np.tile(np.float32([48, 64]), (count, 1)),
    }
    return x, rng.integers(0, 5, count).astype("int32")


def seeded(model, seed=0):
    """Gives every weight values that no backend's generator decides."""
    rng = np.random.default_rng(seed)
    for variable in model.variables:
        shape = tuple(variable.shape)
        if "seed" in variable.path or not shape:
            continue
        if variable.name in ("gamma", "moving_variance"):
            values = rng.uniform(0.5, 1.5, shape)
        elif len(shape) == 1:
            values = 0.1 * rng.normal(size=shape)
        else:
            fan_in = np.prod(shape[:-1])
            values = rng.normal(size=shape) * np.sqrt(2 / fan_in)
        variable.assign(values.astype("float32"))
    return model


def compiled(model, optimizer="sgd"):
    """Compiled; eager under TensorFlow, where tracing costs most of a test."""
    eager = keras.backend.backend() == "tensorflow"
    model.compile(optimizer, run_eagerly=eager)
    return model


def weights(model):
    return [keras.ops.convert_to_numpy(v) for v in model.variables]
