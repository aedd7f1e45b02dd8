"""The custom steps do what Keras' own steps do, to the last bit."""

import keras
import numpy as np
import pytest
import small

from keras_vicregl import VICRegL


class KerasStep(VICRegL):
    """The same model, trained by the steps that Keras brings."""

    train_step = keras.Model.train_step
    test_step = keras.Model.test_step


def build(kind, dtype="float32"):
    return small.seeded(
        kind(
            small.backbone("batch"),
            expander_units=(24, 16),
            local_expander_units=(16, 8),
            num_classes=5,
            dtype=dtype,
        )
    )


OPTIMIZERS = {
    "plain": lambda: keras.optimizers.AdamW(1e-3),
    "clipped": lambda: keras.optimizers.SGD(0.1, 0.9, global_clipnorm=0.5),
    "accumulated": lambda: keras.optimizers.Adam(
        1e-3, gradient_accumulation_steps=2
    ),
    "averaged": lambda: keras.optimizers.SGD(
        0.05, use_ema=True, ema_momentum=0.9, ema_overwrite_frequency=2
    ),
    "scaled": lambda: keras.optimizers.LossScaleOptimizer(
        keras.optimizers.SGD(0.05), initial_scale=1024.0
    ),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_weights_and_logs_are_those_of_keras(name):
    x, y = small.batch(count=16, sizes=small.SIZES[:2])
    # Steps without an optimizer are the same with each.
    held_out = {"validation_data": (x, y), "validation_batch_size": 8}
    validation = held_out if name == "plain" else {}
    results = []
    for kind in (VICRegL, KerasStep):
        model = build(kind)
        small.compiled(model, OPTIMIZERS[name]())
        history = model.fit(
            x,
            y,
            batch_size=8,
            epochs=2,
            shuffle=False,
            verbose=0,
            **validation,
        ).history
        state = [
            keras.ops.convert_to_numpy(v) for v in model.optimizer.variables
        ]
        results.append((history, small.weights(model), state))
    (logs, weights, state), (keras_logs, keras_weights, keras_state) = results
    assert logs == keras_logs
    assert ("val_local_inv" in logs) == (name == "plain")
    for ours, theirs in zip(
        weights + state, keras_weights + keras_state, strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow",
    reason="JAX always does, PyTorch never",
)
def test_compiled_by_xla_it_trains_the_same():
    x, y = small.batch(sizes=small.SIZES[:2])
    losses = []
    for jit_compile in (False, True):
        model = build(VICRegL)
        model.compile(
            keras.optimizers.SGD(0.01),
            jit_compile=jit_compile,
            run_eagerly=not jit_compile,
        )
        losses.append([float(model.train_on_batch(x, y)[0]) for _ in range(2)])
    # XLA fuses, and so rounds, in its own way.
    np.testing.assert_allclose(*losses, rtol=1e-4)


@pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="XLA compiles the step"
)
def test_what_torch_cannot_compile_is_refused_at_once():
    model = build(VICRegL)
    with pytest.raises(ValueError, match=r"jit_compile=True.*PyTorch"):
        model.compile("sgd", jit_compile=True)
    model.compile("sgd", jit_compile="auto")
    assert model.jit_compile is False
    with pytest.raises(ValueError, match=r"jit_compile=True.*PyTorch"):
        model.jit_compile = True
    # As a file of another backend has it.
    config = {**model.get_compile_config(), "jit_compile": True}
    with pytest.warns(UserWarning, match="jit_compile=True.*is left out"):
        model.compile_from_config(config)
    model.train_on_batch(*small.batch(sizes=small.SIZES))


def test_mixed_float16_trains_with_loss_scaling():
    x, y = small.batch(sizes=small.SIZES[:2])
    model = small.seeded(
        VICRegL(
            small.backbone("batch"),
            expander_units=(24, 16),
            local_expander_units=(16, 8),
            dtype="mixed_float16",
        )
    )
    model.compile(keras.optimizers.SGD(0.01))
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    first = model.train_on_batch(x, return_dict=True)
    reference = small.compiled(build(VICRegL), keras.optimizers.SGD(0.01))
    expected = reference.train_on_batch(x, y, return_dict=True)
    # The heads compute in float16, of 11 bits, and the objective in float32.
    np.testing.assert_allclose(first["inv"], expected["inv"], rtol=1e-2)
    np.testing.assert_allclose(first["var"], expected["var"], rtol=1e-2)


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow",
    reason="elsewhere the size of every batch is known",
)
@pytest.mark.parametrize("step", ["train_step", "test_step"])
def test_the_network_waits_for_the_check_of_the_batch_size(step):
    import tensorflow as tf

    x, _ = small.batch()
    model = build(VICRegL)
    model.compile(keras.optimizers.SGD(0.1))
    specs = tf.nest.map_structure(
        lambda array: tf.TensorSpec((None, *array.shape[1:])), x
    )
    labels = tf.TensorSpec((None,), tf.int32)
    function = tf.function(getattr(model, step), autograph=False)
    graph = function.get_concrete_function((specs, labels)).graph

    def comes_after_an_assertion(operation):
        seen, waiting = set(), [operation]
        while waiting:
            operation = waiting.pop()
            if operation.type == "Assert" or "Assert" in operation.name:
                return True
            if operation.name not in seen:
                seen.add(operation.name)
                waiting += operation.control_inputs
                waiting += [tensor.op for tensor in operation.inputs]
        return False

    convolutions = [
        operation
        for operation in graph.get_operations()
        if operation.type.startswith("Conv2D")
    ]
    assert len(convolutions) >= 9  # three layers, three views
    assert all(map(comes_after_an_assertion, convolutions))
