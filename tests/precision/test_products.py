"""`matmul` beside float64, and on machines that round what they multiply."""

import operator

import backend_tools
import keras
import numpy as np
import problems
import pytest
from keras import ops

from keras_vicregl.losses import vicregl_loss
from keras_vicregl.precision import (
    FullPrecisionDense,
    FullPrecisionPointwise,
    matmul,
)
from keras_vicregl.precision.backends.running import backend

BACKEND = backend_tools.BACKEND
ON_TENSORFLOW = pytest.mark.skipif(BACKEND != "tensorflow", reason="parts")
ON_TORCH = pytest.mark.skipif(BACKEND != "torch", reason="a switch")

SHAPES = {
    "matrices": ((5, 300), (300, 4)),
    "batches": ((2, 3, 5, 7), (2, 3, 7, 4)),
    "one for all": ((5, 7), (2, 3, 7, 4)),
    "all by one": ((2, 3, 5, 7), (7, 4)),
    "axes of one": ((2, 1, 5, 7), (3, 7, 4)),
}


def factors(name):
    rng = np.random.default_rng(0)
    shapes = SHAPES[name]
    return [rng.normal(size=shape).astype("float32") for shape in shapes]


def with_gradients(product, arrays, compiled=False):
    """The product and gradients of a weighted sum of it, as NumPy."""
    shape = np.matmul(*arrays).shape
    weights = np.random.default_rng(1).normal(size=shape).astype("float32")

    def fn(a, b):
        result = product(a, b)
        loss = ops.sum(ops.multiply(result, weights))
        return {"loss": loss, "product": result}

    result, gradients = backend_tools.value_and_grad(fn, arrays, compiled)
    return [result["product"], *gradients]


@pytest.mark.parametrize("name", SHAPES)
def test_on_a_cpu_it_is_the_product_to_the_last_bit(name):
    arrays = factors(name)
    actual = with_gradients(matmul, arrays)
    expected = with_gradients(ops.matmul, arrays)
    for ours, theirs in zip(actual, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_it_takes_arrays():
    a, b = factors("matrices")
    product = ops.convert_to_numpy(matmul(a, b))
    np.testing.assert_allclose(product, a @ b, rtol=1e-5, atol=1e-5)


@pytest.fixture
def rounding(monkeypatch):
    """A machine whose products are of factors in bfloat16, without XLA."""
    import tensorflow as tf

    exactly = tf.linalg.matmul

    def rounded(a, b, **kwargs):
        a, b = (tf.cast(tf.cast(x, "bfloat16"), "float32") for x in (a, b))
        return exactly(a, b, **kwargs)

    for module in (tf, tf.linalg):
        monkeypatch.setattr(module, "matmul", rounded)
    monkeypatch.setattr(backend, "devices_round", lambda: True)
    return rounded


def errors(results, expected):
    return [
        backend_tools.relative_error(one, other)
        for one, other in zip(results, expected, strict=True)
    ]


LAYERS = ("dense", "pointwise")


def layers_of(kind):
    """A layer, that of Keras with the same arguments, and a shape of inputs."""
    how = {"activation": "relu", "bias_initializer": "ones"}
    if kind == "dense":
        layer = FullPrecisionDense(3, **how)
        return layer, keras.layers.Dense.from_config(layer.get_config()), (4, 5)
    layer = FullPrecisionPointwise(3, 1, data_format="channels_last", **how)
    other = keras.layers.Conv2D.from_config(layer.get_config())
    return layer, other, (2, 4, 6, 5)


@ON_TENSORFLOW
class TestProductsOfParts:
    @pytest.mark.parametrize("name", SHAPES)
    def test_are_exact_where_factors_are_rounded(self, name, rounding):
        arrays = factors(name)
        expected = with_gradients(
            operator.matmul, [array.astype("float64") for array in arrays]
        )
        # Float32 keeps 6e-8 of each summand; bfloat16 4e-3 of each factor.
        assert max(errors(with_gradients(matmul, arrays), expected)) < 5e-7
        assert min(errors(with_gradients(rounding, arrays), expected)) > 3e-4

    def test_of_an_objective_change_nothing_there(self, rounding, monkeypatch):
        problem = problems.make(0, ((3, 3), (2, 4)), batch=8)

        def loss(*tensors):
            return vicregl_loss(
                tensors[:2], tensors[2:], problem.positions, feature_matches=4
            )

        rng = np.random.default_rng(0)
        arrays = [
            rng.normal(size=array.shape).astype("float32")
            for array in (*problem.embeddings, *problem.maps)
        ]

        def step():
            terms, gradients = backend_tools.value_and_grad(loss, arrays)
            return [*terms.values(), *gradients]

        in_parts = step()
        monkeypatch.setattr(backend, "devices_round", lambda: False)
        rounded = step()
        monkeypatch.undo()
        expected = step()
        assert max(errors(in_parts, expected)) < 1e-5
        assert max(errors(rounded, expected)) > 1e-3

    def test_survive_compilation(self, monkeypatch):
        monkeypatch.setattr(backend, "devices_round", lambda: True)
        arrays = factors("axes of one")
        expected = with_gradients(ops.matmul, arrays)
        actual = with_gradients(matmul, arrays, compiled=True)
        assert max(errors(actual, expected)) < 5e-7

    @pytest.mark.parametrize("kind", LAYERS)
    @pytest.mark.parametrize("eager", [True, False])
    def test_of_layers_have_gradients_by_variables(
        self, kind, eager, monkeypatch
    ):
        import tensorflow as tf

        layer, _, shape = layers_of(kind)
        x = np.random.default_rng(0).normal(size=shape).astype("float32")
        layer.build(shape)

        def gradients():
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(tf.square(layer(x)))
            variables = [v.value for v in layer.trainable_variables]
            return tape.gradient(loss, variables)

        expected = gradients()
        monkeypatch.setattr(backend, "devices_round", lambda: True)
        actual = gradients() if eager else tf.function(gradients)()
        assert max(errors(actual, expected)) < 5e-7

    @pytest.mark.parametrize("jit_compile", [False, True])
    def test_parts_have_eight_bits_and_add_up(self, jit_compile):
        import tensorflow as tf

        x = np.random.default_rng(0).normal(size=1000).astype("float32")
        x *= np.float32(10.0) ** np.arange(-30, 30).repeat(17)[:1000]
        x[:4] = 0.0, -0.0, 1.0, np.finfo("float32").max
        parts = tf.function(
            backend.parts, jit_compile=jit_compile, autograph=False
        )(tf.constant(x))
        for part in parts:
            short = tf.cast(tf.cast(part, "bfloat16"), "float32")
            np.testing.assert_array_equal(part, short)
        np.testing.assert_array_equal(np.sum(np.float64(parts), axis=0), x)

    def test_of_sizes_known_when_it_runs(self, rounding):
        import tensorflow as tf

        arrays = factors("one for all")

        @tf.function(
            input_signature=[
                tf.TensorSpec((None, 7)),
                tf.TensorSpec((None, None, 7, None)),
            ],
            autograph=False,
        )
        def gradients(a, b):
            with tf.GradientTape() as tape:
                tape.watch((a, b))
                loss = tf.reduce_sum(tf.square(matmul(a, b)))
            return tape.gradient(loss, (a, b))

        a, b = arrays
        upstream = 2 * np.matmul(a, b)
        to_a = np.einsum("xyim,xykm->ik", upstream, b)
        to_b = np.einsum("ik,xyim->xykm", a, upstream)
        assert max(errors(gradients(a, b), (to_a, to_b))) < 1e-6

    def test_are_made_where_there_is_a_device_that_rounds(
        self, monkeypatch, request
    ):
        import tensorflow as tf

        experimental = tf.config.experimental
        request.addfinalizer(backend.gpus_round.cache_clear)
        assert not backend.devices_round()

        def with_gpus(*capabilities):
            monkeypatch.setattr(
                tf.config,
                "get_visible_devices",
                lambda kind: capabilities if kind == "GPU" else [],
            )
            backend.gpus_round.cache_clear()
            return backend.devices_round()

        monkeypatch.setattr(
            experimental,
            "get_device_details",
            lambda device: device and {"compute_capability": device},
        )
        assert with_gpus((7, 5), (8, 0))
        assert not with_gpus((7, 5))
        assert not with_gpus({})  # not one of NVIDIA's
        monkeypatch.setattr(
            tf.config,
            "list_logical_devices",
            lambda kind: ["TPU:0"] if kind == "TPU" else [],
        )
        assert with_gpus()
        on = "tensor_float_32_execution_enabled"
        monkeypatch.setattr(experimental, on, lambda: False)
        assert not with_gpus((8, 0))


def _allow_by_library():
    import torch

    torch.backends.cuda.matmul.fp32_precision = "tf32"
    torch.backends.mkldnn.matmul.fp32_precision = "bf16"


def _allow_both_ways():
    import torch

    torch.set_float32_matmul_precision("medium")
    torch.backends.cuda.matmul.fp32_precision = "ieee"


def _set(precision):
    import torch

    torch.set_float32_matmul_precision(precision)


def switches():
    """As the older interface tells them, unless it refuses, and the newer."""
    import torch

    try:
        older = torch.get_float32_matmul_precision()
    except RuntimeError:
        older = None
    libraries = torch.backends.cuda, torch.backends.mkldnn
    return older, *(library.matmul.fp32_precision for library in libraries)


ALLOWED = {
    "high": lambda: _set("high"),
    "medium": lambda: _set("medium"),
    "by library": _allow_by_library,
    "both ways": _allow_both_ways,
}


@pytest.fixture(params=ALLOWED)
def allowed(request):
    ALLOWED[request.param]()
    yield switches()
    _set("highest")


@ON_TORCH
class TestSwitchOfPyTorch:
    def test_is_set_back(self, allowed):
        full = ("highest", "ieee", "ieee")
        with backend.full_precision():
            assert switches() == full
            with backend.full_precision():
                assert switches() == full
            assert switches() == full
        assert switches() == allowed

    def test_is_set_back_after_an_error(self, allowed):
        a, b = map(ops.convert_to_tensor, factors("matrices"))
        with pytest.raises(RuntimeError, match="shapes"):
            matmul(a, ops.transpose(b))
        assert switches() == allowed

    @pytest.mark.parametrize("name", SHAPES)
    def test_product_and_gradients_are_the_same(self, name, allowed):
        arrays = factors(name)
        actual = with_gradients(matmul, arrays)
        assert switches() == allowed
        _set("highest")
        expected = with_gradients(ops.matmul, arrays)
        # Sums in another order where factors are broadcast.
        assert max(errors(actual, expected)) < 5e-7

    def test_is_left_alone_where_nothing_was_allowed(self, monkeypatch):
        import torch

        def fail(precision):
            raise AssertionError

        monkeypatch.setattr(torch, "set_float32_matmul_precision", fail)
        with_gradients(matmul, factors("matrices"))


@ON_TORCH
def test_gradients_that_nothing_needs_are_not_made():
    a, b = map(ops.convert_to_tensor, factors("matrices"))
    _set("high")
    try:
        result = matmul(a, b.requires_grad_())
        result.sum().backward()
    finally:
        _set("highest")
    assert a.grad is None
    assert tuple(b.grad.shape) == tuple(b.shape)


@pytest.mark.parametrize("kind", LAYERS)
def test_layers_are_those_of_keras(kind):
    layer, other, shape = layers_of(kind)
    x = np.random.default_rng(0).normal(size=shape).astype("float32")
    expected = backend_tools.to_numpy(other(x))
    layer.build(shape)
    layer.set_weights(other.get_weights())
    actual = backend_tools.to_numpy(layer(x))
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)
