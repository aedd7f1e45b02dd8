"""What is here: backend, devices, libraries; and whether it computes rightly.

The loss of a small batch is compared with that of its definition in float64,
and a small network is trained for three steps: ten seconds.
"""

from __future__ import annotations

import argparse
import importlib.util
import platform
import time
from typing import Any

from keras_vicregl._installed import version_of
from keras_vicregl._version import __version__
from keras_vicregl.commands.problems import FAILURE
from keras_vicregl.commands.starting import BACKENDS, quiet, start

SUMMARY = "backend, devices, libraries, and a self-test of ten seconds"

# What each library is for, by the name that is installed.
LIBRARIES = {
    "tensorflow": "views on the host, TFDS, SavedModel",
    "keras-cv": "views on the host",
    "tensorflow-datasets": "data sets by name",
    "jax": "the backend jax",
    "torch": "the backend torch, PyTorch checkpoints",
    "pillow": "files of images without TensorFlow",
    "matplotlib": "curves and pictures",
    "scikit-learn": "digit scenes, projections",
    "tensorboard": "logs for TensorBoard",
    "pycocotools": "COCO's figures of detection",
    "tf2onnx": "ONNX files by TensorFlow",
    "onnxruntime": "evaluating ONNX files",
}
# Terms of the objective for the batch of `batch`, by the definition in
# float64 (equations 1 to 5 of the paper). Float32 sums of some thousand terms
# agree to 1e-5.
EXPECTED = {
    "inv": 11.442848830896194,
    "var": 5.389856819340279,
    "cov": 2.555037880343026,
    "local_inv": 40.4264042208509,
    "local_var": 23.94735551676073,
    "local_cov": 0.7671572525559669,
    "loss": 30.82603689547652,
}
# Of `batch`; so chosen that no two matches are nearly as good.
NUM_MATCHES = (4, 2)
_TOLERANCE = 1e-4
_STEPS = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of this command."""
    parser.add_argument("--backend", choices=BACKENDS)


def run(arguments: argparse.Namespace) -> int:
    """Prints all of it."""
    backend = start(arguments.backend)
    print(f"keras_vicregl {__version__}, Python {platform.python_version()}")
    print(f"backend: {backend}, Keras {version_of('keras')}")
    for line in _devices(backend):
        print(line)
    print("libraries:")
    for name, what in LIBRARIES.items():
        print(f"  {name:20} {version_of(name) or '-':12} {what}")
    healthy = True
    for name, test in (("loss", _test_loss), ("step", _test_step)):
        begun = time.monotonic()
        try:
            with quiet():
                found, problem = test(), None
        except Exception as error:
            found, problem = "", f"{type(error).__name__}: {error}"
        seconds = time.monotonic() - begun
        if problem:
            healthy = False
            print(f"{name}: WRONG ({problem})")
        else:
            print(f"{name}: right, {found} ({seconds:.1f} s)")
    return 0 if healthy else FAILURE


def _devices(backend: str) -> list[str]:
    from keras_vicregl.distribution import devices

    lines = [f"devices: {', '.join(devices())}"]
    if importlib.util.find_spec("tensorflow") is None:
        lines.append("TensorFlow is not there.")
    elif backend != "tensorflow":
        from keras_vicregl._tensorflow import tf

        count = len(tf.config.list_physical_devices("GPU"))
        seen = len(tf.config.get_visible_devices("GPU"))
        lines.append(
            f"TensorFlow sees {seen} of {count} GPUs (it only reads images)."
        )
    return lines


def batch() -> tuple[list[Any], list[Any], list[Any]]:
    """Embeddings (8, 16), local ones (8, 9, 6) and positions of two views.

    All are values of a formula, so that any definition can be given them.
    """
    import numpy as np

    def wave(*shape: int, phase: float) -> Any:
        index = np.arange(np.prod(shape), dtype=np.float64)
        values = np.sin(0.7 * index + phase) + 0.3 * np.cos(0.013 * index**2)
        return values.reshape(shape).astype(np.float32)

    views = (0.0, 1.0)
    return (
        [wave(8, 16, phase=phase) for phase in views],
        [wave(8, 9, 6, phase=2 + phase) for phase in views],
        [10 + 5 * wave(8, 9, 2, phase=4 + phase) for phase in views],
    )


def _test_loss() -> str:
    from keras import ops

    from keras_vicregl.losses import vicregl_loss

    terms = vicregl_loss(*batch(), num_matches=NUM_MATCHES)
    for name, expected in EXPECTED.items():
        found = float(ops.convert_to_numpy(terms[name]))
        if not abs(found - expected) <= _TOLERANCE * abs(expected):
            raise ArithmeticError(
                f"{name} is {found:.7g}, by the definition {expected:.7g}"
            )
    return f"loss {float(ops.convert_to_numpy(terms['loss'])):.5f}"


def _test_step() -> str:
    import keras
    import numpy as np

    from keras_vicregl.models import VICRegL
    from keras_vicregl.models.backbones import backbone
    from keras_vicregl.views.geometry import identity_map

    keras.utils.set_random_seed(0)
    model = VICRegL(
        backbone("small_resnet", widths=(8, 8, 16, 16)),
        expander_units=(32, 32),
        local_expander_units=(16, 16),
        num_matches=(4, 4),
    )
    model.compile(keras.optimizers.SGD(1e-3))
    rng = np.random.default_rng(0)
    whole = np.asarray(identity_map([[32.0, 32.0]] * 8), "float32")
    inputs = {
        "views": tuple(
            rng.normal(size=(8, 32, 32, 3)).astype("float32") for _ in range(2)
        ),
        "view_to_source": (whole, whole),
    }
    before = model.backbone.get_weights()
    losses = [
        model.train_on_batch(inputs, return_dict=True)["loss"]
        for _ in range(_STEPS)
    ]
    if not np.isfinite(losses).all():
        raise ArithmeticError(f"losses are {losses}")
    after = model.backbone.get_weights()
    if all((a == b).all() for a, b in zip(before, after, strict=True)):
        raise ArithmeticError("no weight has changed")
    return f"{_STEPS} steps of a small network"
