"""Batches for views made on the device, without TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from keras_vicregl.data._checks import ImageCheck
from keras_vicregl.data.batches.epoch_batches import EpochBatches, Order
from keras_vicregl.data.sources.arrays import ArraySource, from_arrays
from keras_vicregl.data.sources.image_source import ImageSource
from keras_vicregl.views import MultiView
from keras_vicregl.views.device_inputs import device_inputs
from keras_vicregl.views.keys import IMAGES, LABELS


class ArrayBatches(EpochBatches):
    """Shuffled batches of images in memory, whose views the model makes.

    What `view_batches` is for views made on the device, for machines that have
    only JAX or PyTorch. The two give the same batches: the order of the
    examples and what is drawn for their views depend on `(seed, epoch, index of
    the example)` and nothing else, neither on the number of workers nor on
    what was drawn before.

    An epoch has passed when `fit`, or a loop over this object, has come to its
    end; one that was given up before is begun again. An interrupted run goes
    on where it stopped with `start`, `fit`'s `initial_epoch` telling the same
    epoch. Where it starts in the middle of one, that one is shorter, and needs
    a `fit` of its own: Keras takes the length of the first for that of all.
    `keras_vicregl.training.pretrain` sees to that.

    Args:
        arrays: Images (N, H, W, C), uint8 or with a `value_range` of
            `multi_view` uint16 or float32, a dictionary of `"images"` and
            optionally `"labels"` (N,), or what `load` returns for these. They
            may be memory-mapped files.
        multi_view: A `keras_vicregl.views.MultiView` with `on="device"`, the
            same as the model's `views`.
        batch_size: Examples in a batch, over all processes and devices.
        seed: A non-negative integer.
        shuffle: Whether the examples come in another order in each epoch.
        drop_remainder: Whether to drop the last batch where it is smaller.
        start: Epoch and step at which the first iteration begins.
        fixed: Whether every iteration is the same epoch, that of `start`: the
            same views in the same batches, so that `val_loss` is comparable
            from one evaluation to the next, and in a resumed run.
        shard: Number of this process, and how many there are. Process p of P
            gets rows p B / P to (p + 1) B / P of each batch of B.
        workers: Threads that prepare batches; with 1, `fit` prepares each when
            it needs it.
        max_queue_size: Batches to prepare ahead where there are more workers.

    Raises:
        ValueError: If an argument is outside what it may be, or not one full
            batch would come out.

    Example:

    >>> views = MultiView.scenes(size=32, on="device")
    >>> images = np.zeros((6, 64, 64, 3), "uint8")
    >>> batches = ArrayBatches(images, views, batch_size=3, seed=0)
    >>> (inputs,) = batches[0]
    >>> inputs["images"].shape, inputs["parameters"][0]["boxes"].shape
    ((3, 64, 64, 3), (3, 2, 4))
    """

    def __init__(
        self,
        arrays: Mapping[str, np.ndarray] | np.ndarray | ArraySource,
        multi_view: MultiView,
        *,
        batch_size: int,
        seed: int,
        shuffle: bool = True,
        drop_remainder: bool = True,
        start: tuple[int, int] = (0, 0),
        fixed: bool = False,
        shard: tuple[int, int] = (0, 1),
        workers: int = 1,
        max_queue_size: int = 10,
    ) -> None:
        self._arrays = _images_and_labels(arrays)
        super().__init__(
            ArraySource(self._arrays),
            multi_view,
            batch_size=batch_size,
            seed=seed,
            shuffle=shuffle,
            drop_remainder=drop_remainder,
            start=start,
            fixed=fixed,
            shard=shard,
            workers=workers,
            max_queue_size=max_queue_size,
        )
        self._check_values = ImageCheck(
            multi_view, self._arrays[IMAGES], "arrays"
        )
        self._order = Order(self._count, self._plan, self._seed)

    def _batch(self, epoch: int, step: int) -> tuple[Any, ...]:
        seeds = self._order.seeds(epoch, step)
        chosen = seeds[:, 1]
        batch = {key: array[chosen] for key, array in self._arrays.items()}
        self._check_values(batch[IMAGES], chosen)
        views = self._multi_view
        return views.to_fit(device_inputs(views, **batch, seeds=seeds))


def _images_and_labels(arrays: Any) -> dict[str, np.ndarray]:
    if isinstance(arrays, ImageSource) and not isinstance(arrays, ArraySource):
        raise ValueError(
            "ArrayBatches is for images in memory. Of what load makes of files "
            "or folders view_batches makes batches, with TensorFlow and "
            f"without. Received: {arrays!r}"
        )
    source = arrays if isinstance(arrays, ArraySource) else from_arrays(arrays)
    return {k: v for k, v in source._arrays.items() if k in (IMAGES, LABELS)}
