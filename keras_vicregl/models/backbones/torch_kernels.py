"""PyTorch's own kernels for layers of Keras, where PyTorch is the backend.

Keras' batch normalisation is some twenty kernels under PyTorch, there and back,
each of which reads or writes a whole map, and its convolution copies what comes
in from one layout to the other and back. PyTorch has one kernel each way for
the first, and takes a channels-last map as it is. Values are the same up to
float32's rounding; layers, weights and saved files are Keras' own.
"""

from __future__ import annotations

import types
from typing import Any

import keras
import torch
from keras import ops
from torch.nn import functional

from keras_vicregl.distribution.collectives import replica_count

_FLOATS = (torch.float32, torch.bfloat16, torch.float16)


def use_torch_kernels(model: keras.layers.Layer) -> None:
    """Makes the layers of a model call PyTorch's kernels.

    Of `keras.layers.BatchNormalization`, `Conv2D`, `DepthwiseConv2D` and
    `Dense`, and of these layer objects alone. Classes derived from them keep
    their own ways, and so does what the kernels do not offer: masks,
    renormalisation, statistics over several processes, channels first, zeros
    that are not as many on both sides, quantised weights.

    Args:
        model: A model or a layer.
    """
    for layer in model._flatten_layers():
        if call := _CALLS.get(type(layer)):
            # Not an attribute that Keras would look into.
            vars(layer)["call"] = types.MethodType(call, layer)


def _batch_normalization(
    layer: keras.layers.BatchNormalization,
    inputs: Any,
    training: bool | None = None,
    mask: Any = None,
) -> Any:
    of_batch = bool(training and layer.trainable)
    if mask is not None or not _has_kernel(layer, inputs, of_batch):
        return type(layer).call(layer, inputs, training=training, mask=mask)
    if inputs.ndim == 4:
        x = inputs.permute(0, 3, 1, 2)
    else:
        x = inputs.reshape(-1, inputs.shape[-1])
    gamma = layer.gamma.value if layer.scale else None
    beta = layer.beta.value if layer.center else None
    if of_batch:
        on_cpu = x.device.type == "cpu"
        normalized = _ByParts.apply if on_cpu else _at_once
        y, mean, variance = normalized(x, gamma, beta, layer.epsilon)
        _move(layer.moving_mean, mean, layer.momentum)
        _move(layer.moving_variance, variance, layer.momentum)
    else:
        mean, variance = layer.moving_mean.value, layer.moving_variance.value
        y = functional.batch_norm(
            x, mean, variance, gamma, beta, eps=layer.epsilon
        )
    y = y.permute(0, 2, 3, 1) if inputs.ndim == 4 else y.reshape(inputs.shape)
    return ops.cast(y, layer.compute_dtype)


def _at_once(x: Any, gamma: Any, beta: Any, epsilon: float) -> tuple[Any, ...]:
    """What is normalised, and mean and variance, by one kernel."""
    channels = x.shape[1]
    mean, variance = torch.zeros((2, channels), device=x.device).unbind()
    y = functional.batch_norm(
        x,
        mean,
        variance,
        gamma,
        beta,
        training=True,
        # Replaces the zeros by what is of the batch.
        momentum=1.0,
        eps=epsilon,
    )
    count = x.numel() // channels
    # PyTorch's is the unbiased one. It is kept for the gradient as it is.
    return y, mean, variance * ((count - 1) / count)


class _ByParts(torch.autograd.Function):
    """As `_at_once`, for CPUs.

    Their kernel adds up the values of a map one after another: variances are
    off by 3e-5, and gradients, after 50 layers, by 1e-2.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Any, gamma: Any, beta: Any, epsilon: float
    ) -> tuple[Any, ...]:
        axes = [axis for axis in range(x.ndim) if axis != 1]
        wide = x.float()
        mean = wide.mean(axes)
        variance = wide.square().mean(axes) - mean.square()
        y = functional.batch_norm(x, mean, variance, gamma, beta, eps=epsilon)
        ctx.epsilon = epsilon
        ctx.save_for_backward(x, gamma, mean, (variance + epsilon).rsqrt())
        ctx.mark_non_differentiable(mean, variance)
        return y, mean, variance

    @staticmethod
    def backward(ctx: Any, slope: Any, *_: Any) -> tuple[Any, ...]:
        x, gamma, mean, factor = ctx.saved_tensors
        slopes = torch.ops.aten.native_batch_norm_backward(
            slope,
            x,
            gamma,
            None,
            None,
            mean,
            factor,
            True,
            ctx.epsilon,
            list(ctx.needs_input_grad[:3]),
        )
        return *slopes, None


def _has_kernel(
    layer: keras.layers.BatchNormalization, inputs: Any, of_batch: bool
) -> bool:
    if not isinstance(inputs, torch.Tensor) or inputs.dtype not in _FLOATS:
        return False
    if layer.axis not in (-1, inputs.ndim - 1) or layer.renorm:
        return False
    if layer.moving_mean.value.dtype != torch.float32:
        return False
    # CPUs have none of this precision with float32 weights.
    if inputs.dtype == torch.float16 and inputs.device.type == "cpu":
        return False
    if not of_batch:
        return True
    over_all = "_moments" in vars(layer) and replica_count() > 1
    # PyTorch refuses a single value a channel.
    several = inputs.numel() > inputs.shape[-1]
    return several and not over_all and not layer.synchronized


def _move(average: keras.Variable, value: Any, momentum: float) -> None:
    with torch.no_grad():
        average.assign(torch.lerp(value, average.value, momentum))


def _convolution(layer: Any, inputs: Any) -> Any:
    """Of `Conv2D` and `DepthwiseConv2D`."""
    padding = _padding(layer)
    if padding is None or not isinstance(inputs, torch.Tensor):
        return type(layer).call(layer, inputs)
    kernel = ops.convert_to_tensor(layer.kernel)
    bias = ops.convert_to_tensor(layer.bias) if layer.use_bias else None
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        # (height, width, channels in, out of each) to one group a channel.
        kernel = kernel.flatten(2)[:, :, None]
    groups = inputs.shape[-1] // kernel.shape[2]
    if _is_product(layer, inputs, groups):
        y = functional.linear(inputs, kernel.flatten(0, 2).t(), bias)
    else:
        y = functional.conv2d(
            inputs.permute(0, 3, 1, 2),
            kernel.permute(3, 2, 0, 1),
            bias,
            stride=layer.strides,
            padding=padding,
            dilation=layer.dilation_rate,
            groups=groups,
        ).permute(0, 2, 3, 1)
    return y if layer.activation is None else layer.activation(y)


def _padding(layer: Any) -> tuple[int, int] | None:
    """Rows and columns of zeros around, where they are as many on all sides."""
    if layer.data_format != "channels_last":
        return None
    if layer.padding == "valid":
        return 0, 0
    reach = [
        dilation * (size - 1)
        for size, dilation in zip(
            layer.kernel_size, layer.dilation_rate, strict=True
        )
    ]
    # With strides it depends on the size of the image.
    if max(layer.strides) > 1 or any(each % 2 for each in reach):
        return None
    return reach[0] // 2, reach[1] // 2


def _is_product(layer: Any, inputs: Any, groups: int) -> bool:
    """Whether a convolution is a matrix product, and faster as one.

    CPUs alone: GPUs have precisions of their own for each of the two.
    """
    return (
        inputs.device.type == "cpu"
        and groups == 1
        and (*layer.kernel_size, *layer.strides) == (1, 1, 1, 1)
    )


def _dense(layer: Any, inputs: Any, training: bool | None = None) -> Any:
    if layer.quantization_mode or not isinstance(inputs, torch.Tensor):
        return type(layer).call(layer, inputs, training=training)
    y = functional.linear(
        inputs,
        ops.convert_to_tensor(layer.kernel).t(),
        None if layer.bias is None else ops.convert_to_tensor(layer.bias),
    )
    return y if layer.activation is None else layer.activation(y)


_CALLS = {
    keras.layers.BatchNormalization: _batch_normalization,
    keras.layers.Conv2D: _convolution,
    keras.layers.DepthwiseConv2D: _convolution,
    keras.layers.Dense: _dense,
}
