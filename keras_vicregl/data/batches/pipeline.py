"""From labelled images to the batches of views that `fit` takes.

TensorFlow is imported by the functions, not by the module: the arrays of a
data set are of use without it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from keras_vicregl._warnings import warn
from keras_vicregl.data._checks import (
    ImageCheck,
    check_fixed,
    check_integer,
    check_recipe,
    check_shard,
    check_start,
)
from keras_vicregl.data.batches.array_batches import ArrayBatches
from keras_vicregl.data.batches.canvas import Canvas, canvas_size
from keras_vicregl.data.batches.identity import examples_of, identity_of
from keras_vicregl.data.batches.source_batches import SourceBatches
from keras_vicregl.data.batches.view_making import (
    MultiViewLike,
    batches_of_views,
)
from keras_vicregl.data.decoding.forms import Form
from keras_vicregl.data.engine import (
    PYTHON,
    choose_engine,
    needs_tensorflow,
)
from keras_vicregl.data.sources.array_rows import native
from keras_vicregl.data.sources.arrays import ArraySource
from keras_vicregl.data.sources.image_source import ImageSource
from keras_vicregl.data.streams import epochs, lasting
from keras_vicregl.views import MultiView
from keras_vicregl.views.keys import IMAGES
from keras_vicregl.views.values import (
    DTYPES,
    MOST_BEYOND,
    beyond,
    told_beyond,
)

if TYPE_CHECKING:
    import tensorflow as tf

    from keras_vicregl.data.batches.epoch_batches import EpochBatches

# Examples to shuffle among where the source does not hold all in memory.
_SHUFFLE_BUFFER = 1024
# Batches of images on canvases that are kept ready.
_PREFETCH = 2
# Images of files whose values are looked at.
_LOOKED_AT = 3


def view_batches(
    data: Mapping[str, np.ndarray] | ImageSource | tf.data.Dataset,
    multi_view: MultiViewLike,
    *,
    batch_size: int,
    seed: int,
    shuffle: bool | int = True,
    drop_remainder: bool = True,
    start: tuple[int, int] = (0, 0),
    fixed: bool = False,
    shard: tuple[int, int] = (0, 1),
    prefetch: int | None = None,
    engine: str = "auto",
    canvas: int | tuple[int, int] | None = None,
) -> tf.data.Dataset | EpochBatches:
    """Shuffled batches of views for `fit`, new ones in each epoch.

    The views of an example depend on `(seed, epoch, index of the example)` and
    so does the order of the examples: neither on threads, nor on what was
    drawn before. An epoch is an iteration over the data set. It has passed
    when its last batch has been taken; one that was given up before that is
    begun again, so that looking at a batch changes nothing. (Whoever takes
    batches ahead must take fewer than an epoch has: `fit` takes two under JAX
    on accelerators, and some more under TensorFlow's strategies.)

    An interrupted run goes on where it stopped with `start`. To get to a step
    in the middle of an epoch nothing is decoded again, and with files or
    arrays, nothing read. The rest of that epoch needs a `fit` of its own, since
    Keras takes the length of the first epoch for that of all
    (`keras_vicregl.training.pretrain` sees to that):

        batches = view_batches(..., start=(epoch, step))
        model.fit(batches, initial_epoch=epoch, epochs=epoch + 1)
        model.fit(batches, initial_epoch=epoch + 1, epochs=100)

    What is validated on should be the same each time:

        model.fit(
            view_batches(train, views, batch_size=256, seed=0),
            validation_data=view_batches(
                test, views, batch_size=256, seed=0, fixed=True
            ),
        )

    Where an image cannot be read and `on_error="skip"` was given to `load`,
    the one before it in the batch (of this process) takes its place, and the
    last one where there is none before. So neither the length of an epoch nor
    the place of any other image depends on what could be read.

    Where TensorFlow is not installed, Python reads and decodes (Pillow, in
    threads), for views on the device: order, views and labels are the same for
    a seed, pixels those of another decoder (of JPEG, PNG, GIF, BMP and WebP
    files they have been the same), and a run may go on with the other engine.

    Args:
        data: What `load` returns; a dictionary of arrays; or an unbatched
            `tf.data.Dataset` of dictionaries, with `"images"` (H, W, C) and
            optionally `"labels"`, which must yield its examples in the same
            order each time. Where images may differ in size, views on the
            host are made image by image instead of batch by batch, and those on
            the device of a canvas, see there.
        multi_view: A `keras_vicregl.views.MultiView`, or a function that puts
            other layers before it: takes a dictionary with the keys of
            `data` and `"seeds"`, (B, 2) int64, on which all its randomness
            should depend.
        batch_size: Examples in a batch, over all processes and devices.
        seed: A non-negative integer.
        shuffle: False keeps the order. True shuffles completely what can be
            read in any order (arrays, files, TFDS with `cache=True`), and a
            stream (TFDS without, a `tf.data.Dataset`) within a buffer of 1024
            examples; an integer is the size of the buffer in either case.
        drop_remainder: Whether to drop the last batch where it is smaller.
        start: Epoch and step at which the first iteration begins; each further
            one is the next epoch. With a step other than 0 the data set has
            no cardinality, since the first epoch is shorter.
        fixed: Whether every iteration is the same epoch, that of `start`: the
            same views in the same batches, so that `val_loss` is comparable
            from one evaluation to the next, and in a resumed run.
        shard: Number of this process, and how many there are. Process p of P
            gets rows p B / P to (p + 1) B / P of each batch of B. (Of a stream
            each process reads all, but decodes its own part only.)
        prefetch: Batches to prepare ahead. Default: as many as tf.data finds
            useful; 2 on canvases, and in Python, where those of the next epoch
            are prepared too.
        engine: What reads the images: `"tensorflow"` (tf.data), `"python"`, or
            `"auto"`, TensorFlow where it is installed.
        canvas: For views on the device, of images that may differ in size:
            height and width in pixels of the arrays in which they come there,
            in the upper left corner. Images that are larger are made smaller to
            fit, which is told of once; maps and `"source_size"` are still those
            of the image as it was. Default: the largest of some that are looked
            at (the beginnings of 256 files), but 512 at most.

    Returns:
        A data set of tuples `(inputs, labels)`, or `(inputs,)` where `data` has
        no labels, as `MultiView.to_fit` arranges them; a
        `keras.utils.PyDataset` of the same, one epoch long each time, where
        Python reads them.

    Raises:
        ValueError: If an argument is outside what it may be, or not one full
            batch would come out.
        TypeError: If `data` is none of the kinds above.
        tf.errors.InvalidArgumentError: From an iteration: an image cannot be
            read and `on_error="raise"`, or all of a batch cannot. The
            message says which and why. (In Python a ValueError.)
        ModuleNotFoundError: If TensorFlow is needed and not installed, or
            Python was asked for what TensorFlow alone does: views on the host,
            data of TFDS and `tf.data.Dataset`.

    Example:

    >>> from keras_vicregl.views import MultiView
    >>> images = {"images": np.zeros((6, 64, 64, 3), "uint8")}
    >>> batches = view_batches(
    ...     images, MultiView.scenes(size=32), batch_size=3, seed=0
    ... )
    >>> [inputs["views"][1].shape for (inputs,) in batches]
    [TensorShape([3, 32, 32, 3]), TensorShape([3, 32, 32, 3])]
    """
    check_integer("batch_size", batch_size, smallest=1)
    check_integer("seed", seed, smallest=0)
    if not isinstance(shuffle, bool):
        check_integer("shuffle", shuffle, smallest=1)
    data = check_engine(data, multi_view, engine=engine, canvas=canvas)
    on_canvas = _is_on_canvas(data, multi_view)
    if isinstance(multi_view, MultiView):
        _look_at_values(data, multi_view)
    if choose_engine(engine) == PYTHON:
        return _in_python(
            data,
            cast("MultiView", multi_view),
            shuffle=shuffle,
            batch_size=batch_size,
            seed=seed,
            drop_remainder=drop_remainder,
            start=start,
            fixed=fixed,
            shard=shard,
            prefetch=prefetch,
            canvas=canvas,
        )
    from keras_vicregl._tensorflow import tf

    plan = epochs.Plan(
        batch_size,
        drop_remainder,
        shuffle,
        check_shard(shard, batch_size, drop_remainder),
    )
    source = data
    if isinstance(source, ArraySource) and isinstance(multi_view, MultiView):
        ImageCheck(multi_view, source._arrays[IMAGES], source.name)
    steps = plan.steps(source._cardinality)
    if steps == 0:
        raise ValueError(
            f"{source._cardinality} examples do not fill a batch of "
            f"batch_size={batch_size}. Lower it, or pass drop_remainder=False."
        )
    epoch, step = check_start(start, steps)
    fixed = check_fixed(fixed, step)

    # Not on a GPU, where constants would stay.
    with tf.device("cpu"):
        position = epochs.Position((epoch, step), fixed)
        taken = epochs.Taken()
        # A stream may not be read beyond its end.
        lasts = on_canvas and steps > 0
        beginning = lasting.Beginning(fixed)
        groups = epochs.epochs(
            lambda order_seed: source._groups(plan, order_seed),
            seed=seed,
            steps=steps,
            begun=beginning.positions() if lasts else position.begun(),
        )
        if on_canvas:
            recipe = cast("MultiView", multi_view)
            placing = Canvas(source, recipe, canvas_size(source, canvas))
            batches = batches_of_views(
                groups, source, placing.placed, plan, placing.padded_shapes
            )
            batches = batches.map(
                lambda batch, facts: (placing.with_parameters(batch), facts),
                num_parallel_calls=tf.data.AUTOTUNE,
                deterministic=True,
            )
        else:
            batches = batches_of_views(groups, source, multi_view, plan)
        batches = batches.map(
            lambda batch, facts: (MultiView.to_fit(batch), facts)
        )
        if prefetch is None:
            # One that lasts would fill whatever memory tf.data allows it.
            prefetch = _PREFETCH if lasts else tf.data.AUTOTUNE
        batches = batches.prefetch(prefetch)
        if lasts:
            batches = lasting.one_epoch_each(
                batches, beginning, position, steps
            )
        batches = epochs.finish_epochs(batches, position, steps, taken)
        if not step and steps != tf.data.UNKNOWN_CARDINALITY:
            batches = batches.apply(
                tf.data.experimental.assert_cardinality(steps)
            )
    # For `fit` and `pretrain`.
    batches.multi_view = multi_view
    batches.identity = identity_of(source, plan, seed)
    if on_canvas:
        batches.canvas = placing.size
        batches.identity["canvas"] = list(placing.size)
    batches.last_taken = taken.last
    # What a `tf.data.Dataset` shuffles only it knows.
    if not isinstance(source, _DatasetSource):
        batches.examples = examples_of(source._cardinality, plan, seed)
    return batches


def check_engine(
    data: Any,
    multi_view: MultiViewLike,
    *,
    engine: str = "auto",
    canvas: int | tuple[int, int] | None = None,
) -> ImageSource:
    """Whether the engine that there is can make batches of these.

    No more than an example is read, where a source does not know its channels
    otherwise: it is known before a run has written anything.

    Args:
        data: See `view_batches`.
        multi_view: See `view_batches`.
        engine: See `view_batches`.
        canvas: See `view_batches`.

    Returns:
        `data` as a source.

    Raises:
        ValueError: If there is no such engine, a canvas for what needs none, or
            `multi_view` is for images of other channels or values.
        ModuleNotFoundError: If TensorFlow is needed, which is not installed or
            was not asked for.
        TypeError: See `view_batches`.
    """
    if choose_engine(engine) == PYTHON:
        if not isinstance(multi_view, MultiView) or multi_view.on != "device":
            raise needs_tensorflow(
                "Views on the host",
                "make them on the device, by MultiView(on='device') here and "
                "in VICRegL(views=...) (of a script: --views on=device)",
            )
    else:
        from keras_vicregl._tensorflow import tf  # noqa: F401, or its error

    source = _as_source(data)
    if isinstance(multi_view, MultiView):
        source = source._of_channels(multi_view.channels)
        form = source._form()
        if form.channels is not None and form.dtype in DTYPES:
            shape = None
            if isinstance(source, ArraySource):
                shape = tuple(source._arrays[IMAGES].shape)
            check_recipe(multi_view, source.name, form, shape)
    if choose_engine(engine) == PYTHON:
        if isinstance(source, _DatasetSource):
            raise needs_tensorflow("Data sets of tf.data")
        source.check_readable_in_python()
    if canvas is not None and not _is_on_canvas(source, multi_view):
        raise ValueError(
            "canvas is for views on the device of images that may differ in "
            f"size. Received: canvas={canvas!r} with {source!r} and views on "
            f"the {getattr(multi_view, 'on', 'host')}"
        )
    return source


def _look_at_values(source: ImageSource, multi_view: MultiView) -> None:
    """Warns where the values of some images are hardly those of the range.

    Those of arrays `ImageCheck` looks at, and of pictures all are known.
    """
    value_range = multi_view.value_range
    if (
        value_range is None
        or isinstance(source, ArraySource)
        or not (source._is_decoded and source._has_example)
    ):
        return
    found = []
    for index in np.unique(np.linspace(0, len(source) - 1, _LOOKED_AT)):
        try:
            image = source._in_time(int(index))[IMAGES]
            found.append(beyond(np.asarray(image), value_range))
        except Exception:  # its turn comes
            continue
    if not found:
        return
    shares, lows, highs = zip(*found, strict=True)
    if min(shares) > MOST_BEYOND:
        warn(told_beyond(min(shares), min(lows), max(highs), value_range))


def _is_on_canvas(source: ImageSource, multi_view: MultiViewLike) -> bool:
    return (
        isinstance(multi_view, MultiView)
        and multi_view.on == "device"
        and not source._is_batched
    )


def _in_python(
    source: ImageSource,
    multi_view: MultiView,
    *,
    prefetch: int | None,
    canvas: int | tuple[int, int] | None,
    **options: Any,
) -> EpochBatches:
    if not isinstance(options["shuffle"], bool):
        raise ValueError(
            "Python shuffles completely: shuffle must be True or False where "
            "TensorFlow is not installed or engine='python'. Received: "
            f"shuffle={options['shuffle']!r}"
        )
    if not isinstance(source, ArraySource):
        return SourceBatches(
            source, multi_view, prefetch=prefetch, canvas=canvas, **options
        )
    if prefetch is not None:
        check_integer("prefetch", prefetch, smallest=1)
        options |= {"workers": 2, "max_queue_size": prefetch}
    return ArrayBatches(source, multi_view, **options)


def steps_per_epoch(
    data: Mapping[str, np.ndarray] | ImageSource | tf.data.Dataset,
    batch_size: int,
    drop_remainder: bool = True,
) -> int:
    """Batches that `view_batches` makes in an epoch.

    Args:
        data: See `view_batches`.
        batch_size: Examples in a batch, over all processes and devices.
        drop_remainder: See `view_batches`.

    Returns:
        The number of them: of a whole epoch, wherever a run has started.

    Raises:
        ValueError: If `data` does not know its length.

    Example:

    >>> steps_per_epoch({"images": np.zeros((10, 8, 8, 3), "uint8")}, 4)
    2
    """
    batch_size = check_integer("batch_size", batch_size, smallest=1)
    count = _as_source(data)._cardinality
    if count < 0:
        raise ValueError(
            "data is a data set of unknown or endless length. Give it one by "
            "tf.data.experimental.assert_cardinality, or by take."
        )
    return epochs.Plan(batch_size, drop_remainder, False, (0, 1)).steps(count)


class _DatasetSource(ImageSource):
    """A `tf.data.Dataset` of examples that are ready."""

    _is_decoded = True

    def __init__(self, dataset: tf.data.Dataset) -> None:
        super().__init__("data", max(int(dataset.cardinality()), 0))
        self._dataset = dataset
        self._cardinality = int(dataset.cardinality())
        spec = dataset.element_spec[IMAGES]
        self._is_batched = spec.shape.is_fully_defined()
        channels: Any = None if spec.shape.rank is None else spec.shape[-1]
        self._known_form = Form(channels, spec.dtype.name)

    def _groups(
        self, plan: epochs.Plan, order_seed: tf.Tensor
    ) -> tf.data.Dataset:
        if plan.shuffle is True:
            plan = plan._replace(shuffle=_SHUFFLE_BUFFER)
        if self._is_batched:
            return epochs.element_groups(self._dataset, plan, order_seed)
        return epochs.window_groups(self._dataset, plan, order_seed)

    def _reader(self) -> Callable[[Any, Any], dict]:
        return lambda index, element: element


def _as_source(data: Any) -> ImageSource:
    if isinstance(data, ImageSource):
        return data
    if isinstance(data, Mapping):
        arrays = {key: native(value, key) for key, value in data.items()}
        if IMAGES in arrays:
            _check_rank(arrays[IMAGES].shape[1:])
            return ArraySource(arrays)
    spec = getattr(data, "element_spec", None)
    if not isinstance(spec, dict) or IMAGES not in spec:
        raise TypeError(
            "data must be what load returns, a dictionary of arrays or a "
            "tf.data.Dataset of dictionaries, with the key 'images'. Received: "
            f"{type(data).__name__}" + ("" if spec is None else f" of {spec}")
        )
    _check_rank(spec[IMAGES].shape)
    return _DatasetSource(data)


def _check_rank(shape: Any) -> None:
    # That of a tensor may be unknown.
    if getattr(shape, "rank", 0) is not None and len(shape) != 3:
        raise ValueError(
            "data must be single examples, images (H, W, 3): view_batches "
            f"makes the batches. Received: images of shape {shape}"
        )
