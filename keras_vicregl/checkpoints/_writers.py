"""What writes the formats of exports, under the backend that runs."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any

import keras

from keras_vicregl.checkpoints._onnx import (
    write_by_tensorflow,
    write_by_torch,
)
from keras_vicregl.checkpoints._preprocessing import normalized
from keras_vicregl.views.normalization import Normalization


@dataclasses.dataclass(frozen=True)
class Endpoints:
    """Models that share a backbone's layers, from the same images."""

    feature_map: keras.Model
    pooled: keras.Model
    pyramid: keras.Model | None


def endpoints_of(
    backbone: keras.Model,
    preprocessing: bool,
    mean: Any,
    std: Any,
    value_range: Any,
) -> Endpoints:
    """What an export gives of images.

    Args:
        backbone: in float32.
        preprocessing: whether images come as they are.
        mean: of the channels, for preprocessing.
        std: standard deviations of the channels, likewise.
        value_range: of raw values, likewise, or `None` for uint8 images.
    """
    outputs = {"feature_map": backbone.outputs[0]}
    levels = getattr(backbone, "pyramid_outputs", {})
    if not isinstance(levels, dict) or any(
        not isinstance(level, keras.KerasTensor) for level in levels.values()
    ):
        levels = {}
    outputs.update(levels)
    images = backbone.inputs[0]
    if preprocessing:
        trunk = keras.Model(images, outputs)
        dtype = "uint8" if value_range is None else "float32"
        images = keras.Input(images.shape[1:], dtype=dtype, name="images")
        x = normalized(images, Normalization(mean, std, value_range))
        outputs = trunk(x)
    feature_map = outputs["feature_map"]
    pooled = keras.layers.GlobalAveragePooling2D(data_format="channels_last")(
        feature_map
    )
    return Endpoints(
        keras.Model(images, feature_map, name=backbone.name)
        if preprocessing
        else backbone,
        keras.Model(images, pooled),
        keras.Model(images, {level: outputs[level] for level in levels})
        if levels
        else None,
    )


def _write_saved_model(endpoints: Endpoints, path: pathlib.Path) -> None:
    archive = keras.export.ExportArchive()
    whole = endpoints.feature_map
    archive.track(whole)
    options = {}
    if keras.backend.backend() == "jax":
        options["jax2tf_kwargs"] = {
            # Free heights and widths are beyond jax2tf's gradients.
            "with_gradient": False,
            # Whatever this process runs on.
            "native_serialization_platforms": ("cpu", "cuda"),
        }
    signature = [
        keras.InputSpec(shape=whole.input_shape, dtype=whole.inputs[0].dtype)
    ]
    for name, model in (
        ("serve", whole),
        ("pooled", endpoints.pooled),
        ("pyramid", endpoints.pyramid),
    ):
        if model is not None:
            archive.add_endpoint(
                name,
                _inference(model),
                input_signature=signature,
                **options,
            )
    archive.write_out(str(path), verbose=False)


def _inference(model: keras.Model) -> Any:
    def images_to_outputs(images: Any) -> Any:
        return model(images, training=False)

    return images_to_outputs


def _write_onnx(endpoints: Endpoints, path: pathlib.Path) -> None:
    images = endpoints.feature_map.inputs[0]
    outputs = {
        "feature_map": endpoints.feature_map.outputs[0],
        "pooled": endpoints.pooled.outputs[0],
    }
    if endpoints.pyramid is not None:
        outputs.update(endpoints.pyramid.output)
    name = endpoints.feature_map.name
    whole = keras.Model(images, outputs, name=name)
    if keras.backend.backend() == "torch":
        write_by_torch(whole, list(outputs), path)
    else:
        write_by_tensorflow(whole, path)


def _write_keras(endpoints: Endpoints, path: pathlib.Path) -> None:
    endpoints.feature_map.save(path)


# Of what computes; `save_checkpoint` writes a state dict.
WRITERS = {
    "saved_model": _write_saved_model,
    "onnx": _write_onnx,
    "keras": _write_keras,
}
