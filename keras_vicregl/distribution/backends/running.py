"""The collectives of the backend that Keras runs on."""

import keras

# Of three modules one is imported, and all have the same functions.
if keras.backend.backend() == "tensorflow":
    from keras_vicregl.distribution.backends import tensorflow as backend
elif keras.backend.backend() == "torch":
    from keras_vicregl.distribution.backends import torch as backend  # type: ignore[no-redef]
else:
    from keras_vicregl.distribution.backends import global_arrays as backend  # type: ignore[no-redef]

__all__ = ["backend"]
