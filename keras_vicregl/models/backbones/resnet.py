"""ResNet, in the layout of torchvision."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import keras

from keras_vicregl.models.backbones.pyramid import (
    PyramidBackbone,
    pyramid_keys,
    replace_strides_with_dilation,
    validate_input_shape,
    validate_positive,
)
from keras_vicregl.models.backbones.residual_blocks import (
    EXPANSION,
    ResidualGraph,
)
from keras_vicregl.models.backbones.state_dict import (
    StateDictEntry,
    entries_of_layers,
    layer_name,
)

_STEMS = ("imagenet", "small")


@keras.saving.register_keras_serializable(package="keras_vicregl")
class ResNet(PyramidBackbone):
    """Residual network of basic or bottleneck blocks.

    He et al., "Deep Residual Learning for Image Recognition", in the variant
    with the stride in the 3x3 convolution. Padding is explicit and symmetric
    as in PyTorch (Keras' `"same"` pads strided convolutions unevenly), and no
    convolution has a bias.

    Args:
        block_counts: Blocks of each stage.
        widths: Channels of the 3x3 convolutions of each stage. A stage puts
            out as many, or four times as many with bottleneck blocks.
        block: `"bottleneck"` (1x1, 3x3, 1x1) or `"basic"` (3x3, 3x3).
        strides: Stride of each stage.
        stem: `"imagenet"`, a 7x7 convolution of stride 2 and a 3x3 max
            pooling of stride 2; or `"small"`, one 3x3 convolution, for
            images of up to about 64 pixels.
        stem_strides: Stride of the `"small"` stem's convolution.
        stem_width: Channels of the stem. Defaults to `widths[0]`.
        output_stride: Input pixels per position of the last feature map.
            Strides beyond it are replaced by dilation, with the same weights.
            `None` replaces nothing.
        zero_init_residual: Whether the last norm of every block starts at
            zero, so that blocks start as identities.
        input_shape: `(height, width, channels)`, height and width `None` for
            any size.
        dtype: Dtype or dtype policy of the layers.
        name: Name of the model.
        **kwargs: `trainable`, as in `keras.Model`.

    Returns:
        A functional model from `(B, H, W, channels)` to `(B, h, w, F)`.

    Raises:
        ValueError: If an argument is none of the above, or if `block_counts`,
            `widths` and `strides` differ in length.

    Example:

    >>> backbone = ResNet((1, 1), widths=(8, 16), strides=(1, 2), block="basic")
    >>> tuple(backbone(keras.ops.zeros((2, 64, 96, 3))).shape)
    (2, 8, 12, 16)
    """

    def __init__(
        self,
        block_counts: Sequence[int],
        widths: Sequence[int] = (64, 128, 256, 512),
        block: str = "bottleneck",
        strides: Sequence[int] = (1, 2, 2, 2),
        stem: str = "imagenet",
        stem_strides: int = 1,
        stem_width: int | None = None,
        output_stride: int | None = None,
        zero_init_residual: bool = True,
        input_shape: Sequence[int | None] = (None, None, 3),
        dtype: Any = None,
        name: str = "resnet",
        **kwargs: Any,
    ) -> None:
        block_counts, widths, strides = map(
            tuple, (block_counts, widths, strides)
        )
        _validate(block_counts, widths, strides, block, stem)
        validate_positive("stem_strides", (stem_strides,))
        validate_input_shape(input_shape)
        stem_stride = 4 if stem == "imagenet" else stem_strides
        plan = replace_strides_with_dilation(
            stem_stride, strides, output_stride
        )

        graph = ResidualGraph(dtype, zero_init_residual)
        inputs = keras.Input(shape=tuple(input_shape), name=f"{name}_images")
        x = graph.stem(inputs, stem, stem_strides, stem_width or widths[0])
        pyramid_outputs, pyramid_strides = {}, {}
        stride_so_far = stem_stride
        for stage, key in enumerate(pyramid_keys(len(plan))):
            x = graph.stage(
                x,
                name=f"layer{stage + 1}",
                block=block,
                blocks=block_counts[stage],
                width=widths[stage],
                natural_stride=strides[stage],
                plan=plan[stage],
            )
            stride_so_far *= plan[stage][0]
            pyramid_outputs[key] = x
            pyramid_strides[key] = stride_so_far

        super().__init__(
            inputs,
            x,
            pyramid_outputs=pyramid_outputs,
            pyramid_strides=pyramid_strides,
            dtype=dtype,
            name=name,
            **kwargs,
        )
        self.block_counts = block_counts
        self.widths = widths
        self.block = block
        self.strides = strides
        self.stem = stem
        self.stem_strides = stem_strides
        self.stem_width = stem_width
        self.output_stride = output_stride
        self.zero_init_residual = zero_init_residual

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {
            "block_counts": tuple(self.block_counts),
            "widths": tuple(self.widths),
            "block": self.block,
            "strides": tuple(self.strides),
            "stem": self.stem,
            "stem_strides": self.stem_strides,
            "stem_width": self.stem_width,
            "output_stride": self.output_stride,
            "zero_init_residual": self.zero_init_residual,
            **super().get_config(),
        }


def _validate(
    block_counts: tuple[int, ...],
    widths: tuple[int, ...],
    strides: tuple[int, ...],
    block: str,
    stem: str,
) -> None:
    for argument, values in (
        ("block_counts", block_counts),
        ("widths", widths),
        ("strides", strides),
    ):
        validate_positive(argument, values)
    if not len(block_counts) == len(widths) == len(strides) > 0:
        raise ValueError(
            "`block_counts`, `widths` and `strides` must have one entry for "
            f"each stage. Received: block_counts={block_counts}, "
            f"widths={widths}, strides={strides}"
        )
    if block not in EXPANSION:
        raise ValueError(
            f"`block` must be one of {tuple(EXPANSION)}. "
            f"Received: block={block!r}"
        )
    if stem not in _STEMS:
        raise ValueError(
            f"`stem` must be one of {_STEMS}. Received: stem={stem!r}"
        )


def state_dict_layout(model: ResNet) -> dict[str, StateDictEntry]:
    """Maps the keys of the PyTorch state dict to the model's variables.

    The keys are torchvision's without the classifier, in its order, as in the
    published ResNet checkpoints.

    Args:
        model: A `ResNet`.

    Returns:
        Ordered dictionary from key to `StateDictEntry`.

    Example:

    >>> layout = state_dict_layout(ResNet((1,), widths=(8,), strides=(1,)))
    >>> next(iter(layout)), layout["conv1.weight"].shape
    ('conv1.weight', (8, 3, 7, 7))
    """
    return entries_of_layers(model, _module_names(model))


def _module_names(model: ResNet) -> Iterator[str]:
    yield from ("conv1", "bn1")
    present = {layer.name for layer in model.layers}
    for stage, blocks in enumerate(model.block_counts, start=1):
        for block in range(blocks):
            for part in (
                *(f"{kind}{i}" for i in (1, 2, 3) for kind in ("conv", "bn")),
                "downsample.0",
                "downsample.1",
            ):
                name = f"layer{stage}.{block}.{part}"
                if layer_name(name) in present:
                    yield name
