"""Feature maps as colours, embeddings as points."""

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from keras_vicregl.visualization import (
    class_colors,
    feature_map_colors,
    plot_embeddings,
    plot_feature_maps,
    project_embeddings,
)


def test_colors_are_the_principal_components():
    rng = np.random.default_rng(0)
    basis, _ = np.linalg.qr(rng.normal(size=(6, 6)))
    scores = rng.uniform(-1, 1, (5, 8, 8, 3)) * [9.0, 3.0, 1.0]
    colors = feature_map_colors(scores @ basis[:, :3].T + 4.0)
    for component in range(3):
        correlation = np.corrcoef(
            colors[..., component].ravel(), scores[..., component].ravel()
        )[0, 1]
        # Uniform samples are not exactly uncorrelated, and 2 % are clipped.
        assert abs(correlation) > 0.98
    assert colors.min() == 0
    assert colors.max() == 1


@pytest.mark.parametrize("upsample", [False, True])
def test_feature_maps_stand_below_their_images(upsample):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (3, 16, 24, 3), dtype="uint8")
    maps = {
        "random": rng.normal(size=(3, 4, 6, 5)),
        "a long name of a method": rng.normal(size=(3, 2, 3, 4)),
    }
    figure = plot_feature_maps(images, maps, upsample=upsample)
    shown = [axes.images[0] for axes in figure.axes]
    np.testing.assert_array_equal([s.get_array() for s in shown[:3]], images)
    for start, values in zip((3, 6), maps.values(), strict=True):
        np.testing.assert_allclose(
            [s.get_array() for s in shown[start : start + 3]],
            feature_map_colors(values),
        )
    # Every map covers its image.
    assert {tuple(s.get_extent()) for s in shown} == {(0, 24, 16, 0)}
    smooth = {s.get_interpolation() for s in shown[3:]}
    assert smooth == {"bilinear" if upsample else "nearest"}
    names = [axes.get_ylabel() for axes in figure.axes[::3]]
    assert [" ".join(name.split("\n")) for name in names] == ["image", *maps]
    assert len(figure.legends[0].get_texts()) == 3


@pytest.mark.parametrize("shape", [(40, 5), (6, 30)])
def test_principal_components_are_those_of_scikit_learn(shape):
    rng = np.random.default_rng(0)
    values = rng.normal(size=shape) * np.linspace(4, 1, shape[1])
    reference = PCA(2, svd_solver="full").fit(values)
    expected = reference.transform(values)
    points = project_embeddings(values)
    # Up to the sign of a component; float64 through squares.
    signs = np.sign((points * expected).sum(axis=0))
    np.testing.assert_allclose(points, expected * signs, atol=1e-8)
    figure = plot_embeddings(values, np.arange(len(values)) % 2)
    first, second = reference.explained_variance_ratio_
    axes = figure.axes[0]
    assert axes.get_xlabel() == f"component 1 ({100 * first:.0f} %)"
    assert axes.get_ylabel() == f"component 2 ({100 * second:.0f} %)"


def test_points_have_the_colours_of_their_classes():
    rng = np.random.default_rng(0)
    values = {"a": rng.normal(size=(9, 4)), "b": rng.normal(size=(9, 3))}
    labels = np.array([0, 2, 2, 0, 3, 3, 3, 0, 2])
    names = ["cat", "dog", "cow", "fox"]
    figure = plot_embeddings(values, labels, class_names=names)
    assert [axes.get_title() for axes in figure.axes] == ["a", "b"]
    for axes, embeddings in zip(figure.axes, values.values(), strict=True):
        points = project_embeddings(embeddings)
        for index, drawn in zip((0, 2, 3), axes.collections, strict=True):
            np.testing.assert_allclose(
                drawn.get_offsets(), points[labels == index]
            )
            np.testing.assert_allclose(
                drawn.get_facecolor()[0][:3], class_colors(4)[index] / 255
            )
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == ["cat", "cow", "fox"]


def test_tsne_is_that_of_scikit_learn():
    values = np.random.default_rng(0).normal(size=(12, 4))
    points = project_embeddings(values, "tsne", perplexity=3, max_iter=250)
    expected = TSNE(perplexity=3, max_iter=250, random_state=0)
    np.testing.assert_allclose(points, expected.fit_transform(values))
    figure = plot_embeddings(
        values, np.zeros(12, int), method="tsne", max_iter=250
    )
    assert figure.axes[0].get_xlabel() == ""


IMAGES = np.zeros((2, 8, 8, 3), "uint8")
POINTS = np.eye(4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: feature_map_colors(np.zeros((2, 4, 4, 2))), "3 channels"),
        (lambda: feature_map_colors(np.full((1, 2, 2, 3), np.nan)), "finite"),
        (
            lambda: plot_feature_maps(IMAGES, {"a": np.zeros((1, 2, 2, 4))}),
            r"`maps\['a'\]` must hold one an image: received 1 for 2",
        ),
        (lambda: plot_feature_maps(IMAGES, {}), "`maps` is empty"),
        (lambda: plot_feature_maps(IMAGES[0], {}), r"shape \(8, 8, 3\)"),
        (lambda: project_embeddings(POINTS, "umap"), "received 'umap'"),
        (
            lambda: project_embeddings(POINTS, perplexity=3),
            r"received 'pca' and \['perplexity'\]",
        ),
        (lambda: project_embeddings(POINTS[:2]), "3 or more finite"),
        (lambda: project_embeddings(POINTS * np.inf), "finite"),
        (
            lambda: plot_embeddings(POINTS, np.zeros(3, int)),
            "are 4, but there are 3 labels",
        ),
        (lambda: plot_embeddings(POINTS, np.zeros(4)), "float64"),
        (lambda: plot_embeddings(POINTS, np.arange(4) - 1), "`labels`"),
        (lambda: plot_embeddings(POINTS, np.zeros(0, int)), "0 labels"),
        (
            lambda: plot_embeddings(POINTS, np.arange(4), class_names="abc"),
            "there is a class 3",
        ),
        (lambda: plot_embeddings({}, np.arange(4)), "`embeddings` is empty"),
    ],
)
def test_bad_input(call, message):
    with (
        np.errstate(invalid="ignore"),
        pytest.raises(ValueError, match=message),
    ):
        call()
