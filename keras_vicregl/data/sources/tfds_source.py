"""Data sets of TensorFlow Datasets."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_vicregl.data.boxes import BOXES, packed
from keras_vicregl.data.sources.image_source import ImageSource
from keras_vicregl.data.sources.mask_labels import IGNORED
from keras_vicregl.data.streams import epochs
from keras_vicregl.views.keys import IMAGES, LABELS, MASKS, NO_LABEL

if TYPE_CHECKING:
    import tensorflow as tf
    import tensorflow_datasets as tfds

_NAME = "name"
_SHUFFLE_BUFFER = 1024


class StreamSource(ImageSource):
    """Examples that come one after the other, as contents of files.

    Args:
        name: See `ImageSource`.
        stream: Dictionaries of scalars: `"images"`, `"segmentation_masks"`,
            `"labels"`, `"boxes"` (see `data.boxes.packed`) and `"name"`, of
            which all but the first may be missing.
        length: Examples in it.
        is_cached: Whether it is kept in memory after it has been read once.
        **facts: Further arguments of `ImageSource`.
    """

    _is_decoded = False

    def __init__(
        self,
        name: str,
        stream: tf.data.Dataset,
        length: int,
        is_cached: bool = False,
        **facts: Any,
    ) -> None:
        super().__init__(name, length, **facts)
        self._stream = stream.cache() if is_cached else stream
        self._buffer = length if is_cached else _SHUFFLE_BUFFER

    def _groups(
        self, plan: epochs.Plan, order_seed: tf.Tensor
    ) -> tf.data.Dataset:
        if plan.shuffle is True:
            plan = plan._replace(shuffle=self._buffer)
        return epochs.element_groups(self._stream, plan, order_seed)

    def _reader(self) -> Callable[[Any, Any], dict]:
        from keras_vicregl._tensorflow import tf
        from keras_vicregl.data.decoding.images import check

        def read(index: tf.Tensor, element: Mapping[str, Any]) -> dict:
            example = {k: v for k, v in element.items() if k != _NAME}
            if LABELS in example:
                label = tf.cast(example[LABELS], tf.int32)
                example[LABELS] = check(
                    (label >= NO_LABEL) & (label < self.num_classes),
                    "label " + tf.as_string(label) + " is none of "
                    f"{self.num_classes} classes, nor {NO_LABEL} for none; "
                    "pass labels=False to leave labels out",
                    label,
                )
            return example

        return read

    def _all_labels(self) -> np.ndarray:
        labels = self._stream.map(lambda example: example[LABELS])
        return np.fromiter(labels.as_numpy_iterator(), np.int32)

    def _renumbered(
        self, table: np.ndarray, class_names: Sequence[str]
    ) -> StreamSource:
        other = self._with_class_names(class_names)
        other._stream = self._stream.map(
            lambda example: _relabelled(example, table)
        )
        return other

    def _name_of(self, index: int, element: Mapping[str, Any]) -> str:
        if _NAME in element:
            return os.fsdecode(element[_NAME])
        return super()._name_of(index, element)


def from_tfds(
    source: str | tfds.core.DatasetBuilder,
    split: str | None,
    *,
    labels: bool | str,
    masks: bool | str | None,
    boxes: bool | str | None,
    on_error: str,
    cache: bool,
    data_dir: str | os.PathLike | None,
    manual_dir: str | os.PathLike | None,
    mask_labels: np.ndarray | None = None,
    ignore_label: int = IGNORED,
    channels: int | None = None,
    **options: Any,
) -> StreamSource:
    """A source of a data set of TFDS.

    Args:
        source: Its name, or its builder.
        split: Its split; None is `"train"`.
        labels: Whether to read labels, or which feature they are.
        masks: Whether to read masks, or which feature they are.
        boxes: Whether to read boxes, or in which feature they are.
        on_error: See `ImageSource`.
        cache: Whether to keep it in memory.
        data_dir: Where TFDS has or puts it.
        manual_dir: Where files are that TFDS cannot download itself.
        mask_labels: See `ImageSource`.
        ignore_label: See `ImageSource`.
        channels: 1 makes grey values of pictures.
        **options: Of `tfds.builder`.

    Raises:
        ValueError: If there is no such data set, split or feature, or it cannot
            be prepared.
    """
    from keras_vicregl._tensorflow import tfds

    builder: Any = source
    if isinstance(source, str):
        builder = _builder(source, data_dir, options)
        _prepare(builder, manual_dir)
    split = "train" if split is None else split
    _check_split(builder, split)
    keys = _Keys(builder, labels, masks, boxes)
    # As files, so that one that is broken does no harm until it is decoded, and
    # shuffling takes little memory.
    decoders = {
        key: tfds.decode.SkipDecoding()
        for key in (keys.image, keys.mask)
        if key is not None
    }
    if isinstance(builder, tfds.core.dataset_builder.FileReaderBuilder):
        decoders = tfds.decode.PartialDecoding(
            {key: True for key in keys.all}, decoders=decoders
        )
    read_config = tfds.ReadConfig(try_autocache=False, add_tfds_id=True)
    stream = builder.as_dataset(
        split=split,
        shuffle_files=False,
        decoders=decoders,
        read_config=read_config,
    )
    length = int(stream.cardinality())
    if length < 0:
        length = builder.info.splits[split].num_examples
    feature = None if keys.label is None else builder.info.features[keys.label]
    return StreamSource(
        f"{builder.info.full_name}:{split}",
        stream.map(keys.renamed),
        length,
        cache,
        num_classes=None if feature is None else feature.num_classes,
        class_names=None if feature is None else feature.names,
        has_masks=keys.mask is not None,
        has_boxes=keys.objects is not None,
        box_class_names=keys.box_class_names,
        on_error=on_error,
        mask_labels=mask_labels,
        ignore_label=ignore_label,
        channels=channels,
    )


class _Keys:
    """Which features of a data set are what."""

    def __init__(
        self,
        builder: tfds.core.DatasetBuilder,
        labels: bool | str,
        masks: bool | str | None,
        boxes: bool | str | None,
    ) -> None:
        from keras_vicregl._tensorflow import tfds

        self._name = builder.info.full_name
        self._features = dict(builder.info.features.items())
        self._supervised = builder.info.supervised_keys or (None, None)
        images = self._of_kind(tfds.features.Image)
        classes = self._of_kind(tfds.features.ClassLabel)
        gray = [k for k in images if self._features[k].shape[-1] == 1]
        self.image = self._choose(
            "images",
            True,
            images,
            [
                self._supervised[0],
                "image",
                *[k for k in images if k not in gray],
            ],
        )
        self.label = None
        if classes or isinstance(labels, str):
            self.label = self._choose(
                "labels", labels, classes, [self._supervised[1], "label"]
            )
        # A mask's file is grey, though its feature may not say so: then it has
        # to be named.
        others = [k for k in images if k != self.image]
        self.mask = self._choose("masks", masks or False, others, gray)
        objects = [k for k, v in self._features.items() if _has_boxes(v)]
        self.objects = self._choose(
            "boxes", boxes or False, objects, ["objects", *objects]
        )
        self._box_label = self.box_class_names = None
        if self.objects is not None:
            label = dict(self._features[self.objects].feature).get("label")
            if isinstance(label, tfds.features.ClassLabel):
                self._box_label, self.box_class_names = "label", label.names

    @property
    def all(self) -> list[str]:
        keys = (self.image, self.label, self.mask, self.objects)
        return [key for key in keys if key is not None]

    def renamed(self, example: Mapping[str, Any]) -> dict[str, Any]:
        """An example of TFDS with this package's keys."""
        ours = {
            IMAGES: self.image,
            LABELS: self.label,
            MASKS: self.mask,
            _NAME: "tfds_id" if "tfds_id" in example else None,
        }
        renamed = {k: example[v] for k, v in ours.items() if v is not None}
        if self.objects is not None:
            renamed[BOXES] = packed(example[self.objects], self._box_label)
        return renamed

    def _of_kind(self, kind: type) -> list[str]:
        return [k for k, v in self._features.items() if isinstance(v, kind)]

    def _choose(
        self, what: str, wanted: bool | str, possible: list, preferred: list
    ) -> str | None:
        if wanted is False:
            return None
        if wanted is True:
            chosen = next((k for k in preferred if k in possible), None)
        else:
            chosen = wanted
        if chosen in possible:
            return chosen
        raise ValueError(
            f"{self._name} has no features that could be {what}"
            if not possible
            else f"{what} must be one of the features "
            f"{', '.join(map(repr, possible))} of {self._name}. Received: "
            f"{what}={wanted!r}"
        )


def _relabelled(example: dict[str, Any], table: np.ndarray) -> dict[str, Any]:
    from keras_vicregl._tensorflow import tf

    label = tf.cast(example[LABELS], tf.int64)
    is_known = (label >= NO_LABEL) & (label < len(table) - 1)
    row = tf.where(is_known, label, NO_LABEL) % len(table)
    # What is out of range stays so: it is told of when it is read.
    new = tf.where(is_known, tf.gather(table, row), NO_LABEL - 1)
    return {**example, LABELS: tf.cast(new, example[LABELS].dtype)}


def _has_boxes(feature: tfds.features.FeatureConnector) -> bool:
    """Whether a feature is a sequence of objects with boxes."""
    from keras_vicregl._tensorflow import tfds

    parts = getattr(feature, "feature", None)
    return isinstance(parts, tfds.features.FeaturesDict) and isinstance(
        dict(parts.items()).get("bbox"), tfds.features.BBoxFeature
    )


def _builder(
    name: str, data_dir: str | os.PathLike | None, options: Mapping[str, Any]
) -> tfds.core.DatasetBuilder:
    from keras_vicregl._tensorflow import tfds

    try:
        return tfds.builder(name, data_dir=data_dir, **options)
    except tfds.core.DatasetNotFoundError as error:
        close = difflib.get_close_matches(name, tfds.list_builders(), n=3)
        raise ValueError(
            f"{name!r} is neither a folder nor the name of a data set of TFDS."
            + (f" Close to it are {', '.join(close)}." if close else "")
        ) from error


def _prepare(
    builder: tfds.core.DatasetBuilder, manual_dir: str | os.PathLike | None
) -> None:
    from keras_vicregl._tensorflow import tfds

    if manual_dir is not None:
        manual_dir = os.fspath(manual_dir)
    try:
        builder.download_and_prepare(
            download_config=tfds.download.DownloadConfig(manual_dir=manual_dir)
        )
    except ImportError as error:
        raise ImportError(
            f"TFDS needs {error.name} to prepare {builder.info.full_name}. Run "
            f"`pip install {error.name}`."
        ) from error
    # Whatever the network, the disk and the code of 1,000 data sets raise.
    except Exception as error:
        raise RuntimeError(
            f"TFDS could not prepare {builder.info.full_name}: {error} - "
            "Without access to the network, prepare it where there is (`tfds "
            f"build {builder.name}`) and pass its folder as data_dir. Files "
            "that have to be downloaded by hand are looked for in manual_dir."
        ) from error


def _check_split(builder: tfds.core.DatasetBuilder, split: str) -> None:
    splits = sorted(builder.info.splits)
    # Without splits it is not known yet what there is.
    if splits and re.split(r"\W", split)[0] not in splits:
        raise ValueError(
            f"split={split!r} must be one of {', '.join(map(repr, splits))}, "
            "or a part of one as in 'train[:10%]'."
        )
