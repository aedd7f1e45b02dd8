"""What Keras takes and VICRegL has no use for is refused by name."""

import functools

import keras
import numpy as np
import pytest
import small

from keras_vicregl import VICRegL
from keras_vicregl.data import load, view_batches
from keras_vicregl.views import MultiView

IMAGES = np.zeros((8, 16, 16, 3), "uint8")
X, Y = small.batch(sizes=((16, 16),) * 2)


def make_model():
    return VICRegL(small.backbone(), alpha=1, expander_units=(4,))


@pytest.fixture(scope="module")
def model():
    return small.compiled(make_model())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"loss": "mse"}, "`loss` .*='mse'.* ignored: leave it out"),
        ({"loss_weights": [1.0]}, "`loss_weights` .*alpha, invariance"),
        ({"metrics": ["accuracy"]}, "`metrics` .*num_classes.*Evaluation"),
        ({"weighted_metrics": ["mse"]}, "`weighted_metrics` .*Evaluation"),
    ],
)
def test_compile_says_that_there_is_an_objective(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_model().compile("sgd", **arguments)


def test_no_steps_make_no_execution():
    with pytest.raises(ValueError, match=r"`steps_per_execution` must be .*=0"):
        make_model().compile("sgd", steps_per_execution=0)


def test_a_loss_that_is_given_by_place_is_one_too():
    with pytest.raises(ValueError, match="`loss` of `compile`"):
        make_model().compile("sgd", "mse")


def test_a_file_still_holds_what_was_compiled(model, tmp_path):
    """Without a warning of Keras that `compile` is not its own."""
    model.compile("adam", metrics=[])
    model.optimizer.build(model.trainable_variables)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    small.compiled(model)
    assert isinstance(loaded.optimizer, keras.optimizers.Adam)
    assert loaded.optimizer.built


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"class_weight": {0: 1.0}}, "`class_weight` of `fit`.*subset"),
        ({"sample_weight": np.ones(8)}, "`sample_weight` of `fit`.*leave"),
        ({"validation_data": load(IMAGES)}, "`validation_data` must be batch"),
        ({"validation_data": (IMAGES, Y)}, "`validation_data` must be batch"),
        ({"validation_data": (X, Y, np.ones(8))}, "must not have sample w"),
        ({"epochs": 0}, "`epochs` must be an integer of at least 1.*=0"),
        ({"epochs": -2}, "`epochs` must be .*epochs=-2"),
        ({"epochs": 1.5}, r"`epochs` must be .*epochs=1\.5"),
        ({"initial_epoch": -1}, "`initial_epoch` must be .* at least 0"),
        ({"initial_epoch": 0.5}, "`initial_epoch` must be an integer"),
        ({"steps_per_epoch": 0}, "`steps_per_epoch` must be .*=0"),
        ({"batch_size": 0}, "`batch_size` must be an integer of at least 1"),
        ({"validation_steps": 2}, "`validation_steps` .*pass validation_data"),
        ({"validation_data": X, "validation_steps": 0}, "`validation_steps` m"),
        ({"validation_batch_size": 2}, "nothing to validate on"),
    ],
)
def test_fit_says_what_to_do(model, arguments, message):
    with pytest.raises(ValueError, match=message):
        model.fit(X, **arguments)


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (load(IMAGES), "ImageSource arrays: 8 images.*no views"),
        (IMAGES, r"an array of shape \(8, 16, 16, 3\)"),
        ([IMAGES, IMAGES], "a list of 2"),
        ({"images": IMAGES}, r"the keys \['images'\]"),
        ("photographs/", "'photographs/', a name or a path"),
        (functools.partial(view_batches, IMAGES), "a function, partial"),
        (None, "None"),
        (iter([(X,)]), "a list_iterator"),
        ({1, 2}, "a set"),
    ],
)
@pytest.mark.parametrize("method", ["fit", "evaluate", "predict"])
def test_data_without_views_says_how_to_make_them(model, method, data, found):
    with pytest.raises(ValueError, match=f"`x` must .*{found}.*view_batches"):
        getattr(model, method)(data)


def test_a_data_set_of_images_says_how_to_make_views(model):
    dataset = load(IMAGES).dataset().batch(4)
    with pytest.raises(ValueError, match=r"\['images'\].*view_batches"):
        model.fit(dataset)
    with pytest.raises(ValueError, match=r"no dictionaries.*view_batches"):
        model.fit(dataset.map(lambda example: example["images"]))


def test_images_are_for_the_backbone(model):
    with pytest.raises(ValueError, match=r"model\.backbone\.predict"):
        model.predict(IMAGES)
    with pytest.raises(ValueError, match="`backbone` gives"):
        model(IMAGES)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 4}, "`batch_size` of `fit`.*Give it to view_batches"),
        ({"validation_split": 0.5}, "`validation_split`.*validation_data="),
        ({"sample_weight": np.ones(8)}, "`sample_weight` of `fit`"),
    ],
)
def test_batches_are_what_they_are(model, arguments, message):
    batches = view_batches(
        {"images": IMAGES}, MultiView.scenes(size=16), batch_size=4, seed=0
    )
    with pytest.raises(ValueError, match=message):
        model.fit(batches, **arguments)


def test_batches_to_predict_have_their_size_too(model):
    batches = view_batches(
        {"images": IMAGES}, MultiView.scenes(size=16), batch_size=4, seed=0
    )
    with pytest.raises(ValueError, match="`batch_size` of `predict`"):
        model.predict(batches, batch_size=2)


def test_an_epoch_that_is_done_is_not_trained(model):
    with pytest.warns(UserWarning, match="initial_epoch=3, and epochs=3"):
        assert not model.fit(X, initial_epoch=3, epochs=3).history


def test_evaluate_weighs_nothing(model):
    with pytest.raises(ValueError, match="`sample_weight` of `evaluate`"):
        model.evaluate(X, sample_weight=np.ones(8))


def test_what_keras_can_do_is_left_to_it(model):
    history = model.fit(X, batch_size=4, validation_split=0.5, verbose=0)
    assert {"loss", "val_loss"} <= history.history.keys()
    assert model.fit(X, validation_data=X, verbose=0).history["val_loss"]
    with pytest.raises(TypeError, match="'epoch'"):
        model.fit(X, epoch=3)


def test_a_backbone_takes_images_alone():
    images, other = keras.Input((16, 16, 3)), keras.Input((16, 16, 3))
    two = keras.Model([images, other], images + other)
    with pytest.raises(ValueError, match=r"`backbone` .* has 2 inputs"):
        VICRegL(two)
