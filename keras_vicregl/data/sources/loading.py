"""Data sets by name, folder, list of files or arrays, all in one form."""

from __future__ import annotations

import glob
import math
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from keras_vicregl.data._checks import check_images, check_integer
from keras_vicregl.data.boxes import BOXES, without_boxes
from keras_vicregl.data.decoding.formats import ARRAYS, SUFFIXES, suffix_of
from keras_vicregl.data.decoding.raw import CHANNELS, EXAMPLES
from keras_vicregl.data.engine import has_tensorflow, needs_tensorflow
from keras_vicregl.data.scenes import CLASS_NAMES, digit_scenes
from keras_vicregl.data.sources.arrays import from_arrays
from keras_vicregl.data.sources.files import from_files, from_folder
from keras_vicregl.data.sources.image_source import ImageSource
from keras_vicregl.data.sources.mask_labels import (
    check_ignore_label,
    label_table,
    relabel,
)
from keras_vicregl.views.keys import IMAGES, LABELS, MASKS

if TYPE_CHECKING:
    import tensorflow_datasets as tfds

_SCENES, _FOLDER, _TFDS = "digit_scenes", "a folder", "TFDS"
_FILES, _ARRAYS = "a list of files", "arrays"

_OF_FILES = ("read", "pages", "no_data", "channels", "time_limit")

# Arguments that only some sources have. What TFDS takes, its builders say.
_ARGUMENTS = {
    _SCENES: {"split", "boxes", "count", "size", "seed", "hard"},
    _FOLDER: {"split", "masks", "class_names", *_OF_FILES},
    _TFDS: set(),
    _FILES: {"labels", "masks", "class_names", *_OF_FILES},
    _ARRAYS: {"boxes", "class_names"},
}
_SCENE_COUNT = 10_000
_ARCHIVES = (".zip", ".tar", ".tgz", ".gz", ".npz", ARRAYS, ".h5", ".hdf5")


def load(
    source: str
    | os.PathLike
    | Sequence[str | os.PathLike]
    | Mapping[str, np.ndarray]
    | np.ndarray
    | tfds.core.DatasetBuilder,
    split: str | None = None,
    *,
    labels: bool | str | Sequence[int] = True,
    masks: bool | str | os.PathLike | Sequence[str | os.PathLike] | None = None,
    mask_labels: Mapping[int, int] | None = None,
    ignore_label: int | None = None,
    boxes: bool | str | None = None,
    class_names: Sequence[str] | None = None,
    read: Callable[[str], np.ndarray] | None = None,
    pages: str | None = None,
    no_data: float | None = None,
    channels: int | None = None,
    time_limit: float | None = None,
    on_error: str = "raise",
    cache: bool | str | os.PathLike = False,
    data_dir: str | os.PathLike | None = None,
    manual_dir: str | os.PathLike | None = None,
    **options: Any,
) -> ImageSource:
    """Images of a data set, for `view_batches` or one by one.

    Where `source` is a string, the scenes that come with this package are
    looked for first, then a folder, then a data set of TFDS, which is
    downloaded if need be.

    Files that are pictures - JPEG, PNG, GIF (of which the first picture is
    taken), BMP or WebP - are RGB of 8 bits: grayscale, palettes and CMYK become
    it, transparency is dropped, and images, masks too, are turned as their Exif
    orientation says. Of them nothing is read here but names, and the beginning
    of some PNG files.

    Others stay as they are, (H, W, C) of uint8, uint16 or float32: TIFF in
    strips, tiles or planes, BigTIFF too (with tifffile, `pip install
    keras-vicregl[tiff]`; of palettes the colours), `.npy` files of one image
    each, (H, W, C) or (H, W), and PNG files, if all have 16 bits a channel.
    (Beside files of 8 bits, and in TFDS, they lose the lower 8; a file in which
    the upper ones are hardly used is told of.) Any other format is read by
    `read`. All images of a source have the same channels and dtype, its
    `channels` and `dtype`: of up to 1,024 files the headers are looked at here,
    and the rest when they are read. `MultiView(channels=..., value_range=...)`
    and `channel_statistics` are for such images.

    Args:
        source: One of

            - `"digit_scenes"`, see `digit_scenes`;
            - a folder: its images and those of all folders in it, in the order
              of their names. Where most of its images are in two folders or
              more, these are the classes, and images outside of them have no
              label. Folders with names of splits ("train", "val2017") are not:
              of these all images are taken, and the folders in them are the
              classes;
            - a name of TFDS, as `"imagenet2012"`, or a builder of TFDS;
            - a list of files, or an array or column of a table of their
              names;
            - a `.npy` file of images (N, H, W, C), which is mapped into memory
              and read row by row;
            - images (N, H, W, C), uint8, uint16 or float32, also of
              memory-mapped files, or a dictionary of arrays: `"images"`,
              and optionally `"labels"` (N,), `"segmentation_masks"`
              (N, H, W, 1), and `"boxes"` (N, M, 4) with `"box_classes"` (N, M).
        split: Of scenes and TFDS, `"train"` by default; of a folder, the folder
            in it to take, or several, as `"train+val"`.
        labels: False leaves labels out. Of a list of files: integers, one a
            file. Of TFDS: perhaps the name of the feature. A label of -1 is
            none: such examples take part in all but classifiers and their
            figures. Where two sources meet, classes that have names are matched
            by these, see `match_classes`.
        masks: Segmentation masks, PNG files with the size of their image, whose
            grey values (or indices, where there is a palette) are classes. Of a
            folder: the folder of masks, where they have the images' names. Of
            a list of files: a list of files. Of TFDS: True or the name of the
            feature. False leaves out those of arrays and scenes.
        mask_labels: What each label in the masks becomes, as
            `CITYSCAPES_TRAIN_IDS`; labels that are not in it become 255, which
            is ignored. Default: they stay as they are. (Numbers may be text, as
            in JSON: `{"7": 0}`.)
        ignore_label: The label of pixels that belong to no class, after
            `mask_labels`: a border, "void". No evaluation of the source trains
            on them or counts them. Default: 255.
        boxes: True makes the boxes of scenes, and reads those of TFDS, from the
            feature that has them or is named here: with `"box_classes"`, and
            `"box_is_crowd"`, `"box_is_difficult"` and `"box_areas"` where it
            tells them. Boxes without an area are left out. False leaves out
            those of arrays. `view_batches` does without them.
        class_names: Names of the classes of labels. Of a folder: which folder
            has which label; by default all, sorted.
        read: For files of other formats, a function from a path to an image,
            (H, W, C) or (H, W), uint8, uint16 or float32, finite. It is given
            all files but notes (`.txt`, `.json`, ...) of a folder, one of them
            here and now, and is called by several threads at once.
        pages: What several pages of a TIFF file are: `"channels"` of one image,
            the channels of the first page first, or `"examples"`, images of
            their own, each with the label of the file. Default: there must be
            one page, smaller copies of it not counted.
        no_data: What pixels of a GeoTIFF become that it marks as no data (the
            tag GDAL_NODATA): a number, as 0. Default: an image that has any
            cannot be read, but for such as are 0 already.
        channels: How many channels images have. Of files that are grey 3 makes
            three alike, of RGB of 8 bits, and of TFDS, 1 makes grey values
            (luma). Default: those that files have. Views of one channel take
            grey values of pictures without it, as do features of a backbone of
            one channel.
        time_limit: Seconds that reading a file in Python may take, after which
            it counts as one that cannot be read. Default: 300. (TensorFlow's
            own operations, which read pictures in tf.data, know no limit.)
        on_error: What to do about files that are known here to be of other
            formats, channels or dtypes: `"raise"` an error that names them, or
            `"skip"` them with a warning. And about an image that cannot be read
            - it is missing, damaged, no image, of another form than the others
            or of another size than its mask, or has values that are not
            finite - when its turn comes. `"raise"` an error that names it, or
            `"skip"` it and warn at the end of the epoch, of how many there were
            and the first names, if there are new ones.
        cache: True keeps the contents of files in memory after they have been
            read once, as they are, not decoded; what is no picture, as arrays.
            A folder keeps copies there, for files on slow disks. (They are not
            compared again with the files, or the function, they were made of.)
        data_dir: Where TFDS has or puts its data sets.
        manual_dir: Where TFDS finds what it cannot download.
        **options: Further arguments of `digit_scenes` (`count` is 10,000 by
            default) or of `tfds.builder`.

    Returns:
        An `ImageSource`.

    Raises:
        ValueError: If there is no such thing, no image in it, a file that can
            not be one, labels are not in their range or arrays do not fit
            together.
        TypeError: If `source` is none of the kinds above, or an argument is not
            one for it.
        RuntimeError: If TFDS cannot prepare a data set.
        ImportError: If a package is missing that `source` needs: tifffile,
            TensorFlow.

    Example:

    >>> from keras_vicregl.data import load
    >>> images = np.zeros((3, 32, 48, 3), "uint8")
    >>> load({"images": images, "labels": [0, 2, 1]})
    <ImageSource arrays: 3 images, 3 classes>

    Files of one's own format, here of 32 columns of 16 bits:

    >>> import pathlib, tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = pathlib.Path(folder.name) / "0.raw"
    >>> size = path.write_bytes(bytes(2 * 24 * 32))
    >>> def read(path):
    ...     return np.fromfile(path, "uint16").reshape(-1, 32)
    >>> source = load(folder.name, read=read)
    >>> source.channels, source.dtype, source.example(0)["images"].shape
    (1, 'uint16', (24, 32, 1))
    >>> folder.cleanup()
    """
    if on_error not in ("raise", "skip"):
        raise ValueError(
            f"on_error must be 'raise' or 'skip'. Received: {on_error!r}"
        )
    table = None
    if mask_labels is not None:
        table = label_table(mask_labels)
    ignored = check_ignore_label(ignore_label)
    source = _listed(source)
    kind = _kind_of(source)
    found: Any = source  # of that kind
    given = {
        "split": split,
        "labels": None if isinstance(labels, bool) else labels,
        "masks": None if isinstance(masks, bool) else masks,
        "boxes": boxes or None,
        "class_names": class_names,
        "read": read,
        "pages": pages,
        "no_data": no_data,
        "channels": channels,
        "time_limit": time_limit,
        "data_dir": data_dir,
        "manual_dir": manual_dir,
        **options,
    }
    _refuse_surplus(kind, [k for k, v in given.items() if v is not None])
    of_files = _checked_of_files(read, pages, no_data, channels, time_limit)
    if kind == _TFDS:
        _refuse_for_tfds(of_files)
    if kind == _SCENES:
        split = "train" if split is None else split
        options = {"count": _SCENE_COUNT, "boxes": bool(boxes), **options}
        arrays = _without(digit_scenes(split, **options), labels, masks)
        return from_arrays(
            _relabelled(arrays, mask_labels),
            f"{_SCENES}/{split}",
            CLASS_NAMES if LABELS in arrays else None,
            CLASS_NAMES if BOXES in arrays else None,
            ignored,
        )
    if kind == _ARRAYS:
        name, source = _mapped(source)
        columns = source if isinstance(source, Mapping) else {IMAGES: source}
        columns = _without(columns, labels, masks)
        columns = _relabelled(columns, mask_labels)
        if boxes is False:
            columns = without_boxes(columns)
        if boxes and BOXES not in columns:
            raise ValueError(
                f"boxes={boxes!r}: these arrays have no {BOXES!r}."
            )
        return from_arrays(
            columns, name, class_names=class_names, ignore_label=ignored
        )
    if kind == _TFDS:
        if not has_tensorflow():
            raise needs_tensorflow(
                f"Data sets of TFDS (there is no folder {source!r})"
            )
        from keras_vicregl.data.sources.tfds_source import from_tfds

        return from_tfds(
            found,
            split,
            labels=cast("bool | str", labels),
            masks=cast("bool | str | None", masks),
            boxes=boxes,
            on_error=on_error,
            cache=bool(_checked_cache(cache, may_be_folder=False)),
            data_dir=data_dir,
            manual_dir=manual_dir,
            mask_labels=table,
            ignore_label=ignored,
            channels=channels,
            **options,
        )
    common = {
        "class_names": class_names,
        "on_error": on_error,
        "cache": _checked_cache(cache, may_be_folder=True),
        "masks": None if masks is False else masks,
        "mask_labels": table,
        "ignore_label": ignored,
        **of_files,
    }
    if masks is True:
        raise ValueError(
            "masks=True does not say where they are: pass the folder of the "
            "masks, or with a list of files a list of masks."
        )
    if kind == _FOLDER:
        return from_folder(found, split, labels=bool(labels), **common)
    numbers = None if isinstance(labels, bool) else labels
    return from_files(found, labels=numbers, **common)


def _checked_of_files(
    read: Any, pages: Any, no_data: Any, channels: Any, time_limit: Any
) -> dict[str, Any]:
    """Arguments of files, as they must be."""
    if read is not None and not callable(read):
        raise TypeError(
            "read must be a function from the path of a file to its image, an "
            f"array (H, W, C). Received: read={read!r}"
        )
    if pages not in (None, CHANNELS, EXAMPLES):
        raise ValueError(
            f"pages must be {CHANNELS!r} or {EXAMPLES!r}. Received: "
            f"pages={pages!r}"
        )
    is_number = isinstance(no_data, int | float) and no_data is not True
    if no_data is not None and not (is_number and math.isfinite(no_data)):
        raise ValueError(
            "no_data must be a finite number, which pixels without data "
            f"become. Received: no_data={no_data!r}"
        )
    if channels is not None:
        channels = check_integer("channels", channels, smallest=1)
    is_number = isinstance(time_limit, int | float) and time_limit is not True
    if time_limit is not None and (not is_number or not time_limit > 0):
        raise ValueError(
            "time_limit must be a positive number of seconds. Received: "
            f"time_limit={time_limit!r}"
        )
    return {
        "read": read,
        "pages": pages,
        "no_data": no_data,
        "channels": channels,
        "time_limit": time_limit,
    }


def _refuse_for_tfds(of_files: Mapping[str, Any]) -> None:
    """What tf.data reads as pictures takes the number of channels alone."""
    given = [k for k, v in of_files.items() if v is not None]
    surplus = sorted(name for name in given if name != "channels")
    if surplus:
        raise TypeError(f"{', '.join(surplus)}: not for {_TFDS}.")
    if of_files["channels"] not in (None, 1, 3):
        raise ValueError(
            f"channels={of_files['channels']}: pictures of {_TFDS} have 3, or "
            "as grey values 1."
        )


def _mapped(source: Any) -> tuple[str, Any]:
    """A name of arrays, and they, mapped into memory where they are a file."""
    if not isinstance(source, str | os.PathLike):
        return "arrays", source
    path = os.path.expanduser(source)
    try:
        images = np.load(path, mmap_mode="r", allow_pickle=False)
        check_images(images.shape, images.dtype)
    except (ValueError, EOFError) as error:
        raise ValueError(
            f"{path!r} must be a .npy file of images (N, H, W, C); one image "
            f"is load([{path!r}]). {error}"
        ) from error
    return path, images


def _is_array_file(source: Any) -> bool:
    path = os.path.expanduser(source)
    return suffix_of(path) == ARRAYS and os.path.isfile(path)


def _listed(source: Any) -> Any:
    """A list of what is an array, or a column of a table, of names of files."""
    if getattr(source, "ndim", None) == 1 and hasattr(source, "tolist"):
        names = source.tolist()
        if names and all(isinstance(each, str | os.PathLike) for each in names):
            return names
    return source


def _kind_of(source: Any) -> str:
    if isinstance(source, str):
        if source == _SCENES:
            return _SCENES
        if _is_array_file(source):
            return _ARRAYS
        # Names of TFDS may have slashes in them, but do not begin like paths,
        # and stars in their versions alone.
        is_path = (
            os.path.exists(os.path.expanduser(source))
            or source.startswith((".", "~", os.sep))
            or source.endswith(os.sep)
            or suffix_of(source) in (*SUFFIXES, *_ARCHIVES)
            or (glob.has_magic(source) and ":" not in source)
        )
        return _FOLDER if is_path else _TFDS
    if isinstance(source, os.PathLike):
        return _ARRAYS if _is_array_file(source) else _FOLDER
    if isinstance(source, Mapping | np.ndarray):
        return _ARRAYS
    if isinstance(source, Sequence) and all(
        isinstance(each, str | os.PathLike) for each in source
    ):
        return _FILES
    if hasattr(source, "as_dataset") and hasattr(source, "info"):
        return _TFDS
    raise TypeError(
        "source must be 'digit_scenes', a folder, a name or builder of TFDS, a "
        "list of files, an array of images or a dictionary of arrays. "
        f"Received: {type(source).__name__}. {_way_from(source)}"
    )


def _way_from(source: Any) -> str:
    """What to pass in the place of something else that holds images."""
    if isinstance(source, Sequence):
        return "Of a list of arrays of one size pass np.stack(images)."
    if len(getattr(source, "shape", ())) > 2:
        return "Pass np.asarray(images), or images[:] of a file that is open."
    return (
        "Images that are neither files nor arrays have a class derived from "
        "keras_vicregl.data.ImageSource, with `example`."
    )


def _refuse_surplus(kind: str, given: Sequence[str]) -> None:
    surplus = sorted(set(given) - _ARGUMENTS[kind])
    if surplus and kind != _TFDS:
        raise TypeError(
            f"{', '.join(surplus)}: not for {kind}, which takes "
            f"{', '.join(sorted(_ARGUMENTS[kind]))}."
        )


def _checked_cache(
    cache: bool | str | os.PathLike, *, may_be_folder: bool
) -> bool | str | os.PathLike:
    if isinstance(cache, bool) or (
        may_be_folder and isinstance(cache, str | os.PathLike)
    ):
        return cache
    raise ValueError(
        f"cache must be True, False or a folder. Received: {cache!r}"
        if may_be_folder
        else "cache must be True or False for a data set of TFDS, which is on "
        f"disk in data_dir already. Received: {cache!r}"
    )


def _without(
    arrays: Mapping[str, np.ndarray], labels: Any, masks: Any
) -> dict[str, np.ndarray]:
    left_out = {LABELS} if labels is False else set()
    if masks is False:
        left_out.add(MASKS)
    return {k: v for k, v in arrays.items() if k not in left_out}


def _relabelled(
    arrays: Mapping[str, np.ndarray], mask_labels: Mapping[int, int] | None
) -> Mapping[str, np.ndarray]:
    if mask_labels is None:
        return arrays
    if MASKS not in arrays:
        raise ValueError("mask_labels were given, but there are no masks.")
    return {**arrays, MASKS: relabel(arrays[MASKS], mask_labels)}
