"""Features for segmentation, and the model that is trained on them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import keras
from keras import ops

from keras_vicregl.evaluation.segmentation.resizing import resize_maps
from keras_vicregl.models.backbones.copies import copy_of, with_output_stride

if TYPE_CHECKING:
    from keras_vicregl.evaluation.segmentation.protocols import (
        SegmentationProtocol,
    )


@keras.saving.register_keras_serializable(package="keras_vicregl")
class ConcatenateStages(keras.layers.Layer):
    """Maps of several resolutions, at the finest one and in float32.

    Call arguments:
        inputs: A list of maps (B, h, w, F), the finest one first.

    Returns:
        (B, h, w, sum of F) of the finest map's size. Coarser ones are resized
        bilinearly, without aligned corners.
    """

    def call(self, inputs: list[Any]) -> Any:
        """Resizes and concatenates."""
        maps = [ops.cast(each, "float32") for each in inputs]
        size = ops.shape(maps[0])[1:3]
        resized = [resize_maps(each, size) for each in maps[1:]]
        return ops.concatenate([maps[0], *resized], axis=-1)

    def compute_output_spec(self, inputs: list[Any]) -> Any:
        """Shape and dtype of the result."""
        channels = sum(each.shape[-1] for each in inputs)
        return keras.KerasTensor(
            (*inputs[0].shape[:3], channels), dtype="float32"
        )


class SegmentationModel(keras.Model):
    """A head on features, which are in inference mode if they are frozen.

    Args:
        features: From images to maps (B, h, w, F).
        head: From maps to scores.
        frozen: Whether `features` stay as they are. (Their weights must not be
            trainable then.)
    """

    def __init__(
        self, features: keras.Model, head: keras.Model, frozen: bool
    ) -> None:
        super().__init__(name="segmentation")
        self.features = features
        self.head = head
        self.frozen = frozen

    def call(self, images: Any, training: bool = False) -> Any:
        """Scores (B, h, w, classes) of images."""
        maps = self.features(images, training=training and not self.frozen)
        return self.head(maps, training=training)


def dense_features(
    backbone: keras.Model, protocol: SegmentationProtocol
) -> keras.Model:
    """A copy of the backbone that gives what the head is to see.

    Args:
        backbone: Any backbone; it is not changed.
        protocol: Its `output_stride` and `stages` matter here.

    Returns:
        A model from images to maps (B, h, w, F).

    Raises:
        ValueError: If the backbone does not have what the protocol asks for.
    """
    if protocol.output_stride == "as_is":
        backbone = copy_of(backbone)
    else:
        stride = cast("int | None", protocol.output_stride)
        backbone = with_output_stride(backbone, stride)
    if not protocol.stages:
        shape = backbone.output_shape
        if not isinstance(shape, tuple) or len(shape) != 4:
            raise ValueError(
                "The backbone must return one feature map (B, h, w, F). "
                f"Received: {backbone!r}, which returns {shape}"
            )
        return backbone
    stages = getattr(backbone, "pyramid_outputs", None)
    if not stages:
        raise ValueError(
            "stages=True needs a backbone of this package, with "
            f"pyramid_outputs. Received: {backbone!r}"
        )
    maps = ConcatenateStages(dtype="float32")(list(stages.values()))
    return keras.Model(backbone.inputs[0], maps)
