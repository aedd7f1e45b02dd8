import keras
import numpy as np
import pytest
from keras import ops

from keras_vicregl.models import expander
from keras_vicregl.models.plumbing import apply_head


@pytest.mark.parametrize("normalization", ["batch", "layer"])
def test_equals_the_perceptron_written_out(normalization):
    rng = np.random.default_rng(0)
    head = expander(6, (8, 5), normalization)
    for variable in head.variables:
        variable.assign(rng.uniform(0.5, 1.5, tuple(variable.shape)))
    x = rng.normal(size=(7, 6)).astype("float32")
    actual = keras.ops.convert_to_numpy(head(x, training=True))

    kernel, bias, gamma, beta = (
        keras.ops.convert_to_numpy(v).astype("float64")
        for v in head.trainable_variables[:4]
    )
    hidden = x @ kernel + bias
    axis = 0 if normalization == "batch" else 1
    hidden = hidden - hidden.mean(axis=axis, keepdims=True)
    # PyTorch's epsilon, which is not Keras' default of 1e-3.
    hidden = hidden / np.sqrt(np.mean(hidden**2, axis, keepdims=True) + 1e-5)
    hidden = np.maximum(hidden * gamma + beta, 0)
    last = keras.ops.convert_to_numpy(head.trainable_variables[4])
    # float32 sums of six to eight terms.
    np.testing.assert_allclose(actual, hidden @ last, rtol=1e-5, atol=1e-5)


def test_the_last_layer_is_linear_and_has_no_bias():
    head = expander(6, (8, 8, 5), "batch")
    kinds = [type(layer).__name__ for layer in head.layers]
    block = ["Dense", "BatchNormalization", "ReLU"]
    assert kinds == [*block, *block, "Dense"]
    assert [layer.use_bias for layer in head.layers[::3]] == [True, True, False]
    assert head.layers[1].momentum == 0.9


def test_starts_uniform_within_one_over_the_root_of_the_fan_in():
    keras.utils.set_random_seed(0)
    head = expander(64, (256, 32), "layer")
    for values, fan_in in (
        (head.layers[0].kernel, 64),
        (head.layers[0].bias, 64),
        (head.layers[-1].kernel, 256),
    ):
        values = keras.ops.convert_to_numpy(values)
        limit = fan_in**-0.5
        assert np.abs(values).max() <= limit
        # The standard deviation of a uniform distribution; 256 and more draws
        # leave it an error of about 3 %.
        np.testing.assert_allclose(values.std(), limit / 3**0.5, rtol=0.12)


@pytest.mark.parametrize("units", [(), (8, 0), (8, -1), (2.5,)])
def test_units_that_are_not_widths_are_refused(units):
    with pytest.raises(ValueError, match="units"):
        expander(4, units)


def test_an_unknown_normalization_is_refused():
    with pytest.raises(ValueError, match=r"normalization.*'group'"):
        expander(4, (8, 8), "group")


@pytest.mark.parametrize("normalization", ["batch", "layer"])
def test_views_together_are_as_views_one_by_one(normalization):
    # Linear layers see all rows at once, norms those of a view: values, what
    # moving averages become, and gradients, for views of different sizes.
    rng = np.random.default_rng(0)
    batches = [
        ops.convert_to_tensor(rng.normal(size, 2, (size, 4)), "float32")
        for size in (6, 6, 3)
    ]
    one, other = (expander(4, (8, 8, 3), normalization) for _ in range(2))
    other.set_weights(one.get_weights())
    desired = [one(batch, training=True) for batch in batches]
    actual = apply_head(other, batches, training=True, stack=False)
    for theirs, ours in zip(desired, actual, strict=True):
        np.testing.assert_allclose(
            ops.convert_to_numpy(ours), ops.convert_to_numpy(theirs), atol=1e-5
        )
    for theirs, ours in zip(
        one.get_weights(), other.get_weights(), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    in_use = [one(batch, training=False) for batch in batches]
    for theirs, ours in zip(
        in_use,
        apply_head(other, batches, training=False, stack=False),
        strict=True,
    ):
        np.testing.assert_allclose(
            ops.convert_to_numpy(ours), ops.convert_to_numpy(theirs), atol=1e-5
        )


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="of graphs of TensorFlow"
)
def test_views_together_whose_sizes_are_not_known_before_they_come():
    import tensorflow as tf

    head = expander(4, (8, 3))
    before = head.get_weights()
    rng = np.random.default_rng(0)
    views = [rng.normal(size=(n, 4)).astype("float32") for n in (5, 3)]
    desired = [ops.convert_to_numpy(head(x, training=True)) for x in views]
    head.set_weights(before)
    together = tf.function(
        lambda *views: apply_head(head, views, training=True, stack=False),
        input_signature=[tf.TensorSpec((None, 4))] * 2,
    )
    for ours, theirs in zip(together(*views), desired, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
