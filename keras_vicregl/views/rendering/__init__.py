"""What makes the views of a `MultiView` from images and drawn parameters.

`host` in tf.data - by `fused` passes, or by the `faithful` chain of layers -
and `device` in `keras.ops`, inside of models. `MultiView`, models and
evaluation use it. Only `device` does without TensorFlow: import it by itself.
"""
