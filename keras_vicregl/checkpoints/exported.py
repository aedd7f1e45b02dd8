"""Exported backbones, loaded again to be evaluated."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Callable

import keras
import numpy as np

from keras_vicregl._installed import missing

_Function = Callable[[np.ndarray], np.ndarray]


class ExportedBackbone:
    """An exported backbone that can be evaluated like a Keras model.

    Where features are all that an evaluation needs - `extract_features`,
    `evaluate_knn`, `evaluate_linear`, `evaluate_segmentation` - it can take the
    place of the backbone, under every Keras backend. It cannot be trained.

    Attributes:
        dtype: of the images that it takes: of integers it normalises them.
    """

    def __init__(self, function: _Function, dtype: str) -> None:
        self._function = function
        self.dtype = dtype

    def predict_on_batch(self, x: np.ndarray) -> np.ndarray:
        """Feature maps (B, h, w, F) of images (B, H, W, 3)."""
        return self._function(np.asarray(x))


def load_backbone(path: str | os.PathLike) -> keras.Model | ExportedBackbone:
    """Loads what `export` has written.

    Args:
        path: a `.keras` file, an `.onnx` file, the folder of a SavedModel, or
            that of a run, which has a `backbone.keras`.

    Returns:
        The `keras.Model` of a `.keras` file; of the others an
        `ExportedBackbone`, which takes what the file takes: normalised images,
        or with `export(preprocessing=True)` uint8 ones, which evaluations then
        give it as they are. (Files that take float32 images of raw values, of a
        `value_range`, need `preprocess=None`.)

    Raises:
        FileNotFoundError: if there is no such file or folder.
        ImportError: if TensorFlow, or for `.onnx` onnxruntime, is missing.
        ValueError: if it is none of the three.

    Example:

    >>> import tempfile
    >>> from keras_vicregl import backbone
    >>> from keras_vicregl.checkpoints import export
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     export(backbone("small_resnet"), f"{folder}/backbone.keras")
    ...     load_backbone(f"{folder}/backbone.keras").output_shape
    (None, None, None, 192)
    """
    path = pathlib.Path(path)
    if (path / "backbone.keras").is_file():  # of a run
        path /= "backbone.keras"
    if not path.exists():
        raise FileNotFoundError(f"There is no exported backbone at {path}.")
    if path.suffix == ".keras":
        return keras.saving.load_model(path, compile=False)
    if path.suffix == ".onnx":
        _check_installed("An .onnx file", "onnxruntime")
        return ExportedBackbone(*_onnx(path))
    if (path / "saved_model.pb").is_file():
        _check_installed("A SavedModel", "tensorflow")
        return ExportedBackbone(*_saved_model(path))
    raise ValueError(
        "`path` must be a .keras or .onnx file or the folder of a SavedModel. "
        f"Received: {path}"
        + ". A .pth file holds weights alone: backbone(NAME, weights=PATH)."
        * (path.suffix in (".pth", ".pt"))
    )


def _check_installed(what: str, package: str) -> None:
    if missing(package):
        raise ImportError(
            f"{what} needs {package}, which is not installed: pip install "
            f"{package}. The .keras file of the same backbone needs neither "
            "that nor any other."
        )


def _onnx(path: pathlib.Path) -> tuple[_Function, str]:
    import onnxruntime

    session = onnxruntime.InferenceSession(path)
    (images,) = session.get_inputs()
    dtype = np.uint8 if images.type == "tensor(uint8)" else np.float32

    def feature_map(x: np.ndarray) -> np.ndarray:
        inputs = {images.name: _as(dtype, x)}
        return session.run(["feature_map"], inputs)[0]

    return feature_map, np.dtype(dtype).name


def _saved_model(path: pathlib.Path) -> tuple[_Function, str]:
    from keras_vicregl._tensorflow import tf

    # Kept alive by the function below: endpoints hold only weak references.
    loaded = tf.saved_model.load(str(path))
    signature = loaded.signatures["serving_default"]
    (spec,) = signature.structured_input_signature[1].values()
    dtype = spec.dtype.as_numpy_dtype

    def feature_map(x: np.ndarray) -> np.ndarray:
        return loaded.serve(tf.constant(_as(dtype, x))).numpy()

    return feature_map, np.dtype(dtype).name


def _as(dtype: type, images: np.ndarray) -> np.ndarray:
    """Images as a model takes them; rounded, if it takes integers."""
    if dtype == np.uint8 and images.dtype != np.uint8:
        images = np.clip(np.rint(images), 0, 255)
    return images.astype(dtype)
