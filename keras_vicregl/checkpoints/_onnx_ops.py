"""Operations of TensorFlow that tf2onnx does not know."""

from __future__ import annotations

from typing import Any

import numpy as np


def register_missing() -> None:
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
