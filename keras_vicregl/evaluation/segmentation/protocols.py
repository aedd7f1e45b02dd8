"""How segmentation is trained and tested, as plain data."""

from __future__ import annotations

from typing import Any, NamedTuple, cast


class SegmentationProtocol(NamedTuple):
    """Everything about `train_segmentation` but model and data.

    Attributes:
        stages: Whether the head sees the maps of all stages, resized bilinearly
            to the finest one and concatenated, instead of the last map.
        output_stride: Stride of the last map: strides beyond it are replaced by
            dilation. `"as_is"` leaves the backbone as it is.
        dropout: Probability that the 1 x 1 convolution does not see a channel
            in training.
        optimizer: `"sgd"`, with momentum 0.9 and weight decay that is added to
            the gradients of all weights, or `"adamw"`, with decoupled weight
            decay that biases and norms are spared.
        learning_rate: That of the polynomial at step 0.
        end_learning_rate: That of the polynomial at the end.
        power: Of the polynomial.
        warmup: Iterations over which a factor rises from 0 to 1.
        weight_decay: See `optimizer`.
        backbone_factor: With `frozen=False`, multiple of the learning rate that
            the backbone is trained with.
        iterations: Steps of the optimizer.
        batch_size: Crops in a step, and images or windows in a call in test.
        crop_size: Sides of the crops, height and width or one number for both.
        scales: Smallest and largest factor that images are scaled by before
            they are cropped, uniform.
        flip: Whether half of the crops are mirrored.
        shorter_side: What images are resized to, in training (before `scales`)
            and in test; scores have the size of the labels all the same. None:
            images keep their size.
        window: Side of the windows that a larger image is cut into in test.
            None: images are taken whole.
        window_stride: Pixels from window to window; scores are averaged where
            they overlap.
    """

    stages: bool = False
    output_stride: int | str | None = "as_is"
    dropout: float = 0.0
    optimizer: str = "sgd"
    learning_rate: float = 0.01
    end_learning_rate: float = 0.0
    power: float = 1.0
    warmup: int = 0
    weight_decay: float = 0.0
    backbone_factor: float = 0.1
    iterations: int = 40_000
    batch_size: int = 16
    crop_size: int | tuple[int, int] = 512
    scales: tuple[float, float] = (0.5, 2.0)
    flip: bool = True
    shorter_side: int | None = None
    window: int | None = None
    window_stride: int | None = None


SEGMENTATION_PROTOCOLS = {
    "resnet": SegmentationProtocol(
        output_stride=8,
        dropout=0.1,
        learning_rate=0.01,
        end_learning_rate=1e-4,
        power=0.9,
        weight_decay=5e-4,
    ),
    "convnext": SegmentationProtocol(
        stages=True,
        optimizer="adamw",
        learning_rate=1e-4,  # 8e-5 for ConvNeXt-XL
        warmup=1500,
        weight_decay=0.05,
        window=512,
        window_stride=341,
    ),
}
"""The paper's linear segmentation, with 40,000 iterations on Pascal VOC."""


def segmentation_protocol(
    protocol: str | SegmentationProtocol, **changes: Any
) -> SegmentationProtocol:
    """A protocol, checked.

    Args:
        protocol: A key of `SEGMENTATION_PROTOCOLS` or a protocol.
        **changes: Fields that are to be different.

    Returns:
        The protocol; `crop_size` is a pair.

    Raises:
        ValueError: If there is no such protocol or field, or a value cannot be.

    Example:

    >>> segmentation_protocol("convnext", learning_rate=8e-5).learning_rate
    8e-05
    """
    if not isinstance(protocol, SegmentationProtocol):
        if protocol not in SEGMENTATION_PROTOCOLS:
            raise ValueError(
                "protocol must be a SegmentationProtocol or one of "
                f"{', '.join(map(repr, SEGMENTATION_PROTOCOLS))}. Received: "
                f"protocol={protocol!r}"
            )
        protocol = SEGMENTATION_PROTOCOLS[protocol]
    unknown = sorted(set(changes) - set(protocol._fields))
    if unknown:
        raise ValueError(
            f"{', '.join(unknown)}: no such field. A SegmentationProtocol has "
            f"{', '.join(protocol._fields)}."
        )
    protocol = protocol._replace(**changes)
    if isinstance(protocol.crop_size, int):
        protocol = protocol._replace(crop_size=(protocol.crop_size,) * 2)
    _check(protocol)
    return protocol


def _check(protocol: SegmentationProtocol) -> None:
    p = protocol
    crop_size = cast("tuple[int, int]", p.crop_size)
    _check_windows(p.window, p.window_stride)
    rules = (
        ("optimizer", p.optimizer in ("sgd", "adamw"), "'sgd' or 'adamw'"),
        ("dropout", 0 <= p.dropout < 1, "at least 0 and less than 1"),
        ("learning_rate", p.learning_rate > 0, "positive"),
        (
            "end_learning_rate",
            0 <= p.end_learning_rate <= p.learning_rate,
            "between 0 and learning_rate",
        ),
        ("power", p.power > 0, "positive"),
        ("weight_decay", p.weight_decay >= 0, "at least 0"),
        ("backbone_factor", p.backbone_factor > 0, "positive"),
        ("iterations", p.iterations >= 1, "at least 1"),
        (
            "warmup",
            0 <= p.warmup < p.iterations,
            f"at least 0 and less than iterations={p.iterations}",
        ),
        ("batch_size", p.batch_size >= 1, "at least 1"),
        (
            "crop_size",
            len(crop_size) == 2 and min(crop_size) >= 1,
            "one or two integers of at least 1",
        ),
        (
            "scales",
            len(p.scales) == 2 and 0 < p.scales[0] <= p.scales[1],
            "two positive factors, the smaller one first",
        ),
        (
            "shorter_side",
            p.shorter_side is None or p.shorter_side >= 1,
            "None or at least 1",
        ),
    )
    for name, holds, allowed in rules:
        if not holds:
            raise ValueError(
                f"{name} must be {allowed}. Received: "
                f"{name}={getattr(p, name)!r}"
            )


def _check_windows(window: int | None, stride: int | None) -> None:
    if (window is None) != (stride is None) or (
        window is not None and stride is not None and not 1 <= stride <= window
    ):
        raise ValueError(
            "window and window_stride must both be None, or integers with "
            "1 <= window_stride <= window, lest pixels be left out. Received: "
            f"window={window}, window_stride={stride}"
        )
