"""Matches are those of the criterion; figures show what they are given."""

import keras
import numpy as np
import pytest
import small
from matplotlib.colors import Normalize, to_rgba
from matplotlib.patches import ConnectionPatch

import keras_vicregl
from keras_vicregl.views import MultiView, ViewGroup
from keras_vicregl.visualization import (
    Matches,
    Pairs,
    find_matches,
    plot_match_criteria,
    plot_match_distances,
    plot_matches,
)


def lines(figure):
    return [a for a in figure.artists if isinstance(a, ConnectionPatch)]


def texts(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


@pytest.fixture(scope="module")
def model():
    model = keras_vicregl.VICRegL(
        small.backbone(), expander_units=(8,), local_expander_units=(12, 8)
    )
    return small.seeded(model)


def matches_of(location, feature):
    """One image, two views of 2 x 2 positions that are 10 px apart."""
    grid = np.float32([[5, 5], [15, 5], [5, 15], [15, 15]])[None]

    def pairs(neighbours):
        slots = np.array([neighbours])
        distances = np.linalg.norm(grid - grid[:, slots[0]], axis=-1)
        return Pairs(np.arange(4)[None], slots, distances)

    return Matches(
        views=(np.zeros((1, 20, 20, 3)),) * 2,
        map_shapes=((2, 2),) * 2,
        positions=(grid, grid),
        pairs={"location": pairs(location), "feature": pairs(feature)},
    )


@pytest.mark.parametrize("views", [(0, 1), (1, 2), (2, 0)])
@pytest.mark.parametrize("num_matches", [5, None])
def test_matches_are_the_nearest_ones(model, views, num_matches):
    batch, _ = small.batch(count=3)
    found = find_matches(model, batch, views=views, num_matches=num_matches)
    outputs = model(batch, training=False)
    for criterion, key in {
        "location": "positions",
        "feature": "local_embeddings",
    }.items():
        first, second, p, q = (
            np.float64(keras.ops.convert_to_numpy(outputs[name][view]))
            for name in (key, "positions")
            for view in views
        )
        pairs = found.pairs[criterion]
        for image in range(3):
            distance = np.linalg.norm(
                first[image][:, None] - second[image][None], axis=-1
            )
            nearest = distance.min(axis=1)
            # float32 may choose another of two that are as near.
            np.testing.assert_allclose(
                distance[pairs.queries[image], pairs.neighbours[image]],
                nearest[pairs.queries[image]],
                rtol=1e-4,
                atol=1e-3,
            )
            chosen = np.sort(nearest)[: pairs.queries.shape[1]]
            np.testing.assert_allclose(
                np.sort(nearest[pairs.queries[image]]),
                chosen,
                rtol=1e-4,
                atol=1e-3,
            )
            np.testing.assert_allclose(
                pairs.distances[image],
                np.linalg.norm(
                    p[image][pairs.queries[image]]
                    - q[image][pairs.neighbours[image]],
                    axis=-1,
                ),
                rtol=1e-5,
                atol=1e-4,  # of positions of up to 60 px in float32
            )
    sizes = [(4, 4), (4, 4), (2, 3)]
    assert found.map_shapes == tuple(sizes[view] for view in views)
    np.testing.assert_array_equal(found.views[0], batch["views"][views[0]])


# Under JAX, tests/models/test_model_views.py has the views of a model.
@pytest.mark.skipif(keras.backend.backend() == "jax", reason="compiles long")
def test_views_that_the_model_makes_are_those_that_are_matched(model):
    views = MultiView([ViewGroup(24, 2), ViewGroup((16, 24), 1)], on="device")
    making = keras_vicregl.VICRegL(
        model.backbone,
        expander_units=(8,),
        local_expander_units=(8,),
        views=views,
    )
    rng = np.random.default_rng(0)
    batch = {
        "images": rng.integers(0, 256, (2, 40, 32, 3), dtype=np.uint8),
        "parameters": views.parameters(np.array([[0, 0], [0, 1]]), (40, 32)),
    }
    found = find_matches(making, batch, views=(0, 2))
    expected = making(batch)["positions"]
    for index, view in enumerate((0, 2)):
        np.testing.assert_allclose(
            found.positions[index],
            keras.ops.convert_to_numpy(expected[view]),
            rtol=1e-5,
            atol=1e-4,  # pixels
        )
    assert [view.shape[1:3] for view in found.views] == [(24, 24), (16, 24)]


def test_a_model_without_local_branch_is_matched_by_its_backbone(model):
    batch, _ = small.batch(count=2)
    plain = keras_vicregl.VICRegL(
        model.backbone, alpha=1.0, expander_units=(8,)
    )
    expected = find_matches(model, batch, features="backbone")
    found = find_matches(plain, batch)
    for criterion in ("location", "feature"):
        np.testing.assert_array_equal(
            found.pairs[criterion].neighbours,
            expected.pairs[criterion].neighbours,
        )
    with pytest.raises(ValueError, match=r"alpha=1\.0 has not"):
        find_matches(plain, batch, features="embeddings")


def test_matches_are_lines_between_the_centres_of_positions():
    views = np.zeros((1, 32, 64, 3), "uint8"), np.zeros((1, 16, 16, 3), "uint8")
    figure = plot_matches(
        views, np.array([[0, 7]]), np.array([[3, 1]]), ((2, 4), (2, 2))
    )
    # Pixel centres are whole numbers in imshow: the middle of pixels 0 to 15
    # is at 7.5.
    assert [
        (line.xy1.tolist(), line.xy2.tolist()) for line in lines(figure)
    ] == [
        ([7.5, 7.5], [11.5, 11.5]),
        ([55.5, 23.5], [11.5, 3.5]),
    ]


def test_colours_of_lines_are_those_of_the_bar():
    views = (np.zeros((2, 8, 8, 3), "uint8"),) * 2
    slots = np.zeros((2, 2), int)
    distances = np.array([[0.0, 3.0], [1.5, 6.0]])
    figure = plot_matches(
        views, slots, slots, ((2, 2),) * 2, distances=distances
    )
    bar = figure.axes[-1]
    assert bar.get_ylabel() == "distance in the source image (pixels)"
    assert bar.get_ylim() == (0, 6)
    from matplotlib import colormaps

    expected = colormaps["plasma_r"](Normalize(0, 6)(distances.ravel()))
    drawn = [to_rgba(line.get_edgecolor()) for line in lines(figure)]
    np.testing.assert_allclose(drawn, expected)


def test_both_criteria_stand_side_by_side():
    figure = plot_match_criteria(
        matches_of(location=[0, 1, 2, 3], feature=[1, 1, 2, 2]),
        titles=["scene"],
    )
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles[0] == "by location: median 0.0 px"
    assert titles[3] == "by feature: median 5.0 px"
    assert figure.axes[0].get_ylabel() == "scene"
    ends = [line.xy2.tolist() for line in lines(figure)]
    centres = [[4.5, 4.5], [14.5, 4.5], [4.5, 14.5], [14.5, 14.5]]
    assert ends[:4] == centres
    assert ends[4:] == [centres[i] for i in (1, 1, 2, 2)]
    assert [line.axesA for line in lines(figure)[::4]] == [
        figure.axes[0],
        figure.axes[3],
    ]


def test_histograms_count_matches_and_all_pairs():
    matches = matches_of(location=[0, 1, 2, 3], feature=[0, 0, 3, 0])
    figure = plot_match_distances(matches, bins=3)
    location, feature, random = figure.axes[0].patches
    # Of 16 pairs 4 are the same place, 8 are 10 px apart and 4 14.1 px; the
    # bars are 4.7 px wide.
    np.testing.assert_allclose(location.get_data().values, [100, 0, 0])
    np.testing.assert_allclose(feature.get_data().values, [25, 0, 75])
    np.testing.assert_allclose(random.get_data().values, [25, 0, 75])
    np.testing.assert_allclose(
        random.get_data().edges, np.linspace(0, 200**0.5, 4), rtol=1e-5
    )
    assert [t.get_text() for t in figure.axes[0].get_legend().get_texts()] == [
        "matched by location (median 0.0 px)",
        "matched by feature (median 10.0 px)",
        "random pairs (median 10.0 px)",
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_matches": 0}, "`num_matches` must be positive"),
        ({"views": (0, 3)}, "`views` must be two of 0 to 2"),
        ({"views": (1, 1)}, "`views` must be two of 0 to 2"),
        ({"features": "pixels"}, "`features` must be 'auto'"),
    ],
)
def test_what_cannot_be_matched(model, change, message):
    with pytest.raises(ValueError, match=message):
        find_matches(model, small.batch(count=2)[0], **change)


def test_matches_need_geometry(model):
    batch, _ = small.batch(count=2)
    del batch["view_to_source"]
    with pytest.raises(ValueError, match="'view_to_source' is missing"):
        find_matches(model, batch)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"neighbours": np.zeros((1, 1), int)}, "1 neighbours"),
        ({"neighbours": np.zeros((2, 2), int)}, "must have one shape"),
        ({"distances": np.zeros((2, 2))}, "must have one shape"),
        ({"titles": ["one"]}, "1 titles"),
    ],
)
def test_matches_must_be_as_many(change, message):
    arguments = {
        "views": (np.zeros((2, 8, 8, 3)),) * 2,
        "queries": np.zeros((2, 1), int),
        "neighbours": np.zeros((2, 1), int),
        "map_shapes": ((2, 2), (2, 2)),
        **change,
    }
    with pytest.raises(ValueError, match=message):
        plot_matches(**arguments)


def test_a_title_an_image():
    matches = matches_of([0, 1, 2, 3], [0, 1, 2, 3])
    with pytest.raises(ValueError, match="received 2 for 1 images"):
        plot_match_criteria(matches, titles=["a", "b"])
    with pytest.raises(ValueError, match="`bins` must be positive"):
        plot_match_distances(matches, bins=0)
