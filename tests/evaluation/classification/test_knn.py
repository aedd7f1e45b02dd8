import numpy as np
import pytest
from known_features import averaging_backbone, gaussian_clusters

from keras_vicregl.evaluation import evaluate_knn
from keras_vicregl.evaluation.classification import knn


def labelled(features, labels):
    return {"features": np.asarray(features, np.float32), "labels": labels}


@pytest.fixture(scope="module")
def clusters():
    train = gaussian_clusters(300, spread=1.0, seed=1)
    test = gaussian_clusters(150, spread=1.0, seed=2)
    return labelled(*train), labelled(*test)


@pytest.mark.parametrize(("k", "temperature"), [(1, 0.07), (20, 0.07), (50, 1)])
def test_against_scikit_learn(clusters, k, temperature):
    neighbors = pytest.importorskip("sklearn.neighbors")
    train, test = clusters
    classifier = neighbors.KNeighborsClassifier(
        n_neighbors=k,
        metric="cosine",
        algorithm="brute",
        weights=lambda distance: np.exp((1 - distance) / temperature),
    )
    classifier.fit(train["features"], train["labels"])
    votes = classifier.predict_proba(test["features"])
    # Of classes with equal votes (zero) the first comes first, as a stable
    # sort has it; one without votes does not count.
    order = np.argsort(-votes, axis=1, kind="stable")[:, :5]
    hits = (order == test["labels"][:, None]) & (
        np.take_along_axis(votes, order, axis=1) > 0
    )
    result = evaluate_knn(None, train, test, k=k, temperature=temperature)
    assert result == {"top1": hits[:, 0].mean(), "top5": hits.any(1).mean()}
    # The comparison is worth something: neither chance nor perfect.
    assert 0.3 < result["top1"] < 0.95


def test_weights_decide_between_one_close_and_two_far_neighbours():
    directions = np.deg2rad([0, 25, 25, 90])
    points = np.stack([np.cos(directions), np.sin(directions)], axis=1)
    train = labelled(points, np.array([0, 1, 1, 2]))
    test = labelled([[1.0, 0.0]], np.array([0]))
    # The two at 25 degrees have 2 exp(-0.0937 / T) times the vote of the
    # other: half of it at T = 0.07, 1.98 times at T = 10.
    assert 2 * np.exp((np.cos(directions[1]) - 1) / 0.07) < 1
    assert evaluate_knn(None, train, test, k=3)["top1"] == 1
    assert evaluate_knn(None, train, test, k=3, temperature=10)["top1"] == 0


def test_top5_needs_a_vote():
    train = labelled(np.eye(7), np.arange(7))
    test = labelled(np.eye(7), np.roll(np.arange(7), 1))
    result = evaluate_knn(None, train, test, k=1)
    assert result == {"top1": 0.0, "top5": 0.0}
    # With all seven voting, the neighbour comes first and the others, whose
    # votes are equal, in the order of the classes.
    expected = np.mean(
        [
            label in [neighbour, *np.delete(np.arange(7), neighbour)][:5]
            for neighbour, label in enumerate(test["labels"])
        ]
    )
    result = evaluate_knn(None, train, test, k=7)
    assert result == {"top1": 0.0, "top5": expected}


def test_tiny_temperatures_do_not_overflow(clusters):
    train, test = clusters
    nearest = evaluate_knn(None, train, test, k=1)["top1"]
    with np.errstate(over="raise", invalid="raise"):
        result = evaluate_knn(None, train, test, temperature=1e-6)
    assert result["top1"] == nearest


def test_lengths_of_features_do_not_matter(clusters):
    train, test = clusters
    rng = np.random.default_rng(0)
    scaled = [
        labelled(
            # Powers of two: the same directions to the last bit.
            data["features"]
            * 2.0 ** rng.integers(-9, 9, (len(data["labels"]), 1)),
            data["labels"],
        )
        for data in clusters
    ]
    assert evaluate_knn(None, *scaled) == evaluate_knn(None, train, test)


def test_a_zero_feature_is_no_error():
    train = labelled([[1, 0], [0, 1]], np.array([0, 1]))
    test = labelled([[0, 0]], np.array([0]))
    # Equally far from both: the first neighbour and the first class.
    assert evaluate_knn(None, train, test, k=2)["top1"] == 1


def test_blocks_do_not_matter(clusters, monkeypatch):
    expected = evaluate_knn(None, *clusters)
    # Rows of 300 similarities, three at a time, and at least one.
    for size in (1000, 1):
        monkeypatch.setattr(knn, "_MAX_SIMILARITIES", size)
        assert evaluate_knn(None, *clusters) == expected


def test_on_images():
    """Blue, green and red images, told apart by their pooled colour."""
    rng = np.random.default_rng(0)
    labels = np.arange(30) % 3
    images = rng.integers(0, 30, (30, 8, 8, 3), dtype=np.uint8)
    images[np.arange(30), :, :, labels] += 200
    data = {"images": images, "labels": labels}
    result = evaluate_knn(averaging_backbone(), data, data, k=5)
    assert result == {"top1": 1.0}


FEATURES = np.eye(4, dtype=np.float32)
GOOD = labelled(FEATURES, np.array([0, 1, 2, 2]))


@pytest.mark.parametrize(
    ("train", "test", "options", "message"),
    [
        (GOOD, GOOD, {"k": 5}, "training examples, 4. Received: k=5"),
        (GOOD, GOOD, {"k": 0}, "k=0"),
        (GOOD, GOOD, {"temperature": 0.0}, "temperature=0.0"),
        (GOOD, GOOD, {"num_classes": 2}, "num_classes - 1 = 1.*0 to 2"),
        (
            GOOD,
            labelled(FEATURES, np.array([0, 1, 2, 3])),
            {},
            "labels of test must be between 0 and num_classes - 1 = 2",
        ),
        (
            # -1 is no label.
            labelled(FEATURES, np.array([0, 1, 2, -2])),
            GOOD,
            {},
            "labels of train.*from -2 to 2",
        ),
        (labelled(FEATURES, np.arange(3)), GOOD, {}, "4 features but 3 labels"),
        (labelled(FEATURES, np.ones(4)), GOOD, {}, "integers.*float64"),
        (labelled(FEATURES, np.eye(4, dtype=int)), GOOD, {}, r"shape \(N,\)"),
        ({"features": FEATURES}, GOOD, {}, "train must have 'labels'"),
        (
            GOOD,
            {"images": FEATURES, "labels": 0},
            {},
            "backbone=None needs test",
        ),
        (labelled(FEATURES[:0], np.arange(0)), GOOD, {}, "empty"),
        (labelled(FEATURES * np.nan, np.arange(4)), GOOD, {}, "finite"),
        (labelled(FEATURES[0], np.arange(4)), GOOD, {}, r"shape \(N, F\)"),
    ],
)
def test_bad_arguments(train, test, options, message):
    with pytest.raises(ValueError, match=message):
        evaluate_knn(None, train, test, **{"k": 2, **options})
