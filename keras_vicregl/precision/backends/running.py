"""The products of the backend that Keras runs on."""

import keras

if keras.backend.backend() == "tensorflow":
    from keras_vicregl.precision.backends import tensorflow as backend
elif keras.backend.backend() == "torch":
    from keras_vicregl.precision.backends import torch as backend
else:
    from keras_vicregl.precision.backends import jax as backend

__all__ = ["backend"]
