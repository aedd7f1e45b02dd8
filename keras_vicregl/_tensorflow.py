"""TensorFlow, as all of this package has it.

Under JAX and PyTorch TensorFlow, where it is installed, reads images and makes
views on the host, and
must not touch a GPU: with its first tensor it would take nearly all memory of
each that it sees. So they are hidden from it when it is first asked for.
"""

import logging
from typing import Any

import keras

from keras_vicregl._warnings import warn

try:
    import tensorflow as tf
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "This needs TensorFlow - as views on the host, TFDS, tf.data and "
        "SavedModels do, whatever Keras runs on: `pip install tensorflow`.",
        name=error.name,
    ) from error


def __getattr__(name: str) -> Any:
    # TensorFlow Datasets, after GPUs are hidden.
    if name == "tfds":
        try:
            import tensorflow_datasets
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                "A name of a data set needs TensorFlow Datasets: `pip install "
                "tensorflow-datasets`. Folders, files and arrays do not.",
                name=error.name,
            ) from error
        return tensorflow_datasets
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def hide_gpus(config: Any) -> None:
    """Hides GPUs from TensorFlow, or says that it has them already.

    Args:
        config: `tf.config`.
    """
    gpus = config.list_physical_devices("GPU")
    if not gpus:
        return
    try:
        config.set_visible_devices([], "GPU")
    except RuntimeError:
        if config.list_logical_devices("GPU"):
            warn(
                f"TensorFlow holds {len(gpus)} GPU(s), and with them most of "
                f"their memory, beside {keras.backend.backend()}, which needs "
                "it: it was used before keras_vicregl could hide them from "
                'it. Call tf.config.set_visible_devices([], "GPU") right '
                "after importing tensorflow."
            )
        return
    logging.getLogger("keras_vicregl").info(
        "GPUs are hidden from TensorFlow, for Keras runs on %s.",
        keras.backend.backend(),
    )


if keras.backend.backend() != "tensorflow":
    hide_gpus(tf.config)
