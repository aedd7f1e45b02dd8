"""A data set as the rest of the package sees it."""

from __future__ import annotations

import contextlib
import copy
import time
import unicodedata
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from keras_vicregl.data._checks import check_example, check_integer
from keras_vicregl.data.decoding.forms import RGB, Form, form_of, grey
from keras_vicregl.data.engine import has_tensorflow, needs_tensorflow
from keras_vicregl.data.sources.mask_labels import IGNORED
from keras_vicregl.data.streams import ahead, epochs
from keras_vicregl.data.streams.ahead import in_order, within
from keras_vicregl.data.streams.dark_files import DarkFiles
from keras_vicregl.data.streams.order import shuffled
from keras_vicregl.data.streams.unreadable import Reason, Unreadable, reason_of
from keras_vicregl.views.keys import IMAGES
from keras_vicregl.views.values import DTYPES

if TYPE_CHECKING:
    import tensorflow as tf

    from keras_vicregl.data.streams.failures import Failures

# Examples read at a time where they are not put into batches.
_GROUP = 16
# How many examples are tried to learn of their form.
_TRIED = 3


def as_written(name: str) -> str:
    """A name in one of the forms in which systems write the same letters."""
    return unicodedata.normalize("NFC", name)


_Source = TypeVar("_Source", bound="ImageSource")


class ImageSource:
    """Images of a data set, and what is known of them: what `load` returns.

    It can be given to `view_batches`. An example has one form, whatever the
    source: a dictionary of `"images"`, (H, W, C) of uint8, uint16 or float32,
    with C and the dtype the same in all of a source, and where there are any
    `"labels"`, an int32 scalar, `"segmentation_masks"`, (H, W, 1) uint8, and
    `"boxes"`, (M, 4) float32, left, top, right and bottom in pixels, with
    `"box_classes"`, (M,) int32, for the M objects in the image.

    Images that are neither files nor arrays have a class of their own, with
    `example`. All else - both engines, views, statistics, evaluations - works
    with that; `class_names`, masks and boxes are told to `__init__`:

        class Volumes(ImageSource):
            def __init__(self, path):
                self._file = h5py.File(path)["slices"]  # (N, H, W), uint16
                super().__init__("volumes", len(self._file))

            def example(self, index):
                return {"images": self._file[index][..., None]}

    Args:
        name: See below.
        length: Number of examples.
        channels: See below. Default: as in the first example that can be read.
        dtype: See below, likewise.
        time_limit: Seconds that reading an example may take, after which it
            counts as one that cannot be read. Default: 300.

    Attributes:
        name: What to call the data set in messages.
        channels: Number of channels C of the images; None of a
            `tf.data.Dataset` that does not tell.
        dtype: Name of their dtype: `"uint8"`, `"uint16"` or `"float32"`.
        class_names: Names of the classes of the labels, or None.
        num_classes: Number of them, or None where there are no labels.
        has_masks: Whether there are segmentation masks.
        has_boxes: Whether there are boxes.
        box_class_names: Names of the classes of boxes, or None.
        on_error: `"raise"` or `"skip"`: what to do about an image that cannot
            be read.
        mask_labels: (256,) uint8, what each label in a mask's file becomes, or
            None: masks are as they are in files.
        ignore_label: The label of pixels that belong to no class: no evaluation
            trains on them or counts them.

    Example:

    >>> from keras_vicregl.data import load
    >>> source = load("digit_scenes", "train", count=10)
    >>> len(source), source.num_classes, source.has_masks
    (10, 10, True)
    >>> example = next(iter(source.dataset()))
    >>> example["images"].shape, example["segmentation_masks"].shape
    (TensorShape([64, 64, 3]), TensorShape([64, 64, 1]))
    """

    # A derived class has `example`, which both engines read by; `_name_of` for
    # messages; `_all_labels` and `_renumbered` if there may be labels. Further,
    # where TensorFlow reads faster by its own operations, `_reader`; where an
    # image costs more than its label, `_for_views`; where sizes are known
    # without decoding, `_size_of` and `_looked_at`. What cannot be read in any
    # order has `_groups` and `_reader`, and is for TensorFlow alone (`subset`
    # then wants a `StreamSource`). A list `_paths` of its files tells its
    # batches from others (`data.batches.identity`).

    # Whether `_reader` gives images rather than the contents of files.
    _is_decoded = True
    # Whether these have one size, so that it can read a whole batch of them.
    _is_batched = False
    # How many images are looked at to learn how large they are.
    _looked_at = 16

    def __init__(
        self,
        name: str,
        length: int,
        *,
        num_classes: int | None = None,
        class_names: Sequence[str] | None = None,
        has_masks: bool = False,
        has_boxes: bool = False,
        box_class_names: Sequence[str] | None = None,
        on_error: str = "raise",
        mask_labels: np.ndarray | None = None,
        ignore_label: int = IGNORED,
        channels: int | None = None,
        dtype: str | None = None,
        time_limit: float | None = None,
    ) -> None:
        if mask_labels is not None and not has_masks:
            raise ValueError(
                f"mask_labels were given, but {name} has no masks: pass masks."
            )
        if ignore_label != IGNORED and not has_masks:
            raise ValueError(
                f"ignore_label={ignore_label} was given, but {name} has no "
                "masks: pass masks."
            )
        self.name = name
        self.num_classes = num_classes
        self.class_names = (
            None if class_names is None else tuple(map(as_written, class_names))
        )
        self.has_masks = has_masks
        self.has_boxes = has_boxes
        self.box_class_names = (
            None if box_class_names is None else tuple(box_class_names)
        )
        self.on_error = on_error
        self.mask_labels = mask_labels
        self.ignore_label = ignore_label
        self.time_limit = time_limit
        self._known_form = _form(channels, dtype)
        self._told: set[str] = set()
        self._late: dict[int, tuple[float, TimeoutError]] = {}
        self._length = length
        self._dark = DarkFiles(self._name_of)
        # As tf.data counts: below 0 where it is not known.
        self._cardinality = length

    def __len__(self) -> int:
        """Number of examples, those that cannot be read included."""
        return self._length

    def __repr__(self) -> str:
        labels = (
            "no labels"
            if self.num_classes is None
            else f"{self.num_classes} classes"
        )
        rest = ""
        if self._known_form not in (None, RGB):
            rest = f", {self._known_form}"
        rest += ", masks" if self.has_masks else ""
        rest += ", boxes" if self.has_boxes else ""
        return f"<ImageSource {self.name}: {len(self)} images, {labels}{rest}>"

    @property
    def channels(self) -> int | None:
        """See the class."""
        return self._form().channels

    @property
    def dtype(self) -> str | None:
        """See the class."""
        return self._form().dtype

    def _form(self) -> Form:
        """Channels and dtype; the first time examples may be looked at."""
        if self._known_form is None:
            self._known_form = self._seen_form()
        return self._known_form

    def _seen_form(self) -> Form:
        if not self._has_example:
            return RGB
        for index in range(min(len(self), _TRIED)):
            try:
                image = np.asarray(self._in_time(index)[IMAGES])
                form = form_of(image.shape, image.dtype, "an image")
            except Exception:  # its turn comes
                continue
            if image.ndim == 3:
                return form
        return RGB

    def _in_time(self, index: int) -> dict[str, np.ndarray]:
        """`example`, or a TimeoutError where that takes too long."""
        self._refuse_late(index)
        try:
            return within(self.example, index, self.time_limit)
        except TimeoutError as error:
            self._note_late(index, error)
            raise

    def _note_late(self, index: int, error: TimeoutError) -> None:
        self._late[index] = time.monotonic(), error

    def _refuse_late(self, index: int) -> None:
        """Raises the TimeoutError of an example that has just had one.

        Whoever asks for the reason, or for the image after its size, need not
        wait as long once more; in the next epoch its disk may be back.
        """
        when, error = self._late.get(index, (0.0, None))
        limit = self.time_limit or ahead.PATIENCE
        if error is not None and time.monotonic() - when < limit:
            raise error

    def _with_form(self, form: Form) -> ImageSource:
        other = copy.copy(self)
        other._known_form = form
        return other

    def _of_channels(self, channels: int) -> ImageSource:
        """This, or its pictures as grey values where one channel is wanted."""
        if self._is_decoded or channels != 1 or self._form() != RGB:
            return self
        return self._with_form(RGB._replace(channels=1))

    def example(self, index: int) -> dict[str, np.ndarray]:
        """One example, read and decoded in Python.

        What a source of a new kind has to have, and enough for all engines: it
        is called by several threads at once, and in tf.data by way of
        `tf.numpy_function`.

        Args:
            index: 0 to `len(self) - 1`.

        Returns:
            A dictionary as the class describes it, of NumPy arrays.

        Raises:
            Exception: Any, if it cannot be read. Its message becomes the reason
                that `on_error` is told about.
            NotImplementedError: Of sources that TensorFlow alone reads.

        Example:

        >>> from keras_vicregl.data import load
        >>> example = load("digit_scenes", "train", count=3).example(2)
        >>> example["images"].shape, example["labels"].shape
        ((64, 64, 3), ())
        """
        raise NotImplementedError(
            f"{self!r} is read by TensorFlow alone: it has no `example`."
        )

    def examples(self, order_seed: int | None = None) -> Iterator[dict]:
        """All examples once, as NumPy arrays, by TensorFlow or without it.

        Args:
            order_seed: See `dataset`.

        Returns:
            An iterator over dictionaries. Some are made ahead.

        Raises:
            ValueError: As `dataset` (there an error of TensorFlow).

        Example:

        >>> from keras_vicregl.data import load
        >>> source = load("digit_scenes", "train", count=10)
        >>> sum(example["images"].shape == (64, 64, 3)
        ...     for example in source.examples())
        10
        """
        if has_tensorflow():
            return self.dataset(order_seed).as_numpy_iterator()
        return self.examples_in_python(order_seed)

    def examples_in_python(
        self,
        order_seed: int | None = None,
        then: Callable[[dict], Any] = lambda example: example,
    ) -> Generator[Any, None, None]:
        """`examples`, read by threads of Python whatever is installed.

        Args:
            order_seed: See `dataset`.
            then: What the threads make of each.
        """
        self.check_readable_in_python()
        return self._in_python(order_seed, then)

    def _in_python(
        self, order_seed: int | None, then: Callable[[dict], Any]
    ) -> Generator[Any, None, None]:
        order = np.arange(len(self))
        if order_seed is not None:
            order = shuffled(len(self), order_seed)
        unreadable = self._unreadable()
        made = in_order(
            lambda index: then(self._checked(self.example(index))),
            order.tolist(),
            patience=self.time_limit,
        )
        with contextlib.closing(made):
            for index, value, error in made:
                if error is None:
                    yield value
                else:
                    unreadable.add(index, self._reason(index, error))
        unreadable.none_at_all()
        unreadable.tell()

    def _checked(self, example: Any) -> dict[str, np.ndarray]:
        """An example of `example` that has the form of the source's."""
        check_example(example, self._form())
        return example

    @property
    def _has_example(self) -> bool:
        """Whether Python can read this, and not TensorFlow alone."""
        return type(self).example is not ImageSource.example

    def check_readable_in_python(self) -> None:
        """Raises a ModuleNotFoundError where TensorFlow alone can read this."""
        if not self._has_example:
            raise needs_tensorflow(
                f"The images of {self.name}, a stream or data set of "
                "TensorFlow's,"
            )

    def _reason(self, index: int, error: BaseException) -> Reason:
        """An example's name, and why Python could not read it."""
        return self._mask_reason(index) or reason_of(
            error, self._name_of(index, {})
        )

    def _mask_reason(self, index: int) -> Reason | None:
        """As `_reason`, where an example's mask is at fault, not its image."""
        return None

    def _for_views(self, index: int) -> dict[str, np.ndarray]:
        """`example`, but for what views do without: masks and boxes."""
        return self.example(index)

    def _size_of(self, index: int) -> tuple[int, int] | None:
        """Height and width of an image, None where it cannot be read."""
        try:
            return self._in_time(index)[IMAGES].shape[:2]
        except Exception:  # its turn comes
            return None

    def dataset(self, order_seed: int | None = None) -> tf.data.Dataset:
        """All examples once, not batched.

        Args:
            order_seed: Seed of the order, an int64. (Data sets of TFDS that are
                not cached are shuffled within a buffer.) None leaves it as it
                is.

        Returns:
            A data set of dictionaries. With `on_error="skip"` images that
            cannot be read are left out, with one warning at the end.

        Raises:
            tf.errors.InvalidArgumentError: When reached, with
                `on_error="raise"`: an image cannot be read. In either case, at
                the end, if none can be read. The message says which and why.
        """
        from keras_vicregl._tensorflow import tf
        from keras_vicregl.data.decoding import images
        from keras_vicregl.data.streams.failures import readable

        with tf.device("cpu"):
            read = self._reader()
            plan = epochs.Plan(_GROUP, False, order_seed is not None, (0, 1))
            groups = self._groups_in_order(plan, order_seed)

            def make(index: tf.Tensor, element: Any) -> dict:
                example = read(index, element)
                if self._is_decoded:
                    return example
                note = self._note_dark(index, element)
                return self._as_asked_for(
                    images.decode_example(example, self.mask_labels, note)
                )

            failures = self._failures(make, groups.element_spec[1])
            examples = groups.interleave(
                lambda *group: readable(group, make, failures),
                cycle_length=2,
                block_length=_GROUP,
                num_parallel_calls=2,
                deterministic=True,
            ).map(lambda slot, example: example)

            def told() -> tf.Tensor:
                functions = (failures.none_at_all, failures.tell)
                return tf.add_n(
                    [tf.numpy_function(f, [], tf.int64) for f in functions]
                )

            end = tf.data.Dataset.from_tensors(0)
            examples = examples.concatenate(
                end.flat_map(lambda _: examples.take(told()))
            )
            if self.on_error == "skip":
                return examples
            count = tf.data.experimental.assert_cardinality(len(self))
            return examples.apply(count)

    def _groups_in_order(
        self, plan: epochs.Plan, order_seed: int | None
    ) -> tf.data.Dataset:
        """Groups of a single epoch."""
        from keras_vicregl._tensorflow import tf

        def groups(seed: tf.Tensor) -> tf.data.Dataset:
            # As in `epochs.epochs`: not to depend on `tf.random.set_seed`.
            tf.compat.v1.set_random_seed(1)
            return self._groups(plan, seed)

        if order_seed is None:
            return self._groups(plan, tf.constant(0, tf.int64))
        seed = tf.constant(order_seed, tf.int64)
        return tf.data.Dataset.from_tensors(seed).flat_map(groups)

    def _groups(
        self, plan: epochs.Plan, order_seed: tf.Tensor
    ) -> tf.data.Dataset:
        """Groups of an epoch (see `data.streams.epochs`)."""
        return epochs.index_groups(len(self), plan, order_seed)

    def _reader(self) -> Callable[[Any, Any], dict]:
        """A function from index and element to the example.

        Images and masks are scalar strings, the contents of files, unless
        `_is_decoded`. To be called eagerly: what it holds are then constants
        outside the graph.
        """
        from keras_vicregl.data.sources.calls import called

        if not self._has_example:
            raise NotImplementedError
        return called(self)

    def _as_asked_for(self, example: dict[str, Any]) -> dict[str, Any]:
        """An example of contents of files, decoded, in the source's form."""
        if self._is_decoded or self.channels != 1:
            return example
        return {**example, IMAGES: grey(example[IMAGES])}

    def _all_labels(self) -> np.ndarray:
        """Labels (N,), int32, without decoding any image: of `labels_of`."""
        raise NotImplementedError

    def _renumbered(
        self, table: np.ndarray, class_names: Sequence[str]
    ) -> ImageSource:
        """A copy with other numbers for its classes: of `match_classes`.

        Args:
            table: What each label becomes, and in its last row what -1 does.
            class_names: Those of the classes then.
        """
        raise NotImplementedError

    def _with_class_names(self: _Source, class_names: Sequence[str]) -> _Source:
        """A copy of which nothing else is different."""
        other = copy.copy(self)
        other.class_names = tuple(class_names)
        other.num_classes = len(class_names)
        return other

    def _name_of(self, index: int, element: Mapping[str, Any]) -> str:
        """What to call an example in a message."""
        return f"{self.name}[{index}]"

    def _note_dark(
        self, index: tf.Tensor, element: Any
    ) -> Callable[[tf.Tensor], tf.Tensor]:
        """What `decode_image` calls for an example that is hardly lit."""
        return lambda largest: self._dark.note(index, element, largest)

    def _failures(self, make: Callable[[Any, Any], Any], spec: Any) -> Failures:
        """What takes note of failures of `make`, of elements of a spec."""
        from keras_vicregl.data.streams.failures import Failures

        return Failures(
            self.name,
            len(self),
            self.on_error,
            self._name_of,
            make,
            spec,
            self._told,
            self._mask_reason,
        )

    def _unreadable(self) -> Unreadable:
        """The same for Python."""
        return Unreadable(self.name, len(self), self.on_error, self._told)


def _form(channels: Any, dtype: Any) -> Form | None:
    """What a source is told of its images; None if nothing."""
    if channels is None and dtype is None:
        return None
    channels = RGB.channels if channels is None else channels
    name = RGB.dtype if dtype is None else np.dtype(dtype).name
    if name not in DTYPES:
        raise ValueError(
            f"dtype must be one of {', '.join(DTYPES)}. Received: "
            f"dtype={dtype!r}"
        )
    return Form(check_integer("channels", channels, smallest=1), name)
