"""Export of a backbone, under every Keras backend."""

import importlib.util
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import keras

# Run where the backend has no SavedModel of its own.
_CONVERSION = """
import sys, keras, keras_vicregl
from keras_vicregl.checkpoints import export_saved_model
export_saved_model(keras.saving.load_model(sys.argv[1]), sys.argv[2])
"""


def export_saved_model(model: keras.Model, path: str | os.PathLike) -> None:
    """Writes a model as a TensorFlow SavedModel for inference.

    `tf.saved_model.load(path).serve(images)` needs nothing of Keras or of this
    package. Under PyTorch, which has no such export, a second process loads the
    model into the TensorFlow backend and exports it from there.

    Args:
        model: a model from `(B, H, W, C)` images to features. Batch size,
            height and width stay free where the model leaves them free.
        path: folder to write; it appears when it is complete.

    Raises:
        FileExistsError: if `path` exists and is not an older SavedModel.
        ImportError: if TensorFlow is not installed.
        RuntimeError: if the conversion in the second process fails.
    """
    if importlib.util.find_spec("tensorflow") is None:
        raise ImportError(
            "A SavedModel needs TensorFlow, whatever the backend: "
            "pip install tensorflow. Or save the model as .keras."
        )
    path = pathlib.Path(path)
    if path.exists() and not (path / "saved_model.pb").exists():
        raise FileExistsError(
            f"`path` {str(path)!r} exists and is not a SavedModel; choose "
            "another, or remove it."
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(
        dir=path.parent, prefix=f".{path.name}-"
    ) as folder:
        complete = pathlib.Path(folder, "saved_model")
        if keras.backend.backend() == "torch":
            _export_in_tensorflow(model, complete)
        else:
            options = {}
            if keras.backend.backend() == "jax":
                # Free heights and widths are beyond jax2tf's gradients.
                options["jax2tf_kwargs"] = {"with_gradient": False}
            model.export(str(complete), verbose=False, **options)
        if path.exists():
            shutil.rmtree(path)
        complete.rename(path)


def _export_in_tensorflow(model: keras.Model, path: pathlib.Path) -> None:
    saved = path.with_suffix(".keras")
    model.save(saved)
    result = subprocess.run(
        [sys.executable, "-c", _CONVERSION, str(saved), str(path)],
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
