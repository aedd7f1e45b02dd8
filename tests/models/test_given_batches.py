"""Batches of one's own loaders: their forms, and what is wrong with them."""

import warnings

import keras
import numpy as np
import pytest
import small

from keras_vicregl import VICRegL
from keras_vicregl.data import ArrayBatches
from keras_vicregl.models import first_batch
from keras_vicregl.models.given_batches import adapted, in_one_form
from keras_vicregl.views import MultiView, ViewGroup

BACKEND = keras.backend.backend()
SIZES = ((8, 8), (8, 8), (8, 12))
STEPS = 3


def batch(seed):
    return small.batch(4, SIZES, seed)


def in_lists(x):
    return {k: [*v] if isinstance(v, tuple) else v for k, v in x.items()}


# What a batch may be, of inputs and labels.
FORMS = {
    "dictionary": lambda x, y: x,
    "tuple of one": lambda x, y: (x,),
    "with labels": lambda x, y: (x, y),
    "list": lambda x, y: [x, y],
    "views in lists": lambda x, y: (in_lists(x), y),
}


def generator(form, steps=STEPS):
    for seed in range(steps):
        yield form(*batch(seed))


class Sequence(keras.utils.PyDataset):
    def __init__(self, form):
        super().__init__()
        self.form = form

    def __len__(self):
        return STEPS

    def __getitem__(self, index):
        return self.form(*batch(index))


def loader(form, **options):
    """A DataLoader of single examples, which it puts together."""
    data = pytest.importorskip("torch.utils.data")

    class Examples(data.Dataset):
        def __len__(self):
            return 4 * STEPS

        def __getitem__(self, index):
            x, y = batch(index // 4)
            row = keras.tree.map_structure(lambda a: a[index % 4], x)
            return form(row, int(y[index % 4]))

    return data.DataLoader(Examples(), batch_size=4, **options)


KINDS = {"generator": generator, "PyDataset": Sequence, "DataLoader": loader}


def taken(adapter):
    """The batches of an epoch, as `fit` takes them from an adapter."""
    if BACKEND == "tensorflow":
        return adapter.get_tf_dataset()
    if BACKEND == "jax":
        return adapter.get_jax_iterator()
    return adapter.get_torch_dataloader()


def assert_same(found, expected):
    for one, other in zip(
        keras.tree.flatten(found), keras.tree.flatten(expected), strict=True
    ):
        np.testing.assert_array_equal(
            keras.ops.convert_to_numpy(one), keras.ops.convert_to_numpy(other)
        )


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_batches_is_taken_in_every_form(kind, form):
    adapter = adapted(KINDS[kind](FORMS[form]))
    for seed, found in enumerate(taken(adapter)):
        # A DataLoader, through which Keras has batches go, makes lists.
        kinds = (tuple, list) if BACKEND == "torch" else tuple
        assert isinstance(found, kinds)
        assert isinstance(found[0]["views"], kinds)
        has_labels = form not in ("dictionary", "tuple of one")
        assert_same(found, batch(seed)[: 1 + has_labels])
    assert seed == STEPS - 1
    assert adapter.num_batches == (None if kind == "generator" else STEPS)


def test_workers_of_a_loader_and_further_epochs():
    options = {"num_workers": 1} if BACKEND != "jax" else {}
    adapter = adapted(loader(FORMS["dictionary"], **options))
    first, second = ([*taken(adapter)] for _ in range(2))
    assert len(first) == STEPS
    assert_same(first, second)


def test_looking_at_batches_begins_no_further_iteration():
    """A sampler may draw a new order, or workers start, in each."""
    begun = []

    class Sampler:
        def __len__(self):
            return 4 * STEPS

        def __iter__(self):
            begun.append(True)
            return iter(range(4 * STEPS))

    adapter = adapted(loader(FORMS["tuple of one"], sampler=Sampler()))
    assert len([*taken(adapter)]) == STEPS
    assert len(begun) == 1


def test_a_generator_goes_on_where_it_was():
    adapter = adapted(generator(FORMS["with labels"], 5))
    batches = iter(taken(adapter))
    assert_same([next(batches) for _ in range(5)], [*map(batch, range(5))])
    assert not [*batches]
    with pytest.raises(Exception, match="has ended after 5 batches"):
        [*taken(adapter)]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (batch(0)[0]["views"], r"a tuple of 3: an array of shape \(4, 8, 8"),
        ((), "a tuple of 0"),
        (np.zeros((4, 8, 8, 3)), r"an array of shape \(4, 8, 8, 3\)"),
        ((1, batch(0)[0]), "a tuple of 2: int, a dictionary with the keys"),
        (None, "NoneType"),
    ],
)
def test_what_is_no_batch_is_said(given, said):
    with pytest.raises(ValueError, match=f"must be a dictionary .*{said}"):
        in_one_form(given)
    with pytest.raises(ValueError, match=f"must be a dictionary .*{said}"):
        adapted(given for _ in range(2))


def make_model(**options):
    return small.compiled(
        VICRegL(small.backbone(), alpha=1, expander_units=(4,), **options)
    )


@pytest.fixture(scope="module")
def model():
    return make_model()


@pytest.fixture
def fresh(model):
    """The model as one that has seen no views."""
    model.__dict__.pop("_has_seen_views", None)
    return model


def with_views(change, form=FORMS["with labels"]):
    def changed(x, y):
        return form({**x, "views": tuple(map(change, x["views"]))}, y)

    return changed


def as_unit(view):
    return np.float32(np.clip(0.5 * view + 0.5, 0, 1))


RAW = {
    r"lie in \[0, 1\] \(from 0 to 1\)": as_unit,
    r"lie in \[0, 255\] \(from 0 to 255\)": lambda view: 255 * as_unit(view),
    "are uint8": lambda view: np.uint8(255 * as_unit(view)),
}


@pytest.mark.parametrize("said", RAW)
def test_views_that_nobody_has_normalised_are_told_of_once(fresh, said):
    kind = dict(zip(RAW, KINDS, strict=True))[said]  # each with one of these
    batches = KINDS[kind](with_views(RAW[said]))
    with pytest.warns(UserWarning, match=f"first batch {said}.*/ 255") as told:
        fresh.fit(batches, epochs=2, steps_per_epoch=1, verbose=0)
    about = [w for w in told if "first batch" in str(w.message)]
    assert len(about) == 1
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*first batch")
        fresh.fit(batch(0)[0], verbose=0)


def test_arrays_of_all_examples_and_data_sets_are_looked_at(fresh):
    tf = pytest.importorskip("tensorflow")
    x = with_views(as_unit, FORMS["dictionary"])(*batch(0))
    with pytest.warns(UserWarning, match=r"lie in \[0, 1\]"):
        fresh.fit(x, verbose=0)
    for given in (x, (x,)):
        del fresh.__dict__["_has_seen_views"]
        dataset = tf.data.Dataset.from_tensor_slices(given).batch(4)
        with pytest.warns(UserWarning, match=r"lie in \[0, 1\]"):
            fresh.fit(dataset, verbose=0)


@pytest.mark.parametrize(
    "change",
    [
        lambda view: view,
        lambda view: -np.abs(view),  # of dark images
        lambda view: 0 * view,  # as in a measurement of speed
        lambda view: 0.8 + 0.4 * np.abs(view).clip(0, 4),  # of white paper
        lambda view: 0 * view + 200,
    ],
)
def test_views_that_may_be_normalised_are_not_told_of(fresh, change):
    views = [change(view) for view in batch(0)[0]["views"]]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first_batch._look_at_views(fresh, views)


def test_a_network_that_scales_images_may_have_pixels():
    scaled = keras.Sequential(
        [
            keras.Input((None, None, 3)),
            keras.layers.Rescaling(1 / 127.5, -1.0),
            keras.layers.Conv2D(4, 4, 4),
        ]
    )
    with pytest.warns(UserWarning, match="changes the scale of images itself"):
        model = VICRegL(scaled, alpha=1, expander_units=(4,))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first_batch._look_at_views(model, [as_unit(batch(0)[0]["views"][0])])


def test_views_of_this_package_are_not_looked_at(monkeypatch):
    monkeypatch.setattr(
        first_batch, "_range_in_words", lambda views: pytest.fail("looked")
    )
    views = MultiView([ViewGroup(8, 2)], on="device")
    batches = ArrayBatches(
        np.zeros((8, 9, 9, 3), "uint8"), views, batch_size=4, seed=0
    )
    assert first_batch.watched(make_model(views=views), batches)


@pytest.mark.skipif(BACKEND == "tensorflow", reason="checked in the graph")
def test_parts_of_different_examples_are_told(model):
    x, _ = batch(0)
    maps = tuple(matrix[:3] for matrix in x["view_to_source"])
    wrong = ({**x, "view_to_source": maps} for _ in range(2))
    with pytest.raises(
        ValueError, match=r"4 of 'views'\[0\].* 3 of 'view_to_source'\[0\]"
    ):
        make_model().fit(wrong, verbose=0)


def test_channels_come_last(model):
    x, _ = with_views(lambda v: np.moveaxis(v, -1, 1))(*batch(0))
    with pytest.raises(
        ValueError, match=r"channels last.*\(4, 3, 8, 8\).*perm"
    ):
        model(x)


def test_a_generator_has_no_second_epoch(model):
    with pytest.raises(
        ValueError, match=r"only once.*epoch of 2.*steps_per_ep"
    ):
        model.fit(generator(FORMS["dictionary"]), epochs=2, verbose=0)


def test_labels_come_with_batches(model):
    batches = generator(FORMS["dictionary"])
    with pytest.raises(ValueError, match=r"`y` of `fit`.*a generator: let"):
        model.fit(batches, np.zeros(4))


def test_an_order_that_keras_does_not_change_is_told():
    with pytest.warns(UserWarning, match=r"`shuffle=True` is ignored.*generat"):
        adapted(generator(FORMS["dictionary"]), shuffle=True)
    assert adapted(Sequence(FORMS["dictionary"]), shuffle=True).shuffle


def test_a_loader_validates_and_evaluates(model):
    kept = loader(FORMS["dictionary"])
    logs = model.fit(
        generator(FORMS["dictionary"]),
        steps_per_epoch=1,
        validation_data=kept,
        verbose=0,
    ).history
    evaluated = model.evaluate(kept, return_dict=True, verbose=0)
    # 1e-5: the same numbers, summed in another order if at all.
    np.testing.assert_allclose(logs["val_loss"][-1], evaluated["loss"], 1e-5)
    outputs = model.predict(kept, verbose=0)
    assert outputs["embeddings"][0].shape == (4 * STEPS, 4)
