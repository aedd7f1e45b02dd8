"""What a backend computes faster than Keras asks it to."""

import keras


def use_fast_kernels(model: keras.layers.Layer) -> None:
    """Makes Keras' layers in a model call what the backend has for them.

    Same values, same files. Under PyTorch alone, see `torch_kernels`:
    compilers do so by themselves.

    Args:
        model: A model or a layer.
    """
    if keras.backend.backend() == "torch":
        from keras_vicregl.models.backbones.torch_kernels import (
            use_torch_kernels,
        )

        use_torch_kernels(model)
