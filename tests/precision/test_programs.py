"""Products ask for full precision, read from what a backend is going to run.

JAX: the lowered program of loss and gradients. TensorFlow: the graph, where
names say which products `keras_vicregl.precision` makes. PyTorch: products as
they are made, forwards and backwards, with the switch as it is then, of a user
who has allowed TF32.
"""

import re

import keras
import numpy as np
import problems
import pytest
import small
from keras import ops

from keras_vicregl import VICRegL
from keras_vicregl.evaluation.classification import knn
from keras_vicregl.evaluation.classification.classifier import Classifier
from keras_vicregl.evaluation.segmentation.head import (
    PixelCrossEntropy,
    linear_head,
)
from keras_vicregl.losses import vicregl_loss
from keras_vicregl.models import collapse_monitors

BACKEND = keras.backend.backend()


def made(fn, arrays, gradients=True):
    """What a function and its gradients multiply.

    Args:
        fn: From tensors to a scalar; without `gradients`, to anything.
        arrays: Float32, a tensor each.
        gradients: Whether those by all arrays are taken.

    Returns:
        For each product and each convolution, `("product" | "convolution",
        whether in full precision)`.
    """
    tensors = [ops.convert_to_tensor(array) for array in arrays]
    if BACKEND == "jax":
        import jax

        if gradients:
            fn = jax.value_and_grad(fn, argnums=range(len(tensors)))
        return _lowered(fn, *tensors)
    if BACKEND == "tensorflow":
        import tensorflow as tf

        def step(*tensors):
            with tf.GradientTape() as tape:
                tape.watch(tensors)
                result = fn(*tensors)
            return result, gradients and tape.gradient(result, tensors)

        return _traced(step, *tensors)
    tensors = [tensor.clone().requires_grad_(gradients) for tensor in tensors]

    def run():
        result = fn(*tensors)
        if gradients:
            result.backward()

    return _run(run)


def made_by_step(model, data):
    """The same of a training step, without an optimizer that multiplies."""
    if BACKEND == "jax":
        model.optimizer.build(model.trainable_variables)
        state = [
            [v.value for v in variables]
            for variables in (
                model.trainable_variables,
                model.non_trainable_variables,
                model.optimizer.variables,
                model.metrics_variables,
            )
        ]
        return _lowered(model.train_step, state, data)
    data = keras.tree.map_structure(ops.convert_to_tensor, data)
    if BACKEND == "tensorflow":
        model.optimizer.build(model.trainable_variables)
        return _traced(model.train_step, data)
    return _run(lambda: model.train_step(data))


def _lowered(fn, *arguments):
    import jax

    text = jax.jit(fn).lower(*arguments).as_text()
    found = re.findall(r"stablehlo\.(dot_general|dot|convolution)\b(.*)", text)
    return [
        (
            "convolution" if kind == "convolution" else "product",
            re.findall(r"\b(DEFAULT|HIGH|HIGHEST)\b", line) == ["HIGHEST"] * 2,
        )
        for kind, line in found
    ]


def _traced(fn, *arguments):
    import tensorflow as tf

    kinds = {
        "MatMul": "product",
        "BatchMatMul": "product",
        "BatchMatMulV2": "product",
        "BatchMatMulV3": "product",
        "Einsum": "product",
        "Conv2D": "convolution",
        "Conv2DBackpropFilter": "convolution",
        "Conv2DBackpropInput": "convolution",
    }
    step = tf.function(fn, autograph=False)
    graph = step.get_concrete_function(*arguments).graph
    inner = [function.graph for function in graph._functions.values()]
    return [
        (kinds[operation.type], "full_precision" in operation.name)
        for each in (graph, *inner)
        for operation in each.get_operations()
        if operation.type in kinds
    ]


def _run(fn):
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    switch = torch.backends.cuda.matmul
    kinds = {
        **dict.fromkeys(
            ("mm", "bmm", "addmm", "baddbmm", "mv", "dot"), "product"
        ),
        "convolution": "convolution",
        "convolution_backward": "convolution",
    }
    found = []

    class Spy(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            name = function.overloadpacket.__name__
            if name in kinds:
                found.append((kinds[name], switch.fp32_precision == "ieee"))
            return function(*args, **kwargs or {})

    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        with Spy():
            fn()
        # As the user has it.
        assert torch.get_float32_matmul_precision() == "high"
        assert switch.fp32_precision == "tf32"
    finally:
        torch.set_float32_matmul_precision(before)
    return found


def count(found, kind, full):
    return found.count((kind, full))


# More samples than channels, and fewer: another product is formed.
BATCHES = (2, 12)
OPTIONS = {
    "default": {},
    "vicreg": {"alpha": 1.0},
    "location": {"local_criteria": ("location",), "num_matches": 3},
    "feature": {"local_criteria": ("feature",), "feature_matches": (3, 1)},
    "maps": {"regularize": "maps"},
    "masked": {"max_distance": 6.0, "alpha": 0.0},
}


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("name", OPTIONS)
def test_objective_and_gradients(name, batch):
    problem = problems.make(0, ((3, 3), (3, 3), (2, 4)), batch)
    views = len(problem.maps)

    def loss(*tensors):
        embeddings, maps = tensors[:views], tensors[views:]
        return vicregl_loss(
            embeddings, maps, problem.positions, **OPTIONS[name]
        )["loss"]

    found = made(loss, [*problem.embeddings, *problem.maps])
    assert set(found) == {("product", True)}
    # Covariances, and their gradients.
    assert len(found) >= 2


def test_monitors_make_no_products():
    z = np.random.default_rng(0).normal(size=(8, 5)).astype("float32")
    assert made(collapse_monitors, [z], gradients=False) == []


def test_similarities_of_neighbours():
    x = np.random.default_rng(0).normal(size=(6, 6)).astype("float32")
    found = made(
        lambda queries, bank: knn.most_similar(queries, bank, 2),
        [x, x],
        gradients=False,
    )
    assert found == [("product", True)]


def of_layer(layer, features, loss):
    """A layer's products in training, and of all gradients."""
    trainable = [ops.convert_to_numpy(v) for v in layer.trainable_variables]
    rest = [ops.convert_to_numpy(v) for v in layer.non_trainable_variables]

    def fn(features, *trainable):
        scores, _ = layer.stateless_call(
            list(trainable),
            [ops.convert_to_tensor(value) for value in rest],
            features,
        )
        return loss(scores)

    return made(fn, [features, *trainable])


def test_online_classifier():
    model = VICRegL(small.backbone(), num_classes=5, expander_units=(4,))
    x = np.ones((3, 16), "float32")
    found = of_layer(model.classifier, x, ops.sum)
    # Forwards, and by features and weights.
    assert found == [("product", True)] * 3


def test_heads_of_linear_and_fine_tuned_classification():
    model = Classifier(
        small.backbone(),
        3,
        learning_rates=(0.1, 0.2),
        backbone_learning_rate=0.0,
        seed=0,
        views=None,
    )
    x = np.ones((4, 16), "float32")
    assert of_layer(model.heads, x, ops.sum) == [("product", True)] * 3


def test_head_of_linear_segmentation_and_its_upsampling():
    head = linear_head(5, 3)
    masks = np.zeros((2, 8, 8, 1), "int32")
    loss = PixelCrossEntropy(255)
    found = of_layer(
        head,
        np.ones((2, 4, 4, 5), "float32"),
        lambda scores: loss(ops.convert_to_tensor(masks), scores),
    )
    # Two of upsampling, by which there is no gradient but of the scores.
    assert set(found) == {("product", True)}
    assert len(found) >= 3 + 2 * 2


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_in_a_step_the_networks_alone_have_the_default(dtype):
    model = VICRegL(
        small.backbone(),
        expander_units=(8, 6),
        local_expander_units=(4,),
        num_classes=5,
        dtype=dtype,
    )
    model.compile("sgd", run_eagerly=BACKEND == "tensorflow")
    data = small.batch(4, small.SIZES[:2])
    found = made_by_step(model, data)
    assert count(found, "convolution", full=True) == 0
    assert count(found, "convolution", full=False) > 0
    # Of both views at once: two layers and one, and twice as many backwards.
    assert count(found, "product", full=False) == 3 * 3
    # The objective's, and the online classifier's, forwards and by its weights.
    assert count(found, "product", full=True) > 2
