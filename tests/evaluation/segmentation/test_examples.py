import numpy as np
import pytest

from keras_vicregl.data import load
from keras_vicregl.evaluation.segmentation.examples import (
    UNLABELLED,
    Labels,
    endless_examples,
    examples,
)

LABELS = Labels(4, 255)
RNG = np.random.default_rng(0)
SIZES = [(5, 6), (4, 9), (5, 6), (7, 7)]
IMAGES = [RNG.integers(0, 256, (*s, 3)).astype(np.uint8) for s in SIZES]
MASKS = [RNG.choice([0, 1, 2, 3, 255], s).astype(np.uint8) for s in SIZES]
STACKED = {
    "images": np.stack([IMAGES[0], IMAGES[2]]),
    "segmentation_masks": np.stack([MASKS[0], MASKS[2]]),
}


def singles(masks=MASKS):
    return [
        {"images": image, "segmentation_masks": mask}
        for image, mask in zip(IMAGES, masks, strict=True)
    ]


def assert_are(found, which):
    assert len(found) == len(which)
    for example, i in zip(found, which, strict=True):
        np.testing.assert_array_equal(example.image, IMAGES[i])
        expected = np.where(MASKS[i] == 255, UNLABELLED, MASKS[i].astype(int))
        np.testing.assert_array_equal(example.mask, expected)
        assert example.mask.dtype == np.int32


@pytest.mark.parametrize(
    ("data", "which"),
    [
        (singles(), range(4)),
        (singles([mask[..., None] for mask in MASKS]), range(4)),
        (list(zip(IMAGES, MASKS, strict=True)), range(4)),
        ([STACKED, singles()[1]], (0, 2, 1)),
        (STACKED, (0, 2)),
        (iter(singles()), range(4)),
    ],
)
def test_forms_of_data(data, which):
    assert_are(list(examples(data, "train", LABELS)), which)


def test_a_source():
    pytest.importorskip("tensorflow")
    masks = STACKED["segmentation_masks"][..., None]
    source = load({**STACKED, "segmentation_masks": masks})
    assert_are(list(examples(source, "train", LABELS)), (0, 2))
    shuffled = [
        tuple(int(e.image.sum()) for e in examples(source, "", LABELS, seed))
        for seed in range(8)
    ]
    assert len(set(shuffled)) == 2
    assert {tuple(sorted(sums)) for sums in shuffled} == {
        tuple(sorted(shuffled[0]))
    }
    without = load(STACKED["images"])
    with pytest.raises(ValueError, match="train must have segmentation masks"):
        next(examples(without, "train", LABELS))


def test_ignored_labels():
    data = {"images": IMAGES[0][None], "segmentation_masks": MASKS[0][None]}
    (example,) = examples(data, "train", Labels(256, None))
    np.testing.assert_array_equal(example.mask, MASKS[0])
    (example,) = examples(data, "train", Labels(256, 2))
    np.testing.assert_array_equal(example.mask == UNLABELLED, MASKS[0] == 2)


def test_epochs():
    count = 10
    images = np.arange(count, dtype=np.uint8)[:, None, None, None]
    data = {
        "images": images * np.ones((4, 4, 3), np.uint8),
        "segmentation_masks": np.zeros((count, 4, 4), int),
    }

    def run(seed):
        stream = endless_examples(data, "train", LABELS, seed)
        return [
            (int(example.image[0, 0, 0]), draw)
            for example, draw in (next(stream) for _ in range(2 * count))
        ]

    first, again, other = run(3), run(3), run(4)
    assert first == again != other
    orders = [i for i, _ in first]
    assert (
        sorted(orders[:count]) == sorted(orders[count:]) == list(range(count))
    )
    assert orders[:count] != orders[count:]
    assert len({draw for _, draw in first + other}) == 4 * count


def bad(i, **changes):
    return [*singles()[:i], {**singles()[i], **changes}, *singles()[i + 1 :]]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            bad(1, segmentation_masks=MASKS[0]),
            r"segmentation_masks of train\[1\] must have the size of the "
            r"image, 4 x 9 pixels. Received: 5 x 6",
        ),
        (
            bad(2, segmentation_masks=MASKS[2] // 10 + 4),
            r"of train\[2\].*between 0 and num_classes - 1 = 3. .* from 4 to",
        ),
        (
            bad(0, segmentation_masks=MASKS[0] / 2),
            r"train\[0\] must be integers. Received: float64",
        ),
        (
            bad(0, segmentation_masks=np.zeros((5, 6, 3), int)),
            r"\(H, W, 1\) or \(H, W\). Received: shape \(5, 6, 3\)",
        ),
        (
            bad(0, images=np.zeros((5, 6))),
            r"must be \(H, W, channels\).*\(5, 6\) and \(5, 6\)",
        ),
        (
            [{"images": np.zeros((2, 5, 6, 3)), "segmentation_masks": [[[1]]]}],
            r"as many segmentation_masks.*\(2, 5, 6, 3\) and \(1, 1, 1\)",
        ),
        ([{"images": IMAGES[0]}], "must have 'segmentation_masks'"),
        ({"images": STACKED["images"]}, "must have 'segmentation_masks'"),
        (
            {**STACKED, "segmentation_masks": MASKS[0][None]},
            "images and segmentation_masks differ in length: 2 and 1",
        ),
        (
            {"images": IMAGES[0], "segmentation_masks": MASKS[0]},
            r"batches of shape \(N, H, W, channels\)",
        ),
        (3, "data must be a dictionary of arrays"),
        (np.zeros((2, 4, 4, 3)), "data must be a dictionary of arrays"),
        (
            [{"images": IMAGES[0][:0], "segmentation_masks": MASKS[0][:0]}],
            "image without pixels",
        ),
    ],
)
def test_bad_data(data, message):
    with pytest.raises(ValueError, match=message):
        list(examples(data, "train", LABELS))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "train is empty"),
        ({k: v[:0] for k, v in STACKED.items()}, "train is empty"),
        (iter(singles()), "ended in epoch 1.*not a generator"),
        (
            singles([np.full(s, 255) for s in SIZES]),
            "train have no pixel.*ignore_label=255",
        ),
    ],
)
def test_data_that_cannot_be_trained_on(data, message):
    stream = endless_examples(data, "train", LABELS, 0)
    with pytest.raises(ValueError, match=message):
        for _ in range(10):
            next(stream)
