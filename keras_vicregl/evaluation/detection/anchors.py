"""Anchor boxes: their places, targets of training, and boxes from scores.

NumPy: targets are made, and scores read, outside of the network, so that they
are the same on every backend and nothing is compiled for a number of boxes.
"""

import functools

import numpy as np

# As in Lin et al., "Focal Loss for Dense Object Detection" (2017): sides of 4
# strides, and two sizes between them and the next level's.
_SIDE = 4.0
_OCTAVES = 2.0 ** (np.arange(3) / 3)
_RATIOS = np.array([0.5, 1.0, 2.0])  # width / height
ANCHORS_PER_POSITION = len(_OCTAVES) * len(_RATIOS)

# Offsets are divided by these, so that they have about the same spread.
_SCALES = np.float32([0.1, 0.1, 0.2, 0.2])
_LARGEST_LOG = np.log(1000 / 16)  # keeps exponentials finite

BACKGROUND, IGNORED = -1, -2


@functools.lru_cache(maxsize=32)
def anchor_boxes(
    height: int, width: int, strides: tuple[int, ...]
) -> np.ndarray:
    """Anchors of all levels, around the centres of their positions.

    Args:
        height: Of the image in pixels.
        width: Of the image in pixels.
        strides: Pixels per position of each level, whose map has
            `ceil(height / stride)` rows.

    Returns:
        (A, 4) float32, left, top, right, bottom: level after level, in each
        row by row, and at each position size by size, then ratio by ratio.

    Example:

    >>> anchor_boxes(8, 16, (8,)).shape, anchor_boxes(8, 8, (8,))[1].tolist()
    ((18, 4), [-12.0, -12.0, 20.0, 20.0])
    """
    levels = []
    for stride in strides:
        y, x = (
            (np.arange(-(-size // stride)) + 0.5) * stride
            for size in (height, width)
        )
        centres = np.stack(np.meshgrid(x, y), axis=-1)[:, :, None]
        sides = _SIDE * stride * _OCTAVES[:, None]
        half = 0.5 * np.stack(
            [sides * np.sqrt(_RATIOS), sides / np.sqrt(_RATIOS)], axis=-1
        ).reshape(-1, 2)
        corners = [centres - half, centres + half]
        levels.append(np.concatenate(corners, axis=-1).reshape(-1, 4))
    boxes = np.concatenate(levels).astype(np.float32)
    boxes.flags.writeable = False  # shared by all who call
    return boxes


def encode(anchors: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Offsets (..., 4) float32 of boxes from anchors, both (..., 4).

    Of the centre, x and y, in sizes of the anchor, and logarithms of the ratios
    of width and height; divided by 0.1 and 0.2.
    """
    sizes, box_sizes = (_sizes(each) for each in (anchors, boxes))
    shifts = (_centres(boxes) - _centres(anchors)) / sizes
    offsets = np.concatenate([shifts, np.log(box_sizes / sizes)], axis=-1)
    return (offsets / _SCALES).astype(np.float32)


def decode(anchors: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Boxes (..., 4) from anchors and offsets: the inverse of `encode`."""
    offsets = offsets * _SCALES
    sizes = _sizes(anchors)
    centres = _centres(anchors) + offsets[..., :2] * sizes
    half = 0.5 * sizes * np.exp(np.minimum(offsets[..., 2:], _LARGEST_LOG))
    return np.concatenate([centres - half, centres + half], axis=-1)


def assign(
    anchors: np.ndarray,
    boxes: np.ndarray,
    classes: np.ndarray,
    ignored: np.ndarray,
) -> np.ndarray:
    """What the network is to say at each anchor.

    An anchor is given the box with the highest IoU, if that is 0.5 or more; it
    is background below 0.4, and ignored in between. Each box has at least the
    anchor with which its IoU is highest, whatever it is: without that, small
    objects may have none. Anchors half of which or more is within a box that
    is ignored are ignored, unless they have been given another one.

    Args:
        anchors: (A, 4).
        boxes: (M, 4).
        classes: (M,) integers.
        ignored: (M,) booleans: crowds and the like.

    Returns:
        (A, 5) float32: offsets, as from `encode`, and the class, -1 for
        background and -2 for what is ignored.
    """
    targets = np.zeros((len(anchors), 5), np.float32)
    targets[:, 4] = BACKGROUND
    overlaps = _intersections(anchors, boxes[ignored])
    within = (overlaps >= 0.5 * _areas(anchors)[:, None]).any(axis=1)
    boxes, classes = boxes[~ignored], classes[~ignored]
    if not len(boxes):
        targets[within, 4] = IGNORED
        return targets
    overlaps = iou(anchors, boxes)
    number = overlaps.argmax(axis=1)
    highest = overlaps.max(axis=1)
    targets[(highest >= 0.4) | within, 4] = IGNORED
    positive = highest >= 0.5
    # From the last to the first: of boxes with the same anchor the first has
    # it.
    best = overlaps.argmax(axis=0)[::-1]
    own = np.arange(len(boxes))[::-1]
    touching = overlaps[best, own] > 0
    number[best[touching]] = own[touching]
    positive[best] |= touching
    number = number[positive]
    targets[positive, :4] = encode(anchors[positive], boxes[number])
    targets[positive, 4] = classes[number]
    return targets


def detections(
    anchors: np.ndarray,
    offsets: np.ndarray,
    scores: np.ndarray,
    size: tuple[int, int],
    *,
    smallest_score: float,
    largest_iou: float,
    count: int,
    candidates: int = 1000,
) -> dict[str, np.ndarray]:
    """Boxes in an image, from what the network says at its anchors.

    Args:
        anchors: (A, 4).
        offsets: (A, 4).
        scores: (A, classes), from 0 to 1.
        size: Height and width of the image: boxes are cut off there.
        smallest_score: What has a lower score is left out.
        largest_iou: Of boxes of one class that overlap more, only that with the
            highest score is kept.
        count: How many boxes to return at most.
        candidates: How many to consider.

    Returns:
        `"boxes"` (D, 4) float32, `"box_classes"` (D,) int32 and `"scores"` (D,)
        float32, from high to low.
    """
    # An anchor may stand for several classes.
    numbers, classes = np.nonzero(scores >= smallest_score)
    values = scores[numbers, classes]
    order = np.argsort(-values, kind="stable")[:candidates]
    numbers, classes, values = numbers[order], classes[order], values[order]
    boxes = decode(anchors[numbers], offsets[numbers])
    height, width = size
    boxes = np.clip(boxes, 0, [width, height, width, height])
    some = np.flatnonzero((boxes[:, 2:] > boxes[:, :2]).all(axis=1))
    kept = some[_suppress(boxes[some], classes[some], largest_iou, count)]
    return {
        "boxes": boxes[kept].astype(np.float32),
        "box_classes": classes[kept].astype(np.int32),
        "scores": values[kept].astype(np.float32),
    }


def iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Intersection over union (N, M) of boxes (N, 4) and (M, 4)."""
    shared = _intersections(first, second)
    return shared / (_areas(first)[:, None] + _areas(second) - shared)


def _suppress(
    boxes: np.ndarray, classes: np.ndarray, largest_iou: float, count: int
) -> np.ndarray:
    """Which boxes stay, of boxes in the order of their scores."""
    kept: list[int] = []
    left = np.arange(len(boxes))
    while left.size and len(kept) < count:
        first, left = left[0], left[1:]
        kept.append(first)
        overlaps = iou(boxes[first][None], boxes[left])[0]
        same = classes[left] == classes[first]
        left = left[~(same & (overlaps > largest_iou))]
    return np.array(kept, int)


def _intersections(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    low = np.maximum(first[:, None, :2], second[:, :2])
    high = np.minimum(first[:, None, 2:], second[:, 2:])
    return np.maximum(high - low, 0).prod(axis=-1)


def _sizes(boxes: np.ndarray) -> np.ndarray:
    return boxes[..., 2:] - boxes[..., :2]


def _centres(boxes: np.ndarray) -> np.ndarray:
    return 0.5 * (boxes[..., :2] + boxes[..., 2:])


def _areas(boxes: np.ndarray) -> np.ndarray:
    return _sizes(boxes).prod(axis=-1)
