"""The collectives of the backend that Keras runs on."""

import keras

if keras.backend.backend() == "tensorflow":
    from keras_vicregl.distribution.backends import tensorflow as backend
elif keras.backend.backend() == "torch":
    from keras_vicregl.distribution.backends import torch as backend
else:
    from keras_vicregl.distribution.backends import global_arrays as backend

__all__ = ["backend"]
