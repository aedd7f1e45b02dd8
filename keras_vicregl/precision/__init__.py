"""Products of float32 that are as exact as float32, on accelerators too.

Accelerators make products of float32 matrices from rounded factors unless asked
otherwise: NVIDIA's GPUs from 2020 on keep 11 of the 24 bits (TF32), TPUs 8
(bfloat16). That is enough for a network, which adapts to it. But it picks other
matches, and moves covariances in the third digit. So all products of

- the objective (distances of the feature-based criterion, covariances) and its
  gradients,
- the linear heads (the online classifier, linear and fine-tuned classification,
  linear segmentation with the upsampling of its scores) and their gradients,
- the similarities of k nearest neighbours

are made by `matmul` here. Collapse monitors and optimizers make none;
`evaluate_linear` and principal axes are NumPy's. Backbones, the maps of their
stages, expanders and detectors are networks: their products have the backend's
default, and the dtype policy's. Views made on the device split their factors
by themselves.

How it is asked for, and what is left:

- JAX: each product has the highest precision, and its gradients have it too.
  The lowered program says so.
- TensorFlow cannot be asked for one product. Its switch,
  `tf.config.experimental.enable_tensor_float_32_execution`, is the process's,
  and is read when a program runs or is compiled, for the backbone as well.
  While it is on, as by default, and there is a TPU or a GPU with TF32, a
  product is made of six: of three parts of each factor that no device rounds.
  The parts hold all bits of a float32, but for the last ones of numbers under
  1e-30, and what six of nine products leave out is less than float32 rounds. An
  infinite factor makes NaN. By their maker's figures, A100 and H100 make six
  products in TF32 in the time of one in float32; where TF32 is hardly quicker
  than float32, switch it off, and products are single. Do so as well before a
  segmentation model is written as ONNX, which lacks operations on bits.
- PyTorch makes products in float32 by default. Where a user has allowed less
  (`torch.set_float32_matmul_precision("high")`, or a `fp32_precision` of
  `torch.backends`), the switches are the process's as well: they are set for
  the moment in which a product is made, forwards and backwards, and back again.
  What other threads make in this moment is in float32 too.

The 1 x 1 convolution of linear segmentation is made as a product, on all of
them: TensorFlow and PyTorch allow TF32 in convolutions, by switches alone.

On CPUs products are `keras.ops.matmul`, bit for bit, unless less is allowed
there; a convolution has other last bits than its product. None of this has been
measured on an accelerator: tests read the programs of JAX and the graphs of
TensorFlow, and round factors on the CPU as a TPU does.
"""

from keras_vicregl.precision.layers import (
    FullPrecisionDense,
    FullPrecisionPointwise,
)
from keras_vicregl.precision.products import matmul

__all__ = ["FullPrecisionDense", "FullPrecisionPointwise", "matmul"]
