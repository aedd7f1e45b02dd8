"""Export of a backbone for others to serve, under every Keras backend."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import tempfile
from typing import Any

import keras

from keras_vicregl.checkpoints._onnx_ops import register_missing
from keras_vicregl.models.backbones.adapter import channels_come_first
from keras_vicregl.models.backbones.copies import float32_copy, float32_policy
from keras_vicregl.models.backbones.normalization import (
    resolved,
    warn_of_own_layers,
)

FORMATS = ("saved_model", "onnx", "keras")

# Run where the backend cannot write the format itself.
_CONVERSION = """
import importlib, json, sys, keras
from keras_vicregl.checkpoints import export
source, target, arguments, *modules = sys.argv[1:]
for module in modules:
    importlib.import_module(module)
export(keras.saving.load_model(source), target, **json.loads(arguments))
"""


def export(
    backbone: keras.Model,
    path: str | os.PathLike,
    format: str | None = None,
    *,
    preprocessing: bool = False,
    mean: tuple[float, float, float] | None = None,
    std: tuple[float, float, float] | None = None,
) -> None:
    """Writes a backbone for inference, whatever the Keras backend.

    - `"saved_model"`: a folder for `tf.saved_model.load` and TensorFlow
      Serving. Its signatures take one batch of images: `serve`, also the
      default signature, gives the feature map `(B, h, w, F)`; `pooled` its
      spatial mean `(B, F)`; and `pyramid`, for backbones that have one, a
      dictionary of maps `"P2"`, `"P3"` and so on, from fine to coarse.
    - `"onnx"`: a file for ONNX Runtime with one input, `"images"`, and the
      outputs `"feature_map"`, `"pooled"` and those of the pyramid; a runtime
      computes those that are asked for.
    - `"keras"`: a file for `keras.saving.load_model`, under any backend, which
      needs this package for backbones of this package.

    All are in float32, whatever the dtype policy of the backbone: they give
    what a float32 copy of it gives. (`backbone.save` keeps its policy.)

    Layers of your own must be in a module that a second process can import.
    Batch size, height and width stay free where the backbone leaves them free.
    SavedModels and ONNX files need TensorFlow, the latter tf2onnx too. Where
    the backend cannot write them itself (PyTorch neither of them, lacking the
    names of outputs in ONNX; JAX no ONNX), a second process loads the model
    into the TensorFlow backend and writes them from there.

    Args:
        backbone: a model from images `(B, H, W, 3)` to a feature map.
        path: the folder or file to write. It appears when it is complete, and
            replaces an older one of the same format.
        format: one of the three. By default what the suffix says, `.onnx` or
            `.keras`; without suffix a SavedModel.
        preprocessing: whether the exported model takes uint8 RGB images in [0,
            255] and normalises them itself. By default it takes what the
            backbone takes, normalised floating-point images.
        mean: of the channels, of images in [0, 1]; used in preprocessing. By
            default what the backbone was trained on, where that is known, and
            ImageNet's otherwise. A warning says where it is another.
        std: standard deviations of the channels, as `mean`.

    Raises:
        FileExistsError: if `path` exists and is something else.
        ImportError: if TensorFlow or the ONNX converter is missing.
        RuntimeError: if the conversion in the second process fails.
        ValueError: if the format is unknown, or the backbone has no single
            feature map, weights that are not finite, or layers that cannot be
            made again in float32.

    Example:

    >>> import tempfile
    >>> from keras_vicregl import backbone
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     export(backbone("small_resnet"), f"{folder}/backbone.keras")
    """
    path = pathlib.Path(path)
    format = _format_of(path, format)
    outputs = getattr(backbone, "outputs", None) or []
    if len(outputs) != 1 or len(outputs[0].shape) != 4:
        raise ValueError(
            "`backbone` must be a functional model with one output, a feature "
            f"map (B, h, w, F); those of {backbone.name!r} have the shapes "
            f"{[tuple(output.shape) for output in outputs]}."
        )
    if channels_come_first(backbone):
        raise ValueError(
            f"`backbone` {backbone.name!r} has its channels first. Pass "
            "keras_vicregl.models.backbones.as_backbone(model)."
        )
    if preprocessing and keras.config.image_data_format() != "channels_last":
        raise ValueError(
            "`preprocessing=True` needs "
            "keras.config.set_image_data_format('channels_last')."
        )
    if preprocessing and "int" in backbone.inputs[0].dtype:
        raise ValueError(
            f"`preprocessing=True`, but {backbone.name!r} takes "
            f"{backbone.inputs[0].dtype} images: it normalises them already."
        )
    _check_replaceable(path, format)
    if preprocessing:
        warn_of_own_layers(backbone)
        mean, std = resolved(backbone, mean, std)
    backbone = float32_copy(backbone)
    path.parent.mkdir(parents=True, exist_ok=True)
    settings = {"preprocessing": preprocessing, "mean": mean, "std": std}
    with tempfile.TemporaryDirectory(
        dir=path.parent, prefix=f".{path.name}-"
    ) as folder:
        complete = pathlib.Path(folder, path.name)
        if _needs_tensorflow_process(format):
            _write_in_tensorflow(backbone, complete, format, settings)
        else:
            with float32_policy():
                endpoints = _endpoints(backbone, **settings)
                _WRITERS[format](endpoints, complete)
        if path.is_dir():  # which no rename replaces
            path.rename(pathlib.Path(folder, "older"))
        complete.replace(path)


@dataclasses.dataclass(frozen=True)
class _Endpoints:
    """Models that share a backbone's layers, from the same images."""

    feature_map: keras.Model
    pooled: keras.Model
    pyramid: keras.Model | None


def _endpoints(
    backbone: keras.Model, preprocessing: bool, mean: Any, std: Any
) -> _Endpoints:
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
        images = keras.Input(images.shape[1:], dtype="uint8", name="images")
        x = keras.layers.Rescaling(
            scale=[1 / (255 * s) for s in std],
            offset=[-m / s for m, s in zip(mean, std, strict=True)],
        )(images)
        outputs = trunk(x)
    feature_map = outputs["feature_map"]
    pooled = keras.layers.GlobalAveragePooling2D(data_format="channels_last")(
        feature_map
    )
    return _Endpoints(
        keras.Model(images, feature_map, name=backbone.name)
        if preprocessing
        else backbone,
        keras.Model(images, pooled),
        keras.Model(images, {level: outputs[level] for level in levels})
        if levels
        else None,
    )


def _write_saved_model(endpoints: _Endpoints, path: pathlib.Path) -> None:
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


def _write_onnx(endpoints: _Endpoints, path: pathlib.Path) -> None:
    images = endpoints.feature_map.inputs[0]
    outputs = {
        "feature_map": endpoints.feature_map.outputs[0],
        "pooled": endpoints.pooled.outputs[0],
    }
    if endpoints.pyramid is not None:
        outputs.update(endpoints.pyramid.output)
    register_missing()
    keras.Model(images, outputs).export(
        str(path),
        format="onnx",
        verbose=False,
        input_signature=[
            keras.InputSpec(images.dtype, images.shape, name="images")
        ],
    )


def _write_keras(endpoints: _Endpoints, path: pathlib.Path) -> None:
    endpoints.feature_map.save(path)


_WRITERS = {
    "saved_model": _write_saved_model,
    "onnx": _write_onnx,
    "keras": _write_keras,
}


def _needs_tensorflow_process(format: str) -> bool:
    """Whether another backend than the running one has to write a format."""
    if format == "keras":
        return False
    for module in ("tensorflow", "tf2onnx")[: 1 + (format == "onnx")]:
        if importlib.util.find_spec(module) is None:
            raise ImportError(
                f"The format {format!r} needs {module}, whatever the backend: "
                f"pip install {module}. The format 'keras' does not."
            )
    native = {"saved_model": ("tensorflow", "jax"), "onnx": ("tensorflow",)}
    return keras.backend.backend() not in native[format]


def _write_in_tensorflow(
    backbone: keras.Model,
    path: pathlib.Path,
    format: str,
    settings: dict[str, Any],
) -> None:
    saved = path.with_name("intermediate.keras")
    backbone.save(saved)
    result = subprocess.run(
        [
            sys.executable,
            "-c",
            _CONVERSION,
            str(saved),
            str(path),
            json.dumps({"format": format, **settings}),
            *_modules_of_layers(backbone),
        ],
        env={**os.environ, "KERAS_BACKEND": "tensorflow"},
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        raise RuntimeError(
            "The export in a TensorFlow process failed. It said:\n"
            + result.stderr[-2000:]
        )


def _modules_of_layers(model: keras.Model) -> list[str]:
    """Modules whose import registers the classes of a model's layers."""
    names = {type(layer).__module__ for layer in model._flatten_layers()}
    return sorted(
        name
        for name in names
        if name.split(".")[0] not in ("keras", "__main__")
    )


def _format_of(path: pathlib.Path, format: str | None) -> str:
    if format is None:
        suffix = path.suffix
        if suffix[1:].isdigit():  # as in resnet50_alpha0.9
            suffix = ""
        format = {".onnx": "onnx", ".keras": "keras", "": "saved_model"}.get(
            suffix, suffix
        )
    if format not in FORMATS:
        raise ValueError(
            f"`format` must be one of {FORMATS}, or None with a path that ends "
            f"in .onnx, .keras or nothing. Received: format={format!r}, "
            f"path={str(path)!r}"
        )
    if format != "saved_model" and path.suffix != f".{format}":
        raise ValueError(
            f"`path` must end in .{format} for the format {format!r}. "
            f"Received: path={str(path)!r}"
        )
    return format


def _check_replaceable(path: pathlib.Path, format: str) -> None:
    same = (
        (path / "saved_model.pb").exists()
        if format == "saved_model"
        else path.is_file()
    )
    if path.exists() and not same:
        what = "a SavedModel" if format == "saved_model" else "a file"
        raise FileExistsError(
            f"`path` {str(path)!r} exists and is not {what}; choose another, "
            "or remove it."
        )
