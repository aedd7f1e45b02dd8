"""The train and test step of the running backend.

Each backend takes gradients its own way, and nothing else differs: the
objective is `compute_loss`. With one device a step does to weights, optimizer
and metrics exactly what the step of `keras.Model` does.
"""

import keras

_BACKEND = keras.backend.backend()

if _BACKEND == "tensorflow":
    from keras_vicregl.models.train_steps.tensorflow import TrainStep
elif _BACKEND == "jax":
    from keras_vicregl.models.train_steps.jax import TrainStep
elif _BACKEND == "torch":
    from keras_vicregl.models.train_steps.torch import TrainStep
else:
    raise ImportError(
        "keras_vicregl trains on the backends 'tensorflow', 'jax' and 'torch'; "
        f"KERAS_BACKEND is {_BACKEND!r}."
    )

__all__ = ["TrainStep"]
