"""Backbones made elsewhere, trained as they come."""

import keras
import keras_cv
import numpy as np
import pytest
import small

from keras_vicregl import VICRegL
from keras_vicregl.models.backbones import as_backbone


def from_keras_cv():
    return keras_cv.models.ResNetBackbone(
        stackwise_filters=[8, 8, 16],
        stackwise_blocks=[1, 1, 1],
        stackwise_strides=[1, 2, 2],
        include_rescaling=False,
    )


def from_keras_applications():
    model = keras.applications.MobileNetV2(
        input_shape=(64, 64, 3), weights=None, alpha=0.35
    )
    return as_backbone(model, "block_5_add")


def made_at_home():
    images = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(8, 4, 4, activation="gelu")(images)
    x = keras.layers.LayerNormalization()(x)
    return keras.Model(images, keras.layers.Conv2D(16, 3, 2)(x))


@pytest.mark.parametrize(
    "make", [from_keras_cv, from_keras_applications, made_at_home]
)
def test_three_steps_lower_the_objective(make):
    keras.utils.set_random_seed(0)
    backbone = make()
    model = VICRegL(
        backbone, expander_units=(16, 16), local_expander_units=(16, 16)
    )
    small.compiled(model, keras.optimizers.SGD(0.01))
    x, _ = small.batch(sizes=((64, 64), (64, 64)))
    before = [keras.ops.convert_to_numpy(w) for w in backbone.trainable_weights]
    losses = [model.train_on_batch(x, return_dict=True)["loss"]]
    for _ in range(2):
        model.reset_metrics()
        losses.append(model.train_on_batch(x, return_dict=True)["loss"])
    # The same batch each time, with a rate that is small for it.
    assert losses[0] > losses[1] > losses[2]
    for old, new in zip(before, backbone.trainable_weights, strict=True):
        assert np.any(old != keras.ops.convert_to_numpy(new)), new.path
