"""Labels that are none, and labels that cannot be, on each backend."""

import keras
import numpy as np
import pytest
import small

from keras_vicregl import VICRegL

CLASSES = 5


def made(num_classes=CLASSES):
    model = VICRegL(
        small.backbone(), alpha=1, expander_units=(4,), num_classes=num_classes
    )
    return small.compiled(small.seeded(model), keras.optimizers.SGD(0.1))


def logs_of(labels, model=None, **options):
    """Logs of a step on batches of 8, and the model."""
    x, _ = small.batch(len(labels))
    model = model or made()
    history = model.fit(
        x, np.array(labels), 8, shuffle=False, verbose=0, **options
    )
    return {k: v[-1] for k, v in history.history.items()}, model


LABELS = [0, 1, 2, 3, 4, 0, 1, 2]
SOME = [0, -1, 2, -1, -1, 0, 1, -1]


def test_images_without_a_label_train_all_but_the_classifier():
    all_logs, trained = logs_of(LABELS)
    some_logs, other = logs_of(SOME)
    none_logs, third = logs_of([-1] * 8)
    for name in ("inv", "var", "cov", "repr_std"):
        assert some_logs[name] == pytest.approx(all_logs[name], rel=1e-6)
    for one, two, three in zip(
        trained.backbone.weights,
        other.backbone.weights,
        third.backbone.weights,
        strict=True,
    ):
        for each in (two, three):
            np.testing.assert_allclose(
                keras.ops.convert_to_numpy(one),
                keras.ops.convert_to_numpy(each),
                atol=1e-6,
            )
    # The classifier: the mean over those that have one, from the logits.
    x, _ = small.batch(8)
    logits = keras.ops.convert_to_numpy(made()(x, training=True)["logits"])
    scores = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    known = [row for row, label in enumerate(SOME) if label >= 0]
    expected = -np.mean([scores[row, SOME[row]] for row in known])
    assert some_logs["classifier_loss"] == pytest.approx(expected, rel=1e-4)
    right = [logits[row].argmax() == SOME[row] for row in known]
    assert some_logs["top1"] == pytest.approx(np.mean(right))
    assert none_logs["classifier_loss"] == none_logs["top1"] == 0
    kernel = keras.ops.convert_to_numpy(third.classifier.kernel)
    initial = keras.ops.convert_to_numpy(made().classifier.kernel)
    np.testing.assert_array_equal(kernel, initial)


def test_figures_of_an_epoch_are_of_the_images_with_labels():
    # 8 labels in the first batch, one in the second.
    labels = [*LABELS, 3, *[-1] * 7]
    model = made()
    x, _ = small.batch(16)
    found = model.evaluate(x, np.array(labels), 8, verbose=0, return_dict=True)
    logits = keras.ops.convert_to_numpy(model(x, training=False)["logits"])
    scores = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    expected = -np.mean([scores[i, labels[i]] for i in range(9)])
    assert found["classifier_loss"] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("wrong", [CLASSES, -2, 255])
def test_labels_that_cannot_be_end_the_training_alike(wrong):
    message = (
        r"Labels in epoch 1, batch 2 are neither in 0\.\.4.*num_classes=5.*-1"
    )
    labels = [*LABELS, *LABELS[:7], wrong]
    model = made()
    with pytest.raises(ValueError, match=message):
        logs_of(labels, model)
    for weight in small.weights(model.backbone):
        assert np.isfinite(weight).all()


def test_labels_that_cannot_be_end_a_validation_alike():
    x, _ = small.batch(8)
    wrong = np.array([9, *LABELS[1:]])
    message = r"batch 1 of the validation data are neither in 0\.\.4"
    with pytest.raises(ValueError, match=message):
        logs_of(LABELS, validation_data=(x, wrong))
    with pytest.raises(ValueError, match=message):
        made().evaluate(x, wrong, verbose=0)


def test_one_hot_labels_are_told_of():
    with pytest.raises(ValueError, match=r"integers \(B,\).*\(8, 5\).*argmax"):
        logs_of(np.eye(CLASSES)[LABELS])


def test_columns_of_labels_are_labels():
    expected, _ = logs_of(LABELS)
    found, _ = logs_of(np.array(LABELS)[:, None])
    assert found == pytest.approx(expected, rel=1e-6)
