"""How the TensorFlow side of the views compiles its functions."""

import functools

from keras_vicregl._tensorflow import tf

# Traced once for all layers and views: tracing costs more than computing here.
traced = functools.partial(tf.function, autograph=False, reduce_retracing=True)
