"""Transformers whose tokens become a feature map."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_vicregl import VICRegL
from keras_vicregl.checkpoints import export
from keras_vicregl.evaluation import extract_features
from keras_vicregl.models.backbones import as_backbone
from keras_vicregl.models.backbones.tokens import TokensToMap
from keras_vicregl.views import MultiView

SIZE = (32, 48)
GRID = (4, 6)


@keras.saving.register_keras_serializable(package="tests")
class SpecialTokens(keras.layers.Layer):
    """Puts a class and registers before the patches."""

    def __init__(self, count, **kwargs):
        super().__init__(**kwargs)
        self.count = count

    def build(self, shape):
        self.tokens = self.add_weight(shape=(1, self.count, shape[-1]))

    def call(self, patches):
        tokens = ops.broadcast_to(
            ops.convert_to_tensor(self.tokens),
            (ops.shape(patches)[0], self.count, patches.shape[-1]),
        )
        return ops.concatenate([tokens, patches], axis=1)

    def get_config(self):
        return {**super().get_config(), "count": self.count}


def transformer(special=1, classes=None, size=SIZE, patch=8):
    """One block on the patches of images."""
    images = keras.Input((*size, 3))
    x = keras.layers.Conv2D(8, patch, patch, name="patches")(images)
    count = (size[0] // patch) * (size[1] // patch)
    x = keras.layers.Reshape((count, 8))(x)
    if special:
        x = SpecialTokens(special)(x)
    y = keras.layers.LayerNormalization()(x)
    x = keras.layers.Add(name="block")(
        [x, keras.layers.MultiHeadAttention(2, 4)(y, y)]
    )
    x = keras.layers.LayerNormalization(name="tokens")(x)
    if classes:
        x = keras.layers.Lambda(lambda tokens: tokens[:, 0])(x)
        x = keras.layers.Dense(classes)(x)
    return keras.Model(images, x, name="vit")


def images(count=2, size=SIZE):
    rng = np.random.default_rng(0)
    return rng.normal(size=(count, *size, 3)).astype("float32")


def predicted(model, batch):
    return ops.convert_to_numpy(model(batch, training=False))


@pytest.mark.parametrize("special", [0, 1, 5])
def test_patches_lie_where_they_are_in_the_image(special):
    model = transformer(special)
    backbone = as_backbone(model, patch_size=8, special_tokens=special)
    assert backbone.output_shape == (None, *GRID, 8)
    tokens = predicted(model, images())[:, special:]
    maps = predicted(backbone, images())
    np.testing.assert_array_equal(maps, tokens.reshape(2, *GRID, 8))


def test_of_a_classifier_the_last_tokens_are_taken():
    """Not the map of the patches, which no block has seen."""
    model = transformer(classes=3)
    backbone = as_backbone(model, patch_size=8)
    tokens = keras.Model(model.inputs, model.get_layer("tokens").output)
    np.testing.assert_array_equal(
        predicted(backbone, images()),
        predicted(tokens, images())[:, 1:].reshape(2, *GRID, 8),
    )
    earlier = as_backbone(model, "block", patch_size=8)
    assert earlier.output_shape == (None, *GRID, 8)
    patches = as_backbone(model, "patches")
    assert patches.output_shape == (None, *GRID, 8)


def test_what_a_model_says_of_its_patches_is_taken(recwarn):
    model = transformer(5)
    model.patch_size = 8
    assert as_backbone(model).output_shape == (None, *GRID, 8)
    assert not recwarn


def test_a_guess_is_told():
    with pytest.warns(UserWarning, match=r"5 that stand for no patch.* 8 x 8"):
        backbone = as_backbone(transformer(5))
    assert backbone.output_shape == (None, *GRID, 8)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"patch_size": 16}, "25 tokens for images of 32 x 48.* 6 patches of"),
        (
            {"patch_size": 8, "special_tokens": 2},
            "24 patches of 8 x 8 px and 2 before them",
        ),
        ({"special_tokens": 4}, "no square patches with special_tokens=4"),
    ],
)
def test_tokens_that_are_not_so_many(arguments, message):
    model = transformer()
    if "patch_size" in arguments and "special_tokens" not in arguments:
        arguments = {**arguments, "special_tokens": 1}
    with pytest.raises(ValueError, match=message):
        as_backbone(model, **arguments)


def test_of_a_feature_map_there_are_no_tokens():
    model = transformer()
    with pytest.raises(ValueError, match=r"are of tokens.*\(None, 4, 6, 8\)"):
        as_backbone(model, "patches", patch_size=8)


def test_images_of_any_size():
    inputs = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(4, 8, 8)(inputs)
    x = SpecialTokens(1)(keras.layers.Reshape((-1, 4))(x))
    model = keras.Model(inputs, x)
    with pytest.raises(ValueError, match=r"any size.* pass patch_size=16"):
        as_backbone(model)
    backbone = as_backbone(model, patch_size=8)
    for size in (SIZE, (16, 40)):
        found = predicted(backbone, images(size=size))
        expected = predicted(model, images(size=size))[:, 1:]
        np.testing.assert_array_equal(found, expected.reshape(found.shape))
        assert found.shape[1:3] == (size[0] // 8, size[1] // 8)


def test_the_layer_checks_what_it_is_given():
    layer = TokensToMap((8, 8), special_tokens=1)
    with pytest.raises(ValueError, match=r"4 x 6 patches.*24 tokens are not"):
        layer.compute_output_shape([(2, 24, 8), (2, *SIZE, 3)])


@pytest.mark.parametrize("remat", [False, True])
def test_pretraining_goes_on_and_what_comes_of_it_is_used(remat, tmp_path):
    views = MultiView.scenes(size=SIZE, on="device")
    backbone = as_backbone(transformer(5), patch_size=8)
    before = backbone.get_weights()
    model = VICRegL(
        backbone,
        expander_units=(8,),
        local_expander_units=(8,),
        num_matches=(4, 4),
        views=views,
        remat=remat,
    )
    model.compile(keras.optimizers.SGD(0.1))
    pixels = np.random.default_rng(1).integers(0, 256, (4, 40, 60, 3), "uint8")
    (x,) = views.inputs(pixels, [(0, index) for index in range(4)])
    model.train_on_batch(x)
    assert all(
        not np.array_equal(one, other)
        for one, other in zip(before, backbone.get_weights(), strict=True)
        # What a token of a register is worth, its keys' bias is not.
        if other.shape != (2, 4)
    )
    cut = pixels[:, :32, :48]
    features = extract_features(backbone, {"images": cut})
    export(backbone, tmp_path / "vit.keras", preprocessing=True)
    served = keras.saving.load_model(tmp_path / "vit.keras")
    # As in test_export.py: float32 through a block.
    np.testing.assert_allclose(
        predicted(served, cut), features["features"], rtol=1e-5, atol=1e-5
    )
