"""Digit scenes: a small data set with class and pixel labels, made on the fly.

Real handwritten digits on crops of real photographs. Nothing is downloaded:
both come with scikit-learn. A scene has what the evaluation of dense features
needs - a label for the image and one for every pixel - at a size at which a
laptop pretrains a backbone in minutes.
"""

import functools
import operator
from typing import Any, NamedTuple

import numpy as np

from keras_vicregl.data.boxes import BOX_CLASSES, BOXES, tight_boxes

CLASS_NAMES = tuple("0123456789")
"""Names of the classes of `"labels"` and `"box_classes"`: the ten digits."""

SEGMENTATION_CLASS_NAMES = ("background", *CLASS_NAMES)
"""Names of the classes of `"segmentation_masks"`: digit d is class d + 1."""

_SPLITS = ("train", "test")
_CROP_SIDES = (48, 180)  # of the photograph, in its pixels
_BACKGROUND_MEANS = (60, 120)
_PADDING = 4  # at least the reach of the bicubic kernel, 2 samples


class _Style(NamedTuple):
    max_digits: int
    digit_sides: tuple[int, int]
    darkest_ink: int
    half_contrast: bool


_EASY = _Style(2, (22, 44), darkest_ink=200, half_contrast=True)
_HARD = _Style(3, (16, 40), darkest_ink=0, half_contrast=False)


class _Sources(NamedTuple):
    digits: np.ndarray  # (n, 8 + 2 padding, 8 + 2 padding) uint8 ink
    classes: np.ndarray  # (n,) int
    photographs: tuple[Any, ...]  # PIL images


class _Digit(NamedTuple):
    sample: int  # index into the digits of the split
    side: int
    top: int
    left: int
    ink: tuple[int, int, int]


class _Layout(NamedTuple):
    photograph: int
    box: tuple[int, int, int, int]  # left, top, right, bottom
    mean: float
    digits: tuple[_Digit, ...]  # back to front, that is small to large


def digit_scenes(
    split: str,
    count: int,
    *,
    size: int = 64,
    seed: int = 0,
    hard: bool = False,
    boxes: bool = False,
) -> dict[str, np.ndarray]:
    """Generates images of handwritten digits on photographs, with labels.

    The background is a random crop (48 to 180 px a side) of one of two
    photographs, resized, at half contrast around a random mean of 60 to 120.
    On it stand one or two handwritten digits of 22 to 44 px in bright ink (200
    to 255 in each channel). They may overlap; larger ones are in front, and
    the front one gives the image its label.

    The hard variant leaves the photograph as it is, uses any ink colour (so
    that a digit may be hard to tell from its background), and draws one to
    three digits of 16 to 40 px.

    The splits share neither digit samples nor photograph regions: the last
    quarter of the digits and the right third of the photographs are for
    testing. Scene i depends on `(seed, split, i)` and the options only, so a
    smaller set is the beginning of a larger one.

    Needs scikit-learn and Pillow: `pip install "keras-vicregl[examples]"`.
    More than 1,000 scenes of 64 px a second on one core.

    Args:
        split: `"train"` or `"test"`.
        count: Number of scenes, N.
        size: Height and width of the images in pixels, at least 44 (40 for
            the hard variant), the side of the largest digit. Digits keep
            their size in pixels whatever the size of the image.
        seed: A non-negative integer.
        hard: Whether to make the hard variant.
        boxes: Whether to add boxes. All else stays the same.

    Returns:
        A dictionary of arrays: `"images"` (N, size, size, 3) uint8, `"labels"`
        (N,) int32, the class (0 to 9) of the largest digit, and
        `"segmentation_masks"` (N, size, size, 1) uint8, 0 for the background
        and d + 1 for digit d. With `boxes`, for the M = 2 (hard: 3) digits
        there may be, `"boxes"` (N, M, 4) float32, left, top, right and bottom
        in pixels, right and bottom exclusive, and `"box_classes"` (N, M) int32,
        0 to 9. A box is the smallest around the pixels that a digit has in the
        mask: around what is visible of it. Front ones come first: `"labels"`
        are `"box_classes"[:, 0]`. Digits that are wholly hidden have no box;
        places without one have zeros and the class -1.

    Raises:
        ValueError: If an argument is outside what it may be.
        ImportError: If scikit-learn or Pillow is not installed.

    Example:

    >>> scenes = digit_scenes("train", 8)
    >>> scenes["images"].shape, scenes["segmentation_masks"].shape
    ((8, 64, 64, 3), (8, 64, 64, 1))
    >>> scenes = digit_scenes("train", 2, boxes=True)
    >>> scenes["boxes"][0].tolist(), scenes["box_classes"][0].tolist()
    ([[38.0, 17.0, 63.0, 51.0], [43.0, 8.0, 59.0, 29.0]], [1, 1])
    """
    style = _HARD if hard else _EASY
    _check_arguments(split, count, size, seed, style)
    sources = _load_sources(split)
    images = np.empty((count, size, size, 3), np.uint8)
    labels = np.empty(count, np.int32)
    masks = np.empty((count, size, size, 1), np.uint8)
    places = np.zeros((count, style.max_digits, 4), np.float32)
    classes = np.full((count, style.max_digits), -1, np.int32)
    for i in range(count):
        rng = np.random.default_rng([seed, _SPLITS.index(split), i])
        layout = _draw_layout(rng, sources, size, style)
        images[i], instances = _render(layout, sources, size, style)
        # From back to front, as instances are.
        drawn = sources.classes[[digit.sample for digit in layout.digits]]
        masks[i, :, :, 0] = np.append(0, drawn + 1)[instances]
        labels[i] = drawn[-1]
        if boxes:
            found, numbers = tight_boxes(instances)
            places[i, : len(found)] = found[::-1]
            classes[i, : len(found)] = drawn[numbers[::-1] - 1]
    arrays = {"images": images, "labels": labels, "segmentation_masks": masks}
    return {**arrays, BOXES: places, BOX_CLASSES: classes} if boxes else arrays


def _check_arguments(
    split: str, count: int, size: int, seed: int, style: _Style
) -> None:
    if split not in _SPLITS:
        raise ValueError(
            f"split must be one of {', '.join(map(repr, _SPLITS))}. "
            f"Received: split={split!r}"
        )
    smallest = {"count": 1, "size": style.digit_sides[1], "seed": 0}
    for name, value in (("count", count), ("size", size), ("seed", seed)):
        try:
            fits = operator.index(value) >= smallest[name]
        except TypeError:
            fits = False
        if not fits:
            why = " (the side of the largest digit)" if name == "size" else ""
            raise ValueError(
                f"{name} must be an integer of at least {smallest[name]}{why}. "
                f"Received: {name}={value!r}"
            )


@functools.cache
def _load_sources(split: str) -> _Sources:
    try:
        from PIL import Image
        from sklearn.datasets import load_digits, load_sample_images

        bunch = load_digits()
        photographs = load_sample_images().images
    except ImportError as error:
        raise ImportError(
            "digit_scenes takes its digits and photographs from scikit-learn, "
            "and reads them with Pillow: pip install scikit-learn pillow."
        ) from error
    digits = np.rint(bunch.images * (255 / 16)).astype(np.uint8)
    pad = ((0, 0), (_PADDING, _PADDING), (_PADDING, _PADDING))
    chosen = _digit_range(split, len(digits))
    return _Sources(
        np.pad(digits, pad)[chosen],
        bunch.target[chosen],
        # Cut apart before anything is resized, lest a filter at the border
        # reach over it.
        tuple(
            Image.fromarray(
                np.ascontiguousarray(
                    photo[:, _column_range(split, photo.shape[1])]
                )
            )
            for photo in photographs
        ),
    )


def _digit_range(split: str, count: int) -> slice:
    """Which samples of the digits a split draws from.

    Neighbouring samples are often by one writer, so that contiguous parts
    make for a more honest test than alternating ones.
    """
    border = 3 * count // 4
    return slice(border) if split == "train" else slice(border, count)


def _column_range(split: str, width: int) -> slice:
    """Which columns of a photograph a split crops from."""
    border = 2 * width // 3
    return slice(border) if split == "train" else slice(border, width)


def _draw_layout(
    rng: np.random.Generator, sources: _Sources, size: int, style: _Style
) -> _Layout:
    """Draws all that is random about a scene."""
    # One call for all the uniform numbers there can be: ten times as fast as
    # one call for each.
    uniform = iter(rng.random(6 + 7 * style.max_digits).tolist())

    def integer(low: int, high: int) -> int:
        return low + int(next(uniform) * (high - low + 1))

    photograph = integer(0, len(sources.photographs) - 1)
    width, height = sources.photographs[photograph].size
    crop = integer(*_CROP_SIDES)
    left, top = integer(0, width - crop), integer(0, height - crop)
    darkest, brightest = _BACKGROUND_MEANS
    mean = darkest + next(uniform) * (brightest - darkest)
    digits = []
    for _ in range(integer(1, style.max_digits)):
        side = integer(*style.digit_sides)
        digits.append(
            _Digit(
                sample=integer(0, len(sources.digits) - 1),
                side=side,
                top=integer(0, size - side),
                left=integer(0, size - side),
                ink=(
                    integer(style.darkest_ink, 255),
                    integer(style.darkest_ink, 255),
                    integer(style.darkest_ink, 255),
                ),
            )
        )
    digits.sort(key=lambda digit: digit.side)
    return _Layout(
        photograph, (left, top, left + crop, top + crop), mean, tuple(digits)
    )


def _render(
    layout: _Layout, sources: _Sources, size: int, style: _Style
) -> tuple[np.ndarray, np.ndarray]:
    """Paints a scene.

    Returns:
        The image, and (size, size) uint8: which of its digits, counted from 1,
        is visible at a pixel; 0 for the background.
    """
    canvas = _background(layout, sources, size, style.half_contrast)
    instances = np.zeros((size, size), np.uint8)
    for number, digit in enumerate(layout.digits, start=1):
        rows = slice(digit.top, digit.top + digit.side)
        columns = slice(digit.left, digit.left + digit.side)
        coverage = _upsample(sources.digits[digit.sample], digit.side)
        area = canvas[rows, columns]
        area += coverage[:, :, None] * (np.float32(digit.ink) - area)
        instances[rows, columns][coverage >= 0.5] = number
    return np.rint(canvas).astype(np.uint8), instances


def _background(
    layout: _Layout, sources: _Sources, size: int, half_contrast: bool
) -> np.ndarray:
    """Crops and resizes the photograph: (size, size, 3) float32."""
    from PIL import Image

    photograph = sources.photographs[layout.photograph]
    crop = photograph.resize(
        (size, size), Image.Resampling.BILINEAR, box=layout.box
    )
    canvas = np.array(crop, np.float32)
    if half_contrast:
        canvas *= 0.5
        canvas += layout.mean - canvas.mean()
        np.clip(canvas, 0, 255, out=canvas)
    return canvas


def _upsample(digit: np.ndarray, side: int) -> np.ndarray:
    """Scales a padded 8 x 8 digit to (side, side) float32 in [0, 1]."""
    from PIL import Image

    box = (_PADDING, _PADDING, _PADDING + 8, _PADDING + 8)
    scaled = Image.fromarray(digit).resize(
        (side, side), Image.Resampling.BICUBIC, box=box
    )
    return np.array(scaled, np.float32) / 255
