import keras
import numpy as np
import pytest
import seeded_weights

from keras_vicregl.models import backbones
from keras_vicregl.models.backbones import StateDictEntry
from keras_vicregl.models.backbones.state_dict import layer_entries


@pytest.mark.parametrize(
    ("axes", "theirs", "back"),
    [
        ((3, 2, 0, 1), (4, 3, 1, 2), "oihw->hwio"),  # Convolution.
        ((2, 3, 0, 1), (4, 1, 5, 6), "cmhw->hwcm"),  # Depthwise convolution.
        ((1, 0), (3, 2), "oi->io"),  # Linear.
        ((), (3,), "c->c"),
    ],
)
def test_round_trip_is_exact_bit_for_bit(axes, theirs, back):
    # All kinds of bits, subnormal numbers and infinities too; no NaN.
    bits = np.random.default_rng(0).integers(0, 2**32, theirs, "uint32")
    value = np.nan_to_num(bits.view("float32"))
    value.flat[:3] = np.float32(1e-45), -np.inf, -0.0
    expected = np.einsum(back, value)

    variable = keras.Variable(np.zeros(expected.shape, "float32"))
    entry = StateDictEntry(variable, axes)
    assert entry.shape == theirs
    entry.assign(value)
    assert same_bits(keras.ops.convert_to_numpy(variable.value), expected)
    assert same_bits(entry.to_torch(), value)
    assert entry.to_torch().flags.c_contiguous


def same_bits(left, right):
    return left.shape == right.shape and left.tobytes() == right.tobytes()


def test_layers_give_pytorchs_names_in_its_order():
    norm = [
        "weight",
        "bias",
        "running_mean",
        "running_var",
        "num_batches_tracked",
    ]
    for layer, names in (
        (keras.layers.Conv2D(4, 3), ["weight", "bias"]),
        (keras.layers.Conv2D(4, 3, use_bias=False), ["weight"]),
        (keras.layers.DepthwiseConv2D(3), ["weight", "bias"]),
        (keras.layers.Dense(4), ["weight", "bias"]),
        (keras.layers.LayerNormalization(), ["weight", "bias"]),
        (keras.layers.BatchNormalization(), norm),
        (backbones.LayerScale(), ["gamma"]),
    ):
        with seeded_weights.no_weights():
            layer.build((None, 8, 8, 3))
        assert [name for name, _ in layer_entries(layer)] == names


def test_counter_has_no_variable():
    layer = keras.layers.BatchNormalization()
    layer.build((None, 3))
    counter = dict(layer_entries(layer))["num_batches_tracked"]
    assert counter.shape == ()
    counter.assign(np.int64(1234))  # Keras has no use for it.
    assert counter.to_torch() == np.zeros((), "int64")
    assert counter.to_torch().dtype == np.int64


def test_other_shapes_are_refused():
    entry = StateDictEntry(keras.Variable(np.zeros((1, 2, 3, 4))), (3, 2, 0, 1))
    with pytest.raises(ValueError, match=r"\(1, 2, 3, 4\).*\(4, 3, 1, 2\)"):
        entry.assign(np.zeros((1, 2, 3, 4)))
    with pytest.raises(ValueError, match=r"a counter takes shape \(\)"):
        StateDictEntry(None).assign(np.zeros(2))


def test_other_layers_and_models_are_refused():
    with pytest.raises(TypeError, match=r"`layer` must be.*Embedding"):
        list(layer_entries(keras.layers.Embedding(2, 3)))
    model = keras.Sequential([keras.Input((2,))])
    with pytest.raises(TypeError, match=r"`model` must be.*Sequential"):
        backbones.state_dict_layout(model)
