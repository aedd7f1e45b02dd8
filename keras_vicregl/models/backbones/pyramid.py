"""The base class of the backbones: one feature map, and a pyramid of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from keras_vicregl.models.backbones.kernels import use_fast_kernels
from keras_vicregl.views.normalization import Normalization


class PyramidBackbone(keras.Model):
    """A functional model from images to a feature map, with its stages.

    The model's output is the last feature map, `(B, h, w, F)`, which is what
    VICRegL trains. The maps of all stages are at hand as symbolic tensors in
    `pyramid_outputs`, so that a dense task builds what it needs:

    ```python
    pyramid = keras.Model(backbone.input, backbone.pyramid_outputs)
    maps = pyramid(images)  # {"P2": ..., "P3": ..., "P4": ..., "P5": ...}
    ```

    Subclasses build their graph in `__init__` from plain arguments and return
    these from `get_config`, so that a reloaded model has its pyramid again.

    Args:
        inputs: Symbolic images, `(B, H, W, C)`.
        outputs: Symbolic feature map, `(B, h, w, F)`.
        pyramid_outputs: Symbolic maps of the stages, from fine to coarse. The
            key `"P{l}"` is that of the stage which has stride `2**l` in the
            layout for ImageNet; `pyramid_strides` gives the real strides,
            which a small stem or dilation makes smaller.
        pyramid_strides: Input pixels per position for each pyramid output.
        dtype: The dtype or policy that the layers were given.
        name: Name of the model.
        **kwargs: `trainable`, as in `keras.Model`.
    """

    def __init__(
        self,
        inputs: keras.KerasTensor,
        outputs: keras.KerasTensor,
        *,
        pyramid_outputs: Mapping[str, keras.KerasTensor],
        pyramid_strides: Mapping[str, int],
        dtype: Any = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(inputs, outputs, name=name, **kwargs)
        self.dtype_policy = keras.dtype_policies.get(dtype)
        self._pyramid_outputs = dict(pyramid_outputs)
        self._pyramid_strides = dict(pyramid_strides)
        # That of the images that it was trained on.
        self._normalization: Normalization | None = None
        use_fast_kernels(self)

    @property
    def pyramid_outputs(self) -> dict[str, keras.KerasTensor]:
        """Symbolic feature maps of the stages, `"P2"` (finest) onwards."""
        return dict(self._pyramid_outputs)

    @property
    def pyramid_strides(self) -> dict[str, int]:
        """Input pixels per position of each of the `pyramid_outputs`."""
        return dict(self._pyramid_strides)

    @property
    def normalization(self) -> Normalization | None:
        """That of the views it was trained on: call it on raw images.

        `normalization(images)` takes (..., C) as they are in files, and gives
        float32 that the backbone takes. It has `mean`, `std` and `value_range`.
        `None` where the backbone was trained on no views with a `MultiView`.
        """
        return self._normalization

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments common to all backbones."""
        config = {
            "input_shape": self.input_shape[1:],
            "name": self.name,
            "trainable": self.trainable,
            "dtype": keras.saving.serialize_keras_object(self.dtype_policy),
        }
        if self._normalization is not None:
            config["normalization"] = self._normalization.as_config()
        return config

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: Any = None
    ) -> PyramidBackbone:
        """Builds the backbone from the arguments in `get_config`."""
        config = dict(config)
        if isinstance(config.get("dtype"), dict):
            config["dtype"] = keras.saving.deserialize_keras_object(
                config["dtype"], custom_objects=custom_objects
            )
        normalization = config.pop("normalization", None)
        backbone = cls(**config)
        if normalization is not None:
            backbone._normalization = Normalization.from_config(normalization)
        return backbone


def pyramid_keys(count: int) -> list[str]:
    """Names of the maps of `count` stages: `"P2"`, `"P3"` and so on."""
    return [f"P{level}" for level in range(2, 2 + count)]


def replace_strides_with_dilation(
    stem_stride: int, strides: Sequence[int], output_stride: int | None
) -> list[tuple[int, int, int]]:
    """Plans the stages of a network whose last strides become dilation.

    Where a stage would shrink the map beyond `output_stride` it keeps its
    size, and all that follows samples it with gaps instead ("a trous"). The
    first convolution of such a stage still sees the spacing before it. Every
    `stride`-th position of the result then equals the strided network's.

    Args:
        stem_stride: Input pixels per position before the first stage.
        strides: The stages' strides without dilation.
        output_stride: Input pixels per position of the last map, one of the
            strides that the stages reach, or `None` for no dilation.

    Returns:
        For each stage `(stride, dilation of its first convolution, dilation
        of the others)`.

    Raises:
        ValueError: If no stage reaches `output_stride`.

    Example:

    >>> replace_strides_with_dilation(4, (1, 2, 2, 2), output_stride=16)
    [(1, 1, 1), (2, 1, 1), (2, 1, 1), (1, 1, 2)]
    """
    reached = [
        stem_stride * math.prod(strides[: i + 1]) for i in range(len(strides))
    ]
    if output_stride is None:
        output_stride = reached[-1]
    if output_stride not in reached:
        raise ValueError(
            "`output_stride` must be None or one of the strides that the "
            f"stages reach, {sorted(set(reached))}. "
            f"Received: output_stride={output_stride!r}"
        )
    plan = []
    dilation = 1
    for stride, total in zip(strides, reached, strict=True):
        first_dilation = dilation
        if total > output_stride:
            dilation *= stride
            stride = 1
        plan.append((stride, first_dilation, dilation))
    return plan


def validate_input_shape(input_shape: Any, min_size: int = 1) -> None:
    """Checks an image shape given to a backbone.

    Args:
        input_shape: `(height, width, channels)`; height and width may be
            `None`.
        min_size: Smallest height and width that give a non-empty map.

    Raises:
        ValueError: If it is not such a shape.
    """
    sizes = tuple(input_shape) if isinstance(input_shape, Sequence) else ()
    valid = len(sizes) == 3 and all(
        (size is None and axis < 2)
        or (isinstance(size, int) and size >= (min_size if axis < 2 else 1))
        for axis, size in enumerate(sizes)
    )
    if not valid:
        raise ValueError(
            "`input_shape` must be (height, width, channels) without the "
            f"batch, height and width at least {min_size} or None for any, "
            "channels last and a positive integer. "
            f"Received: input_shape={input_shape!r}"
        )


def validate_positive(argument: str, values: Sequence[int]) -> None:
    """Checks the sizes given to a backbone.

    Args:
        argument: Name of the argument, for the error.
        values: The sizes.

    Raises:
        ValueError: If one of them is no positive integer.
    """
    if not all(isinstance(value, int) and value > 0 for value in values):
        raise ValueError(
            f"`{argument}` must be of positive integers. "
            f"Received: {argument}={values}"
        )
