"""Against keras-cv's and TensorFlow's pieces of a RetinaNet."""

import numpy as np
import pytest
from keras import ops

from keras_vicregl.evaluation.detection import anchors
from keras_vicregl.evaluation.detection.anchors import (
    anchor_boxes,
    assign,
    decode,
    detections,
    encode,
    iou,
)
from keras_vicregl.evaluation.detection.retinanet import RetinaNetLoss

keras_cv = pytest.importorskip("keras_cv")
converters = pytest.importorskip("keras_cv.src.bounding_box.converters")

STRIDES = (4, 8, 16)
NONE = np.zeros(0, bool)


def random_boxes(rng, count, size=64):
    corners = rng.uniform(0, size - 24, (count, 2))
    return np.hstack([corners, corners + rng.uniform(6, 24, (count, 2))])


def generator(**options):
    return keras_cv.layers.AnchorGenerator(
        "xyxy",
        sizes=[4.0 * stride for stride in STRIDES],
        scales=[2 ** (i / 3) for i in range(3)],
        aspect_ratios=[0.5, 1.0, 2.0],
        strides=STRIDES,
        **options,
    )


def keras_cv_anchors(shape):
    levels = generator()(image_shape=(*shape, 3)).values()
    return np.concatenate([ops.convert_to_numpy(level) for level in levels])


@pytest.mark.parametrize("shape", [(64, 64), (48, 80), (40, 44)])
def test_anchors_are_those_of_keras_cv(shape):
    """Map sizes are rounded up where they do not divide."""
    np.testing.assert_allclose(
        # Computed in float32 there; coordinates go up to 100.
        anchor_boxes(*shape, STRIDES),
        keras_cv_anchors(shape),
        atol=2e-5,
    )


def test_offsets_are_those_of_keras_cv():
    """Which has y before x."""
    rng = np.random.default_rng(0)
    anchors = np.float32(random_boxes(rng, 50))
    boxes = np.float32(random_boxes(rng, 50))
    options = {
        "anchor_format": "xyxy",
        "box_format": "xyxy",
        "variance": [0.1, 0.1, 0.2, 0.2],
    }
    expected = converters._encode_box_to_deltas(anchors, boxes, **options)
    offsets = encode(anchors, boxes)
    np.testing.assert_allclose(
        # Up to 30, in float32.
        offsets,
        ops.convert_to_numpy(expected)[:, [1, 0, 3, 2]],
        atol=2e-5,
    )
    np.testing.assert_allclose(decode(anchors, offsets), boxes, atol=2e-5)


def test_offsets_that_are_far_off_stay_finite():
    boxes = decode(np.float32([[0, 0, 8, 8]]), np.float32([[0, 0, 1e4, 1e4]]))
    assert np.isfinite(boxes).all()


def test_iou():
    rng = np.random.default_rng(1)
    first, second = random_boxes(rng, 30), random_boxes(rng, 20)
    # Counted in small squares, on corners that are multiples of them.
    first, second = first.round(), second.round()
    y, x = np.mgrid[:64, :64] + 0.5

    def cells(boxes):
        left, top, right, bottom = boxes.T[:, :, None, None]
        return (x > left) & (x < right) & (y > top) & (y < bottom)

    a, b = cells(first)[:, None], cells(second)
    expected = (a & b).sum((2, 3)) / (a | b).sum((2, 3))
    np.testing.assert_allclose(iou(first, second), expected, rtol=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_targets_are_those_of_keras_cv(seed):
    """Its matching, with the option that every box has an anchor."""
    rng = np.random.default_rng(seed)
    anchors = anchor_boxes(64, 64, STRIDES)
    # One box twice: its anchors go to the first.
    boxes = np.float32(random_boxes(rng, 6))
    boxes[5] = boxes[2]
    classes = rng.integers(0, 10, 6)
    matcher = keras_cv.layers.BoxMatcher(
        [0.4, 0.5], [-1, -2, 1], force_match_for_each_col=True
    )
    number, kind = (
        ops.convert_to_numpy(each)
        for each in matcher(
            ops.convert_to_tensor(np.float32(iou(anchors, boxes)))
        )
    )
    # keras-cv gives the first anchor to a column that it pads with.
    number, kind, anchors = number[1:], kind[1:], anchors[1:]
    targets = assign(anchors, boxes, classes, np.zeros(6, bool))
    positive = kind == 1
    expected = np.where(positive, classes[number], kind)
    np.testing.assert_array_equal(targets[:, 4], expected)
    assert {-2, -1} <= set(targets[:, 4]) and 5 < positive.sum() < 200
    expected = encode(anchors[positive], boxes[number[positive]])
    np.testing.assert_array_equal(targets[positive, :4], expected)
    assert not targets[~positive, :4].any()


def test_a_box_like_no_anchor_has_one_all_the_same():
    anchors = anchor_boxes(64, 64, STRIDES)
    box = np.array([[10.0, 10.0, 13.0, 12.0]])
    assert iou(anchors, box).max() < 0.4
    targets = assign(anchors, box, np.array([7]), np.zeros(1, bool))
    (index,) = np.flatnonzero(targets[:, 4] == 7)
    assert index == iou(anchors, box)[:, 0].argmax()
    assert np.all(np.delete(targets[:, 4], index) == -1)


def test_no_box_is_all_background():
    anchors = anchor_boxes(32, 32, STRIDES)
    targets = assign(anchors, np.zeros((0, 4)), np.zeros(0, int), NONE)
    assert np.all(targets == [0, 0, 0, 0, -1])


def test_boxes_to_be_ignored():
    """Anchors half within them are ignored, but not where another box is."""
    anchors = anchor_boxes(64, 64, STRIDES)
    crowd, box = [0.0, 0.0, 64.0, 32.0], [8.0, 4.0, 24.0, 20.0]
    targets = assign(
        anchors,
        np.array([crowd, box]),
        np.array([3, 5]),
        np.array([True, False]),
    )
    low, high = np.clip(anchors[:, [1, 3]], 0, 32).T
    left, right = np.clip(anchors[:, [0, 2]], 0, 64).T
    areas = np.prod(anchors[:, 2:] - anchors[:, :2], axis=1)
    half_within = (high - low) * (right - left) >= 0.5 * areas
    alone = assign(anchors, np.array([box]), np.array([5]), np.zeros(1, bool))
    has_box = alone[:, 4] == 5
    np.testing.assert_array_equal(targets[has_box], alone[has_box])
    rest = np.where(half_within, -2, alone[:, 4])
    np.testing.assert_array_equal(targets[~has_box, 4], rest[~has_box])
    assert has_box.any() and half_within.any() and not half_within.all()


def test_loss_is_that_of_keras_cv():
    rng = np.random.default_rng(0)
    targets = rng.normal(size=(3, 40, 5)).astype("float32")
    targets[..., 4] = rng.integers(-2, 6, (3, 40))
    outputs = 2 * rng.normal(size=(3, 40, 4 + 6)).astype("float32")
    classes = targets[..., 4]
    focal = keras_cv.losses.FocalLoss(from_logits=True, reduction="none")
    smooth = keras_cv.losses.SmoothL1Loss(reduction="none")
    one_hot = (classes[..., None] == np.arange(6)).astype("float32")
    parts = [
        ops.convert_to_numpy(loss(*map(ops.convert_to_tensor, pair)))
        for loss, pair in (
            (focal, (one_hot, outputs[..., 4:])),
            (smooth, (targets[..., :4], outputs[..., :4])),
        )
    ]
    # It takes the mean over the classes' cross-entropies; here it is the sum.
    expected = (
        np.sum(parts[0] * (classes != -2)) + np.sum(parts[1] * (classes >= 0))
    ) / np.sum(classes >= 0)
    loss = RetinaNetLoss()(targets, outputs)
    # Sums of 720 float32 of about 1.
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_loss_by_hand():
    """One anchor with a box, one of the background and one ignored."""
    targets = np.zeros((1, 3, 5), "float32")
    targets[0, :, 4] = [1, -1, -2]
    targets[0, 0, :4] = [0.5, 0, 3, 0]
    outputs = np.zeros((1, 3, 6), "float32")
    outputs[0, :, :4] = [[0, 0, 0, 0], [9, 9, 9, 9], [9, 9, 9, 9]]
    outputs[0, 2, 4:] = 50
    # Scores of 1/2: (1/2)^2 ln 2, weighted by 1/4 once and 3/4 three times.
    focal = 0.25 * np.log(2) * (0.25 + 3 * 0.75)
    smooth = (0.125 + 2.5) / 4
    assert float(RetinaNetLoss()(targets, outputs)) == pytest.approx(
        focal + smooth, rel=1e-6
    )


def test_loss_of_sure_and_wrong_scores_keeps_its_gradient():
    """Through a clipped sigmoid it would vanish."""
    targets = np.float32([[[0, 0, 0, 0, -1]]])
    outputs = np.float32([[[0, 0, 0, 0, 40], [0, 0, 0, 0, 41]]])
    low, high = (
        float(RetinaNetLoss()(targets, outputs[:, i : i + 1])) for i in (0, 1)
    )
    assert high - low == pytest.approx(0.75, rel=1e-5)


def test_loss_without_boxes_is_of_the_background():
    targets = np.float32([[[0, 0, 0, 0, -1]] * 3])
    outputs = np.zeros((1, 3, 5), "float32")
    expected = 3 * 0.75 * 0.25 * np.log(2)
    assert float(RetinaNetLoss()(targets, outputs)) == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(3))
def test_detections_are_those_of_tensorflow(seed):
    tf = pytest.importorskip("tensorflow")
    rng = np.random.default_rng(seed)
    anchors = anchor_boxes(64, 64, (8, 16))
    offsets = rng.normal(size=anchors.shape)
    scores = rng.random((len(anchors), 3))
    boxes = np.clip(decode(anchors, offsets), 0, 64)
    expected = tf.image.combined_non_max_suppression(
        np.float32(boxes[None, :, None, [1, 0, 3, 2]]),
        np.float32(scores[None]),
        max_output_size_per_class=50,
        max_total_size=50,
        iou_threshold=0.5,
        score_threshold=0.6,
        clip_boxes=False,
    )
    found = detections(
        anchors,
        offsets,
        scores,
        (64, 64),
        smallest_score=0.6,
        largest_iou=0.5,
        count=50,
        candidates=10_000,
    )
    count = int(expected.valid_detections[0])
    assert len(found["scores"]) == count == 50
    np.testing.assert_allclose(found["scores"], expected.nmsed_scores[0])
    np.testing.assert_array_equal(
        found["box_classes"], expected.nmsed_classes[0]
    )
    np.testing.assert_allclose(
        found["boxes"], np.array(expected.nmsed_boxes[0])[:, [1, 0, 3, 2]]
    )


def test_detections_are_within_the_image_and_have_an_area():
    anchors = np.float32([[-9, -9, 5, 5], [60, 4, 90, 20], [-20, 0, -10, 9]])
    found = detections(
        anchors,
        np.zeros((3, 4)),
        np.array([[0.5], [0.9], [0.8]]),
        (30, 70),
        smallest_score=0.05,
        largest_iou=0.5,
        count=9,
    )
    assert found["boxes"].tolist() == [[60, 4, 70, 20], [0, 0, 5, 5]]
    assert found["scores"].tolist() == pytest.approx([0.9, 0.5])


def test_no_detections():
    anchors = anchor_boxes(32, 32, (16,))
    found = detections(
        anchors,
        np.zeros(anchors.shape),
        np.zeros((len(anchors), 2)),
        (32, 32),
        smallest_score=0.05,
        largest_iou=0.5,
        count=9,
    )
    assert found["boxes"].shape == (0, 4) and found["scores"].shape == (0,)


def test_as_many_anchors_at_a_position_as_said():
    assert anchor_boxes(8, 8, (8,)).shape == (anchors.ANCHORS_PER_POSITION, 4)
