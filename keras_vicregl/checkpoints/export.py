"""Export of a backbone for others to serve, under every Keras backend."""

from __future__ import annotations

import os
import pathlib
import tempfile
from typing import Any

import keras
import numpy as np

from keras_vicregl._warnings import warn
from keras_vicregl.checkpoints._formats import (
    format_of,
    write_elsewhere,
    writers_of,
)
from keras_vicregl.checkpoints._onnx import NotExportableError
from keras_vicregl.checkpoints._writers import WRITERS, endpoints_of
from keras_vicregl.checkpoints.conversion import save_checkpoint
from keras_vicregl.checkpoints.layouts import check_layout
from keras_vicregl.models.backbones.adapter import channels_come_first
from keras_vicregl.models.backbones.copies import float32_copy, float32_policy
from keras_vicregl.models.backbones.normalization import (
    resolved,
    takes_integers,
    warn_of_own_layers,
)
from keras_vicregl.models.backbones.registry import state_dict_layout
from keras_vicregl.views.values import ValueRange


def export(
    backbone: keras.Model,
    path: str | os.PathLike,
    format: str | None = None,
    *,
    preprocessing: bool = False,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    value_range: ValueRange | None = None,
    layout: str = "published",
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
    - `"pth"`: a state dict for PyTorch, as `save_checkpoint` writes it. It
      holds weights alone, of a `ResNet` or `ConvNeXt` of this package, under
      the names of torchvision and of the published ConvNeXt code:
      `torchvision.models.resnet50().load_state_dict(weights, strict=False)`
      takes all of it and misses its classifier, `fc`. `layout` gives a
      ConvNeXt the names of torchvision or timm.

    All are in float32, whatever the dtype policy of the backbone: they give
    what a float32 copy of it gives. (`backbone.save` keeps its policy.)

    Batch size, height and width stay free where the backbone leaves them free.

    What a format needs is looked for before anything is made or written. A
    SavedModel needs TensorFlow. An ONNX file needs TensorFlow and tf2onnx, or
    PyTorch, onnx and onnxscript; `pip install "keras-vicregl[onnx]"` brings
    what they need besides. Where the running backend cannot write a format
    (PyTorch no SavedModel, JAX no ONNX), or lacks what it needs for it, a
    second process loads the model into a backend that can, and writes it from
    there. Layers of your own must be in a module that it can import.

    Args:
        backbone: a model from images `(B, H, W, C)` to a feature map.
        path: the folder or file to write. It appears when it is complete, and
            replaces an older one of the same format.
        format: one of the four. By default what the suffix says, `.onnx`,
            `.keras` or `.pth`; without suffix a SavedModel.
        preprocessing: whether the exported model takes images as they come and
            normalises them itself: uint8 images in [0, 255], and where there is
            a `value_range`, float32 images of raw values, to which uint8 and
            uint16 can be cast without loss. By default it takes what the
            backbone takes, normalised floating-point images.
        mean: of the channels, of images in [0, 1]; used in preprocessing. By
            default what the backbone was trained on, where that is known, and
            ImageNet's otherwise. A warning says where it is another.
        std: standard deviations of the channels, as `mean`.
        value_range: of the images, as `MultiView` has it; used in
            preprocessing. By default that of the views that the backbone was
            trained on.
        layout: of a state dict: whose names it has, as in `to_state_dict`.

    Raises:
        FileExistsError: if `path` exists and is something else.
        ImportError: if a package is missing that the format needs.
        RuntimeError: if the conversion in the second process fails.
        TypeError: if the format is "pth" and the backbone is none of this
            package's.
        ValueError: if the format is unknown, or the backbone has no single
            feature map, weights that are not finite, layers that cannot be
            made again in float32, or some that PyTorch cannot write as ONNX;
            if there is no such layout, or the format has none.

    Example:

    >>> import tempfile
    >>> from keras_vicregl import backbone
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     export(backbone("small_resnet"), f"{folder}/backbone.keras")
    """
    path = pathlib.Path(path)
    check_export(path, format, layout=layout)
    format = format_of(path, format)
    writers = writers_of(format)
    _check_backbone(backbone, format, preprocessing)
    if preprocessing:
        warn_of_own_layers(backbone)
        mean, std, value_range = resolved(backbone, mean, std, value_range)
        # Of numbers, of whatever kind, that another process can be told.
        mean, std, value_range = (
            None if given is None else np.asarray(given, float).tolist()
            for given in (mean, std, value_range)
        )
    elif (mean, std, value_range) != (None, None, None):
        warn(
            "`mean`, `std` and `value_range` have no part in it without "
            "`preprocessing=True`."
        )
    backbone = float32_copy(backbone)
    path.parent.mkdir(parents=True, exist_ok=True)
    settings: dict[str, Any] = {
        "preprocessing": preprocessing,
        "mean": mean,
        "std": std,
        "value_range": value_range,
    }
    with tempfile.TemporaryDirectory(
        dir=path.parent, prefix=f".{path.name}-"
    ) as folder:
        complete = pathlib.Path(folder, path.name)
        if format == "pth":
            save_checkpoint(backbone, complete, layout=layout)
        elif writers[0] == keras.backend.backend():
            try:
                with float32_policy():
                    endpoints = endpoints_of(backbone, **settings)
                    WRITERS[format](endpoints, complete)
            except NotExportableError as error:
                if len(writers) == 1:
                    raise
                warn(f"{error} {writers[1]} writes it, in a second process.")
                write_elsewhere(
                    writers[1], backbone, complete, format, settings
                )
        else:
            write_elsewhere(writers[0], backbone, complete, format, settings)
        if path.is_dir():  # which no rename replaces
            path.rename(pathlib.Path(folder, "older"))
        complete.replace(path)


def check_export(
    path: str | os.PathLike,
    format: str | None = None,
    *,
    layout: str = "published",
) -> None:
    """Looks whether `export` can write a file here, which costs nothing.

    For before a backbone is loaded, or trained for days.

    Args:
        path: as in `export`.
        format: as in `export`.
        layout: as in `export`.

    Raises:
        FileExistsError: if `path` exists and is something else.
        ImportError: if a package is missing that the format needs.
        ValueError: if the format is unknown, or there is no such layout, or
            the format has none.

    Example:

    >>> check_export("backbone.keras")
    """
    path = pathlib.Path(path)
    format = format_of(path, format)
    writers_of(format)
    check_layout(layout)
    if layout != "published" and format != "pth":
        raise ValueError(
            f"`layout={layout!r}` is of .pth files; {str(path)!r} has the "
            f"format {format!r}."
        )
    _check_replaceable(path, format)


def _check_backbone(
    backbone: keras.Model, format: str, preprocessing: bool
) -> None:
    """Refuses what a format cannot hold.

    Raises:
        TypeError: if a state dict is asked for of another class.
        ValueError: if it is no backbone, or preprocessing cannot be inside.
    """
    outputs = getattr(backbone, "outputs", None) or []
    if len(outputs) != 1 or len(outputs[0].shape) != 4:
        inside = getattr(backbone, "backbone", None)
        raise ValueError(
            "`backbone` must be a functional model with one output, a feature "
            f"map (B, h, w, F); those of {backbone.name!r} have the shapes "
            f"{[tuple(output.shape) for output in outputs]}."
            + " Pass its `backbone`."
            * isinstance(inside, keras.Model)
        )
    if channels_come_first(backbone):
        raise ValueError(
            f"`backbone` {backbone.name!r} has its channels first. Pass "
            "keras_vicregl.models.backbones.as_backbone(model)."
        )
    if format == "pth":
        state_dict_layout(backbone)
        if preprocessing:
            raise ValueError(
                "`preprocessing=True`, but a .pth file holds weights alone: "
                "normalise images before the network that loads it."
            )
    if preprocessing and keras.config.image_data_format() != "channels_last":
        raise ValueError(
            "`preprocessing=True` needs "
            "keras.config.set_image_data_format('channels_last')."
        )
    if preprocessing and takes_integers(backbone):
        raise ValueError(
            f"`preprocessing=True`, but {backbone.name!r} takes "
            f"{backbone.inputs[0].dtype} images: it normalises them already."
        )


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
