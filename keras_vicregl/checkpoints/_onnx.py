"""ONNX files, by tf2onnx and by PyTorch's exporter.

Both name the input "images" and the outputs as the model does. That of PyTorch
is called here and not by `keras.Model.export`, which names no outputs, and
leaves sizes free only in the older of PyTorch's two exporters.
"""

from __future__ import annotations

import pathlib
import re
import warnings
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

# Of the images that PyTorch follows through the model: any would do that are
# large enough for all strides, and differ.
_TRACED = (2, 256, 384)


class NotExportableError(ValueError):
    """An exporter cannot write a model that another may."""


def write_by_tensorflow(model: keras.Model, path: pathlib.Path) -> None:
    """Writes a model under the TensorFlow backend.

    Args:
        model: from images to a dictionary of outputs.
        path: of the file.
    """
    images = model.inputs[0]
    _register_missing()
    model.export(
        str(path),
        format="onnx",
        verbose=False,
        input_signature=[
            keras.InputSpec(images.dtype, images.shape, name="images")
        ],
    )


def write_by_torch(
    model: keras.Model, outputs: Sequence[str], path: pathlib.Path
) -> None:
    """Writes a model under the PyTorch backend.

    Args:
        model: from images to a dictionary of outputs.
        outputs: their names, in the order of the file.
        path: of the file.

    Raises:
        NotExportableError: if the exporter does not get through it.
    """
    import torch

    class Inference(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, images: Any) -> tuple[Any, ...]:
            found = self.model(images, training=False)
            return tuple(found[name] for name in outputs)

    images = model.inputs[0]
    # In the order of an image's axes; channels are as many as they are.
    free = {
        axis: torch.export.Dim(name)
        for axis, name in enumerate(("batch", "height", "width"))
        if images.shape[axis] is None
    }
    shape = [
        given or traced
        for given, traced in zip(
            images.shape, (*_TRACED, images.shape[3]), strict=True
        )
    ]
    sample = keras.ops.zeros(shape, images.dtype)
    try:
        with torch.no_grad(), warnings.catch_warnings():
            # Of PyTorch's own parts, which tell their authors of each other.
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                Inference(),
                (sample,),
                dynamo=True,
                input_names=["images"],
                output_names=list(outputs),
                dynamic_shapes=(free,),
                verbose=False,
            )
    except Exception as error:  # of many kinds, with the true one inside
        raise NotExportableError(
            f"PyTorch's exporter to ONNX cannot write {model.name!r} with "
            f"{_in_words(free)}: {_reason(error)}"
        ) from error
    # Two gigabytes are what one file can hold.
    program.save(path, external_data=False)


def _in_words(free: dict[int, Any]) -> str:
    names = [axis.__name__ for axis in free.values()]
    return f"any {', '.join(names)}" if names else "its fixed sizes"


def _reason(error: BaseException) -> str:
    """What the error says that is furthest inside, in a line."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = re.sub(r"\x1b\[\d*m", "", str(error))
    # What Keras and PyTorch say of every error.
    of_all = ("Exception encountered when", "The error above occurred")
    lines = [
        line.strip().removesuffix(".")
        for line in text.splitlines()
        if line.strip() and not line.startswith(of_all)
    ]
    return ": ".join([type(error).__name__, *lines[:1]]) + "."


def _register_missing() -> None:
    """Teaches tf2onnx `Erfc`, of which TensorFlow makes an exact GELU.

    Nothing is changed where tf2onnx knows it.
    """
    from tf2onnx import constants, utils
    from tf2onnx.handler import tf_op

    versions = tf_op.get_opsets().get(constants.ONNX_DOMAIN, [])
    if any("Erfc" in known for known in versions):
        return

    @tf_op("Erfc")
    class Erfc:
        @classmethod
        def version_9(cls, ctx: Any, node: Any, **_: Any) -> None:
            """Erfc(x) = 1 - Erf(x), and Erf is an operation since version 9."""
            dtype = utils.map_onnx_to_numpy_type(ctx.get_dtype(node.input[0]))
            one = ctx.make_const(utils.make_name("one"), np.array(1, dtype))
            erf = ctx.make_node("Erf", [node.input[0]])
            shapes = [ctx.get_shape(node.output[0])]
            dtypes = [ctx.get_dtype(node.output[0])]
            ctx.remove_node(node.name)
            ctx.make_node(
                "Sub",
                [one.output[0], erf.output[0]],
                outputs=node.output,
                name=node.name,
                shapes=shapes,
                dtypes=dtypes,
            )
