"""A batch that fits into memory, by a rule that anybody can check.

Training keeps what the layers of the backbone put out, and makes as much again
as it goes back. Weights are there once themselves, once as gradients, once for
each moment of the optimizer and once while they change.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import keras

# Times the sum of all outputs: on CPUs 1.2 were measured of ResNet-50, and 2.4
# of ConvNeXt-T, without the weights (docs/speed.md, "A whole training step").
_OVER_OUTPUTS = 2.0
# Of the memory that is free.
_SHARE = 0.8
_SMALLEST = 2


class Need(NamedTuple):
    """Bytes that a step takes on a device.

    Attributes:
        fixed: whatever the batch.
        per_image: more for each image of the batch.
    """

    fixed: float
    per_image: float

    def of(self, images: float) -> float:
        """Of a step with so many images."""
        return self.fixed + images * self.per_image


def need_of(model: keras.Model, views: Any, moments: int) -> Need | None:
    """What a model's step takes.

    Args:
        model: a `VICRegL`.
        views: `MultiView`.
        moments: variables of the optimizer for each weight.

    Returns:
        None where the backbone is no graph of layers that can be looked at.
    """
    values = 0
    for group in views.groups:
        outputs = outputs_of(model.backbone, (*group.size, views.channels))
        if outputs is None:
            return None
        values += group.count * outputs
    width = 4 if model.backbone.compute_dtype == "float32" else 2
    remat = 0.35 if model.remat else 1.0  # a pass more, and few outputs kept
    return Need(
        4.0 * model.count_params() * (3 + moments),
        width * values * _OVER_OUTPUTS * remat,
    )


def outputs_of(
    backbone: keras.Model, shape: tuple[int, int, int]
) -> int | None:
    """Numbers that all layers of a backbone put out for an image (H, W, C)."""
    import keras

    try:
        outputs = keras.tree.flatten(
            [
                node.output
                for node in backbone.operations
                if not isinstance(node, keras.layers.InputLayer)
            ]
        )
        whole = keras.Model(backbone.inputs, outputs)
        found = whole.compute_output_spec(keras.KerasTensor((1, *shape)))
    except (AttributeError, TypeError, ValueError):
        return None
    shapes = [each.shape for each in keras.tree.flatten(found)]
    if any(None in each for each in shapes):
        return None
    return sum(math.prod(each) for each in shapes)


def batch_that_fits(
    wanted: int, count: int, replicas: int, need: Need | None, free: int | None
) -> tuple[int, str]:
    """The largest batch that is wanted or less, by halves, and how it is known.

    Args:
        wanted: images, over all devices.
        count: of images that there are.
        replicas: devices.
        need: of a step.
        free: bytes on a device.

    Returns:
        Images, a multiple of the devices; and words.
    """
    smallest = _SMALLEST * replicas
    batch = max(wanted // replicas * replicas, smallest)
    reason = "the recipe's"
    while batch > max(count, smallest):
        batch = max(batch // 2 // replicas * replicas, smallest)
        reason = f"for the recipe's {wanted} are more than the {count} images"
    if need is None or free is None:
        what = "the layers' outputs" if need is None else "free memory"
        return batch, f"{reason}; {what} could not be looked at"
    most = _SHARE * free
    while need.of(batch / replicas) > most and batch > smallest:
        batch = max(batch // 2 // replicas * replicas, smallest)
        reason = f"for the recipe's {wanted} would take more"
    takes = need.of(batch / replicas)
    words = (
        f"{reason}; about {_gigabytes(takes)} of {_gigabytes(free)} that are "
        "free, by the sizes of the layers' outputs"
    )
    return batch, words + ("; it may not fit" if takes > most else "")


def _gigabytes(size: float) -> str:
    return f"{size / 1e9:.2g} GB" if size < 1e10 else f"{size / 1e9:.0f} GB"
