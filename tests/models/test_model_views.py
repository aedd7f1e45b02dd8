"""A model that makes its views itself."""

import keras
import numpy as np
import pytest
import small
from backend_tools import value
from keras import ops

from keras_vicregl import VICRegL
from keras_vicregl.views import MultiView, ViewGroup
from keras_vicregl.views.rendering.device import device_views

HEADS = {"expander_units": (24, 16), "local_expander_units": (16, 8)}
GROUPS = [ViewGroup(24, 2), ViewGroup((16, 24), 1)]
SOURCE = (40, 32)


def recipe(**options):
    return MultiView(GROUPS, on="device", **options)


def build(**options):
    return small.seeded(VICRegL(small.backbone("batch"), **HEADS, **options))


def batch_of(views, count=6):
    rng = np.random.default_rng(0)
    seeds = np.stack([np.zeros(count, int), np.arange(count)], axis=-1)
    return {
        "images": rng.integers(0, 256, (count, *SOURCE, 3), dtype=np.uint8),
        "parameters": views.parameters(seeds, SOURCE),
        "source_size": np.tile(np.float32(SOURCE), (count, 1)),
    }


@pytest.fixture(scope="module")
def model():
    return build(views=recipe(), max_distance=0.3, max_distance_unit="diagonal")


def test_a_model_sees_its_views_as_if_they_had_come_with_the_data(model):
    batch = batch_of(model.views)
    paths = keras.tree.flatten(batch)

    def both(*values):
        batch_ = keras.tree.pack_sequence_as(batch, values)
        views, maps = device_views(
            model.views, batch_["images"], batch_["parameters"]
        )
        ready = {"views": views, "view_to_source": maps}
        return model(batch_), model(ready)

    outputs, expected = value(both, paths)
    assert len(outputs["positions"]) == 3
    keras.tree.assert_same_structure(outputs, expected)
    for one, other in zip(
        keras.tree.flatten(outputs), keras.tree.flatten(expected), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


# Under JAX, tests/data/test_array_batches.py trains.
@pytest.mark.skipif(keras.backend.backend() == "jax", reason="compiles long")
def test_a_step_of_training_changes_all_weights(model):
    trained = small.compiled(VICRegL.from_config(model.get_config()))
    before = [ops.convert_to_numpy(w) for w in trained.trainable_variables]
    trained.fit(batch_of(model.views), batch_size=6, verbose=0)
    for old, new in zip(before, trained.trainable_variables, strict=True):
        # Biases before a batch normalisation have no effect.
        if not new.path.endswith("bias"):
            assert np.any(old != ops.convert_to_numpy(new)), new.path


def test_a_keras_file_keeps_them(model, tmp_path):
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert isinstance(loaded.views, MultiView)
    assert loaded.views.get_config() == model.views.get_config()
    options, expected = loaded.get_config(), model.get_config()
    del options["backbone"], expected["backbone"]
    assert options == expected
    for one, other in zip(loaded.weights, model.weights, strict=True):
        np.testing.assert_array_equal(
            ops.convert_to_numpy(one), ops.convert_to_numpy(other)
        )


class MadeViews(keras.layers.Layer):
    """Traced, and not run, when it is given symbols."""

    def __init__(self, views):
        super().__init__(autocast=False)
        self.views = views

    def call(self, batch):
        return device_views(self.views, batch["images"], batch["parameters"])


def test_views_have_the_dtype_of_the_recipe_and_maps_float32():
    views = recipe(dtype="mixed_bfloat16")
    symbols = keras.tree.map_structure(
        lambda array: keras.KerasTensor((None, *array.shape[1:]), array.dtype),
        batch_of(views),
    )
    made, maps = MadeViews(views)(symbols)
    assert [(view.shape, view.dtype) for view in made] == [
        ((None, 24, 24, 3), "bfloat16"),
        ((None, 24, 24, 3), "bfloat16"),
        ((None, 16, 24, 3), "bfloat16"),
    ]
    assert [(each.shape, each.dtype) for each in maps] == [
        ((None, 2, 3), "float32")
    ] * 3


def test_views_of_the_host_are_refused():
    with pytest.raises(ValueError, match=r"`views` must be.*on='device'"):
        build(views=MultiView(GROUPS))


def test_a_batch_without_parameters_is_refused(model):
    images = batch_of(model.views)["images"]
    with pytest.raises(ValueError, match=r"keys \['images'\]"):
        model({"images": images})


def test_images_for_a_model_that_makes_no_views_are_refused(model):
    batch = batch_of(model.views)
    with pytest.raises(ValueError, match=r"VICRegL\(views="):
        build()(batch)
