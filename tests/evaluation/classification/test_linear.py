import math

import numpy as np
import pytest
from known_features import averaging_backbone, gaussian_clusters

from keras_vicregl.evaluation import evaluate_linear
from keras_vicregl.evaluation.classification import grid, linear


def labelled(features, labels):
    return {"features": np.asarray(features, np.float32), "labels": labels}


@pytest.fixture(scope="module")
def clusters():
    train = gaussian_clusters(1500, seed=1)
    test = gaussian_clusters(1500, seed=2)
    return labelled(*train), labelled(*test)


def test_against_scikit_learn(clusters):
    linear_model = pytest.importorskip("sklearn.linear_model")
    preprocessing = pytest.importorskip("sklearn.preprocessing")
    train, test = clusters
    scaler = preprocessing.StandardScaler().fit(train["features"])
    # No penalty to speak of, as with a weight decay of 1e-6.
    model = linear_model.LogisticRegression(C=1e4, max_iter=1000)
    model.fit(scaler.transform(train["features"]), train["labels"])
    scores = model.predict_proba(scaler.transform(test["features"]))
    metrics = pytest.importorskip("sklearn.metrics")
    expected = {
        "top1": metrics.top_k_accuracy_score(test["labels"], scores, k=1),
        "top5": metrics.top_k_accuracy_score(test["labels"], scores, k=5),
        "train_top1": model.score(
            scaler.transform(train["features"]), train["labels"]
        ),
        "train_loss": metrics.log_loss(
            train["labels"],
            model.predict_proba(scaler.transform(train["features"])),
        ),
    }
    result = evaluate_linear(None, train, test)
    assert result.keys() == expected.keys()
    # A point: 15 of 1,500 examples may fall on the other side of borders that
    # differ by what SGD leaves to do.
    for key in expected:
        assert result[key] == pytest.approx(expected[key], abs=0.01), key
    assert 0.5 < result["top1"] < 0.9
    # The minimum, from above.
    assert result["train_loss"] > expected["train_loss"]


@pytest.mark.parametrize("count", [24, 30, 5])
def test_training_is_that_of_torch(count):
    """SGD with momentum and L2, cosine by epoch, last batches dropped."""
    torch = pytest.importorskip("torch")
    epochs, batch_size, rate, decay = 6, 8, 0.3, 0.05
    features, labels = gaussian_clusters(count, features=4, classes=3)
    parameters = linear._train(
        features,
        labels,
        3,
        rows=np.arange(count),
        epochs=epochs,
        learning_rates=[rate],
        weight_decay=decay,
        batch_size=batch_size,
        rng=np.random.default_rng(5),
    )
    rng = np.random.default_rng(5)
    layer = torch.nn.Linear(4, 3, dtype=torch.float64)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(rng.normal(0, 0.01, (4, 3)).T))
        layer.bias.zero_()
    optimizer = torch.optim.SGD(
        layer.parameters(), lr=rate, momentum=0.9, weight_decay=decay
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    for _ in range(epochs):
        batches = torch.from_numpy(rng.permutation(count)).split(batch_size)
        for rows in batches:
            if len(rows) < batch_size <= count:
                continue
            loss = torch.nn.functional.cross_entropy(
                layer(torch.from_numpy(features)[rows].double()),
                torch.from_numpy(labels)[rows],
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        schedule.step()
    # float32 against float64 over 18 steps and weights up to 8; a single
    # step with another rate or order differs by more than 1e-2.
    expected = layer.weight.detach().numpy().T, layer.bias.detach().numpy()
    np.testing.assert_allclose(parameters[:-1], expected[0], atol=2e-4)
    np.testing.assert_allclose(parameters[-1], expected[1], atol=2e-4)


def one_layer(features, labels, epochs, rate, decay, batch_size, seed):
    """SGD with momentum, L2 and a cosine by epoch, of one layer, in float32."""
    rng = np.random.default_rng(seed)
    count, size = features.shape
    features = np.hstack([features, np.ones((count, 1), np.float32)])
    weights = np.zeros((size + 1, 7), np.float32)
    weights[:size] = rng.normal(0, 0.01, (size, 7))
    velocity = np.zeros_like(weights)
    for epoch in range(epochs):
        now = rate * 0.5 * (1 + math.cos(math.pi * epoch / epochs))
        order = rng.permutation(count)
        for start in range(0, count - batch_size + 1, batch_size):
            rows = order[start : start + batch_size]
            x = features[rows]
            scores = x @ weights
            p = np.exp(scores - scores.max(axis=1, keepdims=True))
            p /= p.sum(axis=1, keepdims=True)
            p -= np.eye(7, dtype=np.float32)[labels[rows]]
            velocity = 0.9 * velocity + (x.T @ p / batch_size + decay * weights)
            weights -= now * velocity
    return weights


def heads(data, rates, rows=None):
    return linear._train(
        data["features"],
        data["labels"],
        7,
        rows=np.arange(len(data["labels"])) if rows is None else rows,
        epochs=5,
        learning_rates=rates,
        weight_decay=0.01,
        batch_size=128,
        rng=np.random.default_rng(3),
    )


def test_one_rate_is_trained_to_the_bit_as_a_layer_alone(clusters):
    train = clusters[0]
    expected = one_layer(
        train["features"], train["labels"], 5, 0.03, 0.01, 128, seed=3
    )
    np.testing.assert_array_equal(heads(train, [0.03]), expected)


def test_rates_are_trained_side_by_side_whatever_one_of_them_does(clusters):
    rows = np.arange(0, 1500, 2)
    rates = [0.001, 1e30, 0.03]
    together = heads(clusters[0], rates, rows).reshape(-1, 3, 7)
    for head in (0, 2):
        alone = heads(clusters[0], [rates[head]], rows)
        # Products of other shapes are summed in another order.
        np.testing.assert_allclose(together[:, head], alone, atol=1e-4)
    assert not np.isfinite(together[:, 1]).all()


def test_the_rate_is_chosen_on_training_examples(clusters):
    train, test = clusters
    rates = [3e-5, 1e30, 0.03]
    result = evaluate_linear(None, train, test, learning_rate=rates)
    assert result["learning_rate"] == 0.03
    assert np.isnan(result["validation_top1_1e+30"])
    # The figures are those of a call with this rate.
    expected = evaluate_linear(None, train, test, learning_rate=0.03)
    assert expected == {key: result[key] for key in expected}
    # Neither the choice nor the accuracies look at the test set.
    wrong = labelled(test["features"], (test["labels"] + 1) % 7)
    again = evaluate_linear(None, train, wrong, learning_rate=rates)
    for key in ("learning_rate", *[f"validation_top1_{r}" for r in rates]):
        np.testing.assert_equal(again[key], result[key])


def test_validation_accuracy_against_scikit_learn(clusters):
    linear_model = pytest.importorskip("sklearn.linear_model")
    train, test = clusters
    mean, scale = train["features"].mean(0), train["features"].std(0)
    features = (train["features"] - mean) / scale
    rows, held = grid.hold_out(1500, 0.2, seed=0)
    assert not np.intersect1d(rows, held).size
    assert len(rows) + len(held) == 1500
    model = linear_model.LogisticRegression(C=1e4, max_iter=1000)
    model.fit(features[rows], train["labels"][rows])
    result = evaluate_linear(
        None, train, test, learning_rate=[0.03], validation_fraction=0.2
    )
    # A point, three of 300 examples, for what SGD leaves to do.
    assert result["validation_top1_0.03"] == pytest.approx(
        model.score(features[held], train["labels"][held]), abs=0.0101
    )


def test_of_equally_good_rates_the_smallest_is_chosen():
    scores = np.zeros((2, 3, 2))
    scores[:, :, 1] = 1
    rate, choice = grid.choose_rate(scores, np.array([1, 0]), [0.3, 0.1, 0.2])
    assert rate == choice["learning_rate"] == 0.1
    assert choice["validation_top1_0.2"] == 0.5


def test_cross_entropy_against_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    scores = 5 * rng.standard_normal((50, 4)).astype(np.float32) + 100
    labels = rng.integers(0, 4, 50)
    probabilities = np.exp(scores - 100.0)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    # float32 holds scores of about 100 to 1e-5.
    assert linear._cross_entropy(scores, labels) == pytest.approx(
        metrics.log_loss(labels, probabilities, labels=range(4)), abs=1e-5
    )


def test_scale_and_offset_of_features_do_not_matter(clusters):
    train, test = (
        labelled(data["features"][:300], data["labels"][:300])
        for data in clusters
    )
    expected = evaluate_linear(None, train, test, epochs=20)
    moved = (
        labelled(data["features"] * 2.0**-20, data["labels"])
        for data in (train, test)
    )
    result = evaluate_linear(None, *moved, epochs=20)
    assert result == pytest.approx(expected, abs=1e-6)
    # Which is what standardisation is for.
    raw = evaluate_linear(None, train, test, epochs=20, standardize=False)
    assert raw["top1"] < expected["top1"] - 0.1


def test_without_standardization_features_are_used_as_they_are():
    # One step at the rate 1 from zero weights, but for N(0, 0.01^2) which moves
    # scores by 0.01: w = mean of x (1/2 - p) = +-0.5 x.
    data = labelled([[2.0], [-2.0]], np.array([0, 1]))
    result = evaluate_linear(
        None, data, data, epochs=1, learning_rate=1.0, standardize=False
    )
    # Weights (1, -1), scores +-(2, -2): the loss is log(1 + exp(-4)).
    assert result["train_loss"] == pytest.approx(np.log1p(np.exp(-4)), rel=0.1)
    assert result["top1"] == 1


def test_a_constant_feature_is_left_out_quietly():
    features, labels = gaussian_clusters(200, classes=3)
    data = labelled(features, labels)
    constant = np.full((200, 1), 1234.567)
    wider = labelled(np.hstack([features, constant]), labels)
    result = evaluate_linear(None, wider, wider, epochs=50)
    expected = evaluate_linear(None, data, data, epochs=50)
    # Two examples of 200: the initial weights are others.
    assert result["top1"] == pytest.approx(expected["top1"], abs=0.01)


def test_weight_decay_shrinks_the_layer(clusters):
    train, _ = clusters
    result = evaluate_linear(None, train, train, epochs=5, weight_decay=40.0)
    # With hardly any weights, the loss of a guess among seven classes.
    assert result["train_loss"] == pytest.approx(np.log(7), abs=0.02)


def test_seed_decides(clusters):
    results = [
        evaluate_linear(None, *clusters, epochs=2, seed=seed)
        for seed in (0, 0, 1)
    ]
    assert results[0] == results[1]
    assert results[0]["train_loss"] != results[2]["train_loss"]


def test_global_random_state_is_left_alone(clusters):
    before = np.random.get_state()[1].copy()
    evaluate_linear(None, *clusters, epochs=1)
    np.testing.assert_array_equal(before, np.random.get_state()[1])


def test_on_images():
    rng = np.random.default_rng(0)
    labels = np.arange(30) % 3
    images = rng.integers(0, 30, (30, 8, 8, 3), dtype=np.uint8)
    images[np.arange(30), :, :, labels] += 200
    data = {"images": images, "labels": labels}
    result = evaluate_linear(averaging_backbone(), data, data)
    assert result["top1"] == result["train_top1"] == 1
    assert "top5" not in result


GOOD = labelled(np.eye(4), np.array([0, 1, 2, 2]))
DIVERGING = {"weight_decay": 1.0, "validation_fraction": 0.25}


@pytest.mark.parametrize(
    ("test", "options", "message"),
    [
        (GOOD, {"epochs": 0}, "epochs=0"),
        (GOOD, {"learning_rate": 0.0}, "learning_rate=0.0"),
        (GOOD, {"weight_decay": -1.0}, "weight_decay=-1.0"),
        (GOOD, {"batch_size": 0}, "batch_size=0"),
        (GOOD, {"num_classes": 2}, "labels of train.*num_classes - 1 = 1"),
        (
            GOOD,
            {"learning_rate": 1e30, "weight_decay": 1.0},
            "diverged. Lower learning_rate.*1e\\+30",
        ),
        (GOOD, {"learning_rate": []}, r"learning_rate=\[\]"),
        (GOOD, {"learning_rate": [0.1, 0.1]}, "different numbers"),
        (GOOD, {"learning_rate": [0.1, -1.0]}, "learning_rate=-1.0"),
        (GOOD, {**DIVERGING, "learning_rate": [1e30]}, "at every"),
        (
            GOOD,
            {"learning_rate": [0.1], "validation_fraction": 1.0},
            "validation_fraction=1.0",
        ),
        (
            GOOD,
            {"learning_rate": [0.1], "validation_fraction": 0.1},
            "of 4. .*validation_fraction=0.1",
        ),
        (labelled(np.eye(4), np.array([0, 1, 2, 3])), {}, "labels of test"),
        (labelled(np.eye(4), np.arange(3)), {}, "test has 4 features but 3"),
        (labelled(np.eye(4)[:, :3], np.zeros(4, int)), {}, "4 .*3"),
        (labelled(np.full((4, 4), np.inf), np.zeros(4, int)), {}, "finite"),
    ],
)
def test_bad_arguments(test, options, message):
    with pytest.raises(ValueError, match=message):
        evaluate_linear(None, GOOD, test, **options)


def test_classes_that_cannot_be_learnt():
    train = labelled(np.eye(4), np.array([0, 0, 2, 2]))
    test = labelled(np.eye(4), np.array([0, 1, 2, 2]))
    with pytest.raises(ValueError, match=r"without an example.*\[1\]"):
        evaluate_linear(None, train, test)
    result = evaluate_linear(None, train, test, num_classes=3)
    assert result["top1"] == 0.75  # what is left is right
