"""Random crops of images and masks for segmentation, in NumPy."""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from keras_vicregl.evaluation.segmentation.examples import UNLABELLED, Example

if TYPE_CHECKING:
    from keras_vicregl.evaluation.features.extraction import Preprocess

_AHEAD = 3  # batches that are made, a thread each, while one is trained on


class Augmentation(NamedTuple):
    """How an example becomes a crop."""

    crop_size: tuple[int, int]
    scales: tuple[float, float]
    flip: bool
    shorter_side: int | None

    def crop(self, example: Example, rng: np.random.Generator) -> Example:
        """A crop of the example at a random scale, of `crop_size` at most.

        Image bilinear, without antialiasing, and mask by nearest neighbours, on
        the same grid: pixel centres at half coordinates.
        """
        sides = example.mask.shape
        scale = rng.uniform(*self.scales)
        scaled = scaled_size(sides, self.shorter_side, scale)
        grid = []
        for side, whole, size in zip(
            sides, scaled, self.crop_size, strict=True
        ):
            first = rng.integers(0, max(whole - size, 0), endpoint=True)
            pixels = np.arange(first, min(first + size, whole))
            grid.append((pixels + 0.5) * side / whole - 0.5)
        rows, columns = grid
        if self.flip and rng.random() < 0.5:
            columns = columns[::-1]
        image = sample(example.image, rows, columns)
        # Centres of source pixels are at whole numbers here, so that this is
        # the pixel that a point lies in.
        nearest = [np.floor(p + 0.5).astype(np.intp) for p in (rows, columns)]
        return Example(image, example.mask[np.ix_(*nearest)])


def scaled_size(
    size: tuple[int, int], shorter_side: int | None, scale: float = 1.0
) -> tuple[int, int]:
    """Height and width of an image of a size after it has been scaled.

    Args:
        size: Height and width.
        shorter_side: What the smaller of the two is brought to before, with
            the other one in proportion. None: nothing.
        scale: Factor of both.
    """
    if shorter_side is not None:
        scale *= shorter_side / min(size)
    height, width = (max(round(side * scale), 1) for side in size)
    return height, width


def sample(
    image: np.ndarray, rows: np.ndarray, columns: np.ndarray
) -> np.ndarray:
    """Bilinear samples of an image (H, W, C) on a grid.

    Args:
        image: Any numeric type.
        rows: (h,) positions, the centre of the first row being 0.
        columns: (w,) positions.

    Returns:
        (h, w, C) float32. Beyond the outermost centres their value continues.
    """
    for axis, positions in enumerate((rows, columns)):
        positions = positions.clip(0, image.shape[axis] - 1)
        before = positions.astype(np.intp)
        after = np.minimum(before + 1, image.shape[axis] - 1)
        weight = (positions - before).astype(np.float32)
        weight = weight.reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
        first = np.take(image, before, axis).astype(np.float32)
        image = np.take(image, after, axis).astype(np.float32)
        image -= first
        image *= weight
        image += first
    return image


def resize_image(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """An image (H, W, C) as (*size, C) float32, bilinear."""
    if image.shape[:2] == size:
        return np.asarray(image, np.float32)
    rows, columns = (
        (np.arange(length) + 0.5) * side / length - 0.5
        for length, side in zip(size, image.shape[:2], strict=True)
    )
    return sample(image, rows, columns)


def crop_batches(
    stream: Iterator[tuple[Example, Sequence[int]]],
    augmentation: Augmentation,
    count: int,
    batch_size: int,
    preprocess: Preprocess,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Batches of random crops, made ahead in threads.

    Args:
        stream: Examples, and for each a seed that decides all that is drawn.
        augmentation: How to crop.
        count: Number of batches.
        batch_size: Crops in a batch.
        preprocess: See `extract_features`.

    Yields:
        Images (B, h, w, C) float32, after `preprocess`, and masks (B, h, w, 1)
        int32. Where a crop is smaller there are zeros - the mean colour - and
        UNLABELLED at the bottom and on the right.
    """

    def prepared(example: Example, seed: Sequence[int]) -> Example:
        crop = augmentation.crop(example, np.random.default_rng(seed))
        if preprocess is None:
            return crop
        return Example(np.asarray(preprocess(crop.image[None]))[0], crop.mask)

    def batch(group: list[tuple[Example, Sequence[int]]]) -> tuple:
        crops = [prepared(*each) for each in group]
        shape = (batch_size, *augmentation.crop_size)
        images = np.zeros((*shape, crops[0].image.shape[-1]), np.float32)
        masks = np.full((*shape, 1), UNLABELLED, np.int32)
        for i, (image, mask) in enumerate(crops):
            height, width = mask.shape
            images[i, :height, :width] = image
            masks[i, :height, :width, 0] = mask
        return images, masks

    groups = ([next(stream) for _ in range(batch_size)] for _ in range(count))
    return _ahead(batch, groups)


def _ahead(function: Callable, arguments: Iterable) -> Iterator:
    """`map`, a few elements ahead of the consumer."""
    with ThreadPoolExecutor(_AHEAD) as pool:
        waiting: collections.deque[Future] = collections.deque()
        for argument in arguments:
            waiting.append(pool.submit(function, argument))
            if len(waiting) > _AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
