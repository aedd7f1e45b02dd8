"""Operations on pixels as functions of TensorFlow tensors.

In come images and numbers, out go images: interpolation, resizing, colours.
Layers and renderers stand on it; nothing outside of `views` does.
"""
