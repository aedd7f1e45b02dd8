"""What does not fit each other is said before the first step, or once."""

import warnings

import keras
import numpy as np
import pytest
import small

from keras_vicregl import VICRegL
from keras_vicregl.data import ArrayBatches
from keras_vicregl.models import WarnOnSlowNorms
from keras_vicregl.models.backbones import ResNet, as_backbone
from keras_vicregl.training import pretrain
from keras_vicregl.views import MultiView, ViewGroup

UNITS = {"expander_units": (8,), "local_expander_units": (8,)}
GLOBAL = {"expander_units": (8,), "alpha": 1.0}  # where matches do not matter
FEW = {"num_matches": (4, 2)}
BATCH, _ = small.batch(count=4)


def with_momentum(momentum, size=None):
    """Like those of `keras.applications`, with norms in a model of its own."""
    inner = keras.Sequential(
        [
            keras.Input((None, None, 8)),
            keras.layers.BatchNormalization(momentum=momentum),
            keras.layers.BatchNormalization(momentum=0.1),
        ]
    )
    images = keras.Input((size, size, 3))
    x = keras.layers.Conv2D(8, 8, 8)(images)
    return keras.Model(images, inner(x), name="foreign")


class Batches(keras.utils.PyDataset):
    def __init__(self, start=(0, 0), steps=2):
        super().__init__()
        self.steps = steps

    def __len__(self):
        return self.steps

    def __getitem__(self, index):
        return (BATCH,)


def told(function):
    """What is said in warnings of this package, each of them a line."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        function()
    return [str(each.message) for each in found if each.category is UserWarning]


def test_slow_norms_are_said_before_training_with_what_mends_them():
    backbone = with_momentum(0.999)
    model = small.compiled(VICRegL(backbone, **GLOBAL))
    fit = lambda: model.fit(Batches(steps=1), epochs=4, verbose=0)  # noqa: E731
    (message,) = told(fit)
    assert message.startswith(
        "1 batch normalisation of 'foreign' has a momentum of up to 0.999: "
        "after the 4 steps of this training, 0.999**4 = 1 of what"
    )
    # 0.56^4 is 0.098 of what there was.
    assert "as_backbone(model, batch_norm_momentum=0.56)" in message
    assert message.endswith("or train for 2302 steps.")
    quick = as_backbone(backbone, batch_norm_momentum=0.56)
    assert quick is backbone
    assert told(fit) == []


@pytest.mark.parametrize(
    ("momentum", "steps", "slow"),
    [
        (0.999, 44, True),
        (0.999, 2301, True),
        (0.999, 2302, False),
        (0.99, 229, True),
        (0.99, 230, False),
        (0.9, 22, False),
        (1.0, 10**6, True),
    ],
)
def test_how_many_steps_are_enough(momentum, steps, slow):
    callback = WarnOnSlowNorms(steps)
    callback.set_model(with_momentum(momentum))
    assert len(told(callback.on_train_begin)) == slow
    assert told(callback.on_train_begin) == []  # once


def test_what_is_not_trained_is_not_slow():
    backbone = with_momentum(0.999)
    backbone.trainable = False
    callback = WarnOnSlowNorms(44)
    callback.set_model(backbone)
    assert told(callback.on_train_begin) == []


def test_pretrain_counts_the_steps_of_the_whole_training(tmp_path):
    def run(epochs, momentum):
        model = VICRegL(with_momentum(momentum), **GLOBAL)
        small.compiled(model)
        return told(
            lambda: pretrain(
                model, Batches, epochs=epochs, output=tmp_path, verbose=0
            )
        )

    # 0.4^2 is 0.16, 0.4^4 is 0.03; the second goes on after the first.
    (message,) = run(1, 0.4)
    assert "the 2 steps of this training, 0.4**2 = 0.16 of" in message
    assert run(2, 0.4) == []


def test_momentum_is_saved(tmp_path):
    backbone = as_backbone(with_momentum(0.999), batch_norm_momentum=0.8)
    backbone.save(tmp_path / "backbone.keras")
    again = keras.saving.load_model(tmp_path / "backbone.keras")
    assert {
        layer.momentum
        for layer in again._flatten_layers()
        if isinstance(layer, keras.layers.BatchNormalization)
    } == {0.8}
    with pytest.raises(ValueError, match=r"batch_norm_momentum=1\.0"):
        as_backbone(backbone, batch_norm_momentum=1.0)


def device_views(*sizes):
    return MultiView(
        [ViewGroup(size, 2 - index) for index, size in enumerate(sizes)],
        on="device",
    )


def test_a_backbone_for_other_views_is_refused_when_the_model_is_built():
    backbone = with_momentum(0.9, size=32)
    VICRegL(backbone, views=device_views(32), **UNITS)
    message = r"'foreign' takes images of 32 x 32 x 3 alone.*views of 16 x 24"
    with pytest.raises(ValueError, match=message):
        VICRegL(backbone, views=device_views(32, (16, 24)), **UNITS)
    grey = keras.Sequential(
        [keras.Input((32, 32, 1)), keras.layers.Conv2D(2, 2)]
    )
    with pytest.raises(ValueError, match=r"x 1 alone.*views of 32 x 32 x 3"):
        VICRegL(grey, views=device_views(32), **UNITS)


def test_a_backbone_for_other_views_is_refused_at_the_first_batch():
    model = small.compiled(VICRegL(with_momentum(0.9, size=32), **UNITS, **FEW))
    message = r"32 x 32 x 3 alone.*'views'\[2\] of 16 x 24 x 3. Build it with"
    with pytest.raises(ValueError, match=message):
        model(BATCH)
    with pytest.raises(ValueError, match=message):
        model.train_on_batch(BATCH)
    grey = ResNet((1,), (4,), strides=(1,), input_shape=(None, None, 1))
    with pytest.raises(ValueError, match=r"any x 1 alone.*'views'\[0\].* x 3"):
        VICRegL(grey, **UNITS, **FEW)(BATCH)
    two = {
        key: value[:2] for key, value in BATCH.items() if key != "source_size"
    }
    model(two)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        # Maps of 4 x 4, 4 x 4 and 2 x 3 positions.
        ({"num_matches": (16, 6)}, None),
        ({"num_matches": None, "feature_matches": None}, None),
        (
            {},
            "num_matches[0]=20 exceeds the 16 positions of the map of vi",
        ),
        (
            {"num_matches": (16, 7)},
            "num_matches[1]=7 exceeds the 6 positions of the map of view 2",
        ),
        (
            {"num_matches": (4, 2), "feature_matches": 17},
            "feature_matches[0]=17 exceeds the 16 positions of the map of view "
            "0; feature_matches[1]=17 exceeds the 6 positions",
        ),
        ({"num_matches": 20, "local_criteria": ("feature",)}, None),
        ({"num_matches": 20, "alpha": 1.0}, None),
    ],
)
def test_more_matches_than_positions_are_said_once(options, expected):
    model = VICRegL(with_momentum(0.1), **UNITS, **options)
    small.compiled(model)
    found = told(
        lambda: model.fit(
            Batches(), verbose=0, callbacks=[WarnOnSlowNorms(10**6)]
        )
    )
    assert len(found) == (expected is not None)
    if expected:
        assert found[0].startswith(expected)
        assert "all of them are matched" in found[0]


def test_counts_by_view_are_those_of_their_views():
    """The second count is for small views alone, of which there are none."""
    model = VICRegL(
        small.backbone(), match_counts="by_view", num_matches=(4, 99), **UNITS
    )
    small.compiled(model)
    x, _ = small.batch(count=4, sizes=((32, 32), (32, 32)))
    assert told(lambda: model.train_on_batch(x)) == []


def test_views_made_in_the_model_are_counted_too():
    images = {"images": np.zeros((4, 48, 48, 3), "uint8")}
    views = device_views(16)
    model = VICRegL(small.backbone(), views=views, **UNITS)
    small.compiled(model)
    (batch,) = ArrayBatches(images, views, batch_size=4, seed=0)[0]
    (message,) = told(lambda: model.train_on_batch(batch))
    assert "num_matches[0]=20 exceeds the 4 positions" in message
