"""What a TPU asks of a step, as far as it shows without one.

All shapes are known when it is compiled, XLA compiles it, and nothing in it is
done by the host.
"""

import keras
import numpy as np
import pytest
import small

from keras_vicregl import VICRegL
from keras_vicregl.models.backbones import ConvNeXt, ResNet
from keras_vicregl.optimizers import LARS

BACKEND = keras.backend.backend()
NETWORKS = {
    "resnet": lambda: ResNet((1,), (8,), strides=(2,), stem="small"),
    "convnext": lambda: ConvNeXt((1, 1), (8, 8)),
}


@pytest.fixture(params=NETWORKS)
def model(request):
    model = VICRegL(
        NETWORKS[request.param](),
        expander_units=(16, 16),
        local_expander_units=(8, 8),
        num_classes=5,
        max_distance=0.5,
        max_distance_unit="diagonal",
    )
    model.compile(LARS(0.1, global_clipnorm=1.0), jit_compile=True)
    model.optimizer.build(model.trainable_variables)
    return model


BATCH = small.batch(4, ((32, 32), (32, 32), (16, 16)))


@pytest.mark.skipif(BACKEND != "tensorflow", reason="graphs")
def test_a_graph_of_known_shapes_that_xla_compiles(model):
    import tensorflow as tf

    step = tf.function(model.train_step, jit_compile=True, autograph=False)
    data = keras.tree.map_structure(tf.constant, BATCH)
    graph = step.get_concrete_function(data).graph
    functions = graph._functions.values()
    for operations in (
        graph.get_operations(),
        *(function.graph.get_operations() for function in functions),
    ):
        for operation in operations:
            assert "PyFunc" not in operation.type
            for output in operation.outputs:
                # Integers that say along which axes gradients are summed have
                # lengths of their own; XLA computes them while it compiles.
                if output.dtype.is_floating:
                    known = output.shape.is_fully_defined()
                    assert known, f"{operation.type}: {output}"
    assert np.isfinite(step(data)["loss"].numpy())


@pytest.mark.skipif(BACKEND != "jax", reason="StableHLO")
def test_a_program_of_known_shapes_without_calls_of_the_host(model):
    import jax

    state = (
        [v.value for v in model.trainable_variables],
        [v.value for v in model.non_trainable_variables],
        [v.value for v in model.optimizer.variables],
        [v.value for v in model.metrics_variables],
    )
    program = jax.jit(model.train_step).lower(state, BATCH)
    text = program.as_text()
    assert "tensor<?" not in text
    assert "x?x" not in text
    assert "callback" not in text
    logs, _ = program.compile()(state, BATCH)
    assert np.isfinite(float(logs["loss"]))
