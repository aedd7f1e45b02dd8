"""Recomputing a backbone changes its memory, and nothing else."""

import keras
import numpy as np
import pytest
import small
from seeded_weights import no_weights

from keras_vicregl import VICRegL, backbone
from keras_vicregl.models.backbones import StochasticDepth
from keras_vicregl.models.recompute import Recomputed


def body():
    """Two residual blocks with both kinds of layers that have a state."""
    inputs = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(8, 8, 8, name="stem")(inputs)
    for block in range(2):
        branch = keras.layers.Conv2D(8, 3, padding="same")(x)
        branch = keras.layers.BatchNormalization(momentum=0.9)(branch)
        branch = keras.layers.ReLU()(branch)
        branch = keras.layers.Conv2D(8, 1)(branch)
        branch = StochasticDepth(0.5, seed=block)(branch)
        x = keras.layers.Add(name=f"block{block}")([x, branch])
    return keras.Model(inputs, x)


def trained(remat):
    """Logs and all state after two steps on views of two sizes."""
    model = small.seeded(
        VICRegL(
            body(),
            expander_units=(16, 8),
            local_expander_units=(8,),
            num_matches=(4, 2),
            remat=remat,
        )
    )
    small.compiled(model, keras.optimizers.SGD(0.01))
    x, _ = small.batch()
    logs = [model.train_on_batch(x, return_dict=True) for _ in range(2)]
    depths = [layer for layer in model.backbone.layers if "depth" in layer.name]
    seeds = [
        keras.ops.convert_to_numpy(layer.seed_generator.state)
        for layer in depths
    ]
    return logs, model.get_weights(), seeds


def test_weights_statistics_and_seeds_are_the_same():
    logs, weights, seeds = trained(remat=False)
    new_logs, new_weights, new_seeds = trained(remat=True)
    for before, after in zip(logs, new_logs, strict=True):
        for name, value in before.items():
            # Fused and so rounded in another way.
            np.testing.assert_allclose(after[name], value, rtol=1e-4, atol=1e-6)
    for before, after in zip(weights, new_weights, strict=True):
        np.testing.assert_allclose(after, before, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(new_seeds, seeds)
    # Three views in each of two steps.
    assert [int(seed[1]) for seed in seeds] == [6, 6]


def test_published_backbones_are_cut_into_their_blocks():
    with no_weights():
        resnet, convnext = backbone("resnet50"), backbone("convnext_tiny")
    # A ResNet's stem is a part, a ConvNeXt's goes with the first block.
    for model, count in (
        (resnet, 1 + 3 + 4 + 6 + 3),
        (convnext, 3 + 3 + 9 + 3),
    ):
        parts = Recomputed(model).parts
        assert len(parts) == count
        found = {id(v) for part in parts for v in part.variables}
        assert found == {
            id(v) for layer in model.layers for v in layer.variables
        }


def test_a_subclassed_backbone_is_one_part():
    class Subclassed(keras.Model):
        def __init__(self):
            super().__init__()
            self.convolution = keras.layers.Conv2D(4, 3)

        def call(self, x, training=False):
            return self.convolution(x) + float(training)

    model = Subclassed()
    x = keras.ops.ones((1, 8, 8, 3))
    expected = model(x, training=True)
    recomputed = Recomputed(model)
    assert len(recomputed.parts) == 1
    np.testing.assert_array_equal(
        keras.ops.convert_to_numpy(recomputed(x)),
        keras.ops.convert_to_numpy(expected),
    )


def test_the_option_is_saved():
    model = VICRegL(
        small.backbone(),
        expander_units=(8,),
        local_expander_units=(4,),
        remat=True,
    )
    again = VICRegL.from_config(model.get_config())
    assert again.remat and again._recomputed is not None
    assert not VICRegL(small.backbone(), expander_units=(8,), alpha=1).remat


def test_losses_of_activities_would_be_lost():
    inputs = keras.Input((8, 8, 3))
    outputs = keras.layers.Conv2D(
        4, 3, activity_regularizer="l2", name="costly"
    )(inputs)
    with pytest.raises(ValueError, match=r"costly has one. Use `remat=False`"):
        VICRegL(keras.Model(inputs, outputs), remat=True)
