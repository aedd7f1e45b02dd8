"""Images that are files, in folders or lists."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from keras_vicregl.data._checks import check_labels
from keras_vicregl.data.sources.image_source import ImageSource
from keras_vicregl.views.keys import IMAGES, LABELS, MASKS

if TYPE_CHECKING:
    import numpy as np
    import tensorflow as tf

# What is taken for an image. Not all of these can be decoded: those that cannot
# are told of rather than passed over.
_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".webp"),
    *(".tif", ".tiff", ".heic", ".heif", ".avif", ".jp2"),
)

Path = str | os.PathLike


class FileSource(ImageSource):
    """Files, read in any order.

    Args:
        name: See `ImageSource`.
        paths: One an image.
        labels: (N,) int32, or None.
        masks: Paths, one an image, or None.
        cache: False, True, or the folder of a cache.
        **facts: Further arguments of `ImageSource`.
    """

    def __init__(
        self,
        name: str,
        paths: Sequence[str],
        labels: np.ndarray | None = None,
        masks: Sequence[str] | None = None,
        cache: bool | Path = False,
        **facts: Any,
    ) -> None:
        super().__init__(name, len(paths), has_masks=masks is not None, **facts)
        self._paths = paths
        self._labels = labels
        self._masks = masks
        self._cache = None
        if cache is not False:
            from keras_vicregl.data.sources.file_cache import FileCache

            folder = None if cache is True else cache
            self._cache = FileCache(folder, [*paths, *(masks or ())])

    def _reader(self) -> Callable[[Any, Any], dict]:
        import tensorflow as tf

        paths = tf.constant([os.fsencode(path) for path in self._paths])
        labels = None if self._labels is None else tf.constant(self._labels)
        masks = None
        if self._masks is not None:
            masks = tf.constant([os.fsencode(path) for path in self._masks])

        def read(index: tf.Tensor, element: Any) -> dict:
            example = {IMAGES: self._read(paths[index], index)}
            if labels is not None:
                example[LABELS] = labels[index]
            if masks is not None:
                number = index + len(self)
                example[MASKS] = self._read(masks[index], number)
            return example

        return read

    def _read(self, path: tf.Tensor, number: tf.Tensor) -> tf.Tensor:
        import tensorflow as tf

        if self._cache is None:
            return tf.io.read_file(path)
        return self._cache.read(path, number)

    def _name_of(self, index: int, element: Mapping[str, Any]) -> str:
        # Names need not be text.
        return os.fsencode(self._paths[index]).decode(errors="backslashreplace")


def from_folder(
    folder: Path,
    split: str | None,
    *,
    labels: bool,
    masks: Path | None,
    class_names: Sequence[str] | None,
    **options: Any,
) -> FileSource:
    """A source of the images in a folder and in the folders in it.

    Args:
        folder: Its path.
        split: Name of a folder in it, to take instead.
        labels: Whether the names of the folders in it are classes, where it
            has folders and no images of its own.
        masks: Folder of masks: as the images' one, with PNG files.
        class_names: Names of the classes, in order. Default: all, sorted.
        **options: Of `FileSource`.

    Raises:
        ValueError: If something is not there.
    """
    root = pathlib.Path(folder).expanduser()
    if split is not None:
        root = _split_of(root, split)
    if not root.is_dir():
        raise ValueError(f"There is no folder {str(root)!r}.")
    paths = _images_in(root)
    if not paths:
        raise ValueError(
            f"There are no images in the folder {str(root)!r}, nor in folders "
            f"in it: no files that end in {', '.join(_SUFFIXES)}."
        )
    parts = [os.path.relpath(path, root).split(os.sep) for path in paths]
    numbers = num_classes = None
    if labels and all(len(part) > 1 for part in parts):
        folders = [part[0] for part in parts]
        names = class_names
        if names is None:
            names = sorted(e.name for e in _entries(root) if e.is_dir())
        # One folder for all is no class.
        if class_names is not None or len(names) > 1:
            class_names = names
            numbers = _numbers_of(folders, names, root)
            numbers, num_classes = check_labels(numbers, len(paths), names)
    elif class_names is not None:
        raise ValueError(
            f"class_names were given, but {str(root)!r} has no folder for each "
            "class (or labels=False was given)."
        )
    return FileSource(
        str(root),
        paths,
        numbers,
        None if masks is None else _masks_of(parts, pathlib.Path(masks)),
        num_classes=num_classes,
        class_names=class_names,
        **options,
    )


def from_files(
    paths: Sequence[Path],
    *,
    labels: Any,
    masks: Sequence[Path] | None,
    class_names: Sequence[str] | None,
    **options: Any,
) -> FileSource:
    """A source of the files in a list.

    Args:
        paths: One an image.
        labels: Integers, one an image, or None.
        masks: Paths of masks, one an image, or None.
        class_names: Names of the classes, or None.
        **options: Of `FileSource`.

    Raises:
        ValueError: If there are none, or lists differ in length.
    """
    if not paths:
        raise ValueError("The list of files is empty: there are no images.")
    if masks is not None and len(masks) != len(paths):
        raise ValueError(
            f"masks must be {len(paths)} files, one an image. Received: "
            f"{len(masks)}"
        )
    num_classes = None
    if labels is not None:
        labels, num_classes = check_labels(labels, len(paths), class_names)
    return FileSource(
        f"{len(paths)} files",
        [os.fspath(path) for path in paths],
        labels,
        None if masks is None else [os.fspath(path) for path in masks],
        num_classes=num_classes,
        class_names=class_names,
        **options,
    )


def _split_of(root: pathlib.Path, split: str) -> pathlib.Path:
    folder = root / split
    if root.is_dir() and not folder.is_dir():
        found = sorted(e.name for e in _entries(root) if e.is_dir())
        raise ValueError(
            f"split={split!r} must be a folder in {str(root)!r}. It has "
            + (", ".join(map(repr, found[:10])) if found else "no folders")
            + ". Pass split=None for all of it."
        )
    return folder


def _entries(folder: Path) -> list[os.DirEntry]:
    """What is in a folder and not hidden."""
    with os.scandir(folder) as entries:
        return [entry for entry in entries if not entry.name.startswith(".")]


def _images_in(root: pathlib.Path) -> list[str]:
    """Paths of all images, in an order that is the same everywhere."""
    paths, folders, seen = [], [str(root)], set()
    while folders:
        folder = folders.pop()
        # Links may lead back to where they are.
        place = os.path.realpath(folder)
        if place in seen:
            continue
        seen.add(place)
        for entry in _entries(folder):
            if entry.is_dir():
                folders.append(entry.path)
            elif os.path.splitext(entry.name)[1].lower() in _SUFFIXES:
                paths.append(entry.path)
    return sorted(paths, key=lambda path: path.split(os.sep))


def _numbers_of(
    folders: Sequence[str], names: Sequence[str], root: pathlib.Path
) -> list[int]:
    number_of = {name: number for number, name in enumerate(names)}
    unknown = sorted(set(folders) - number_of.keys())
    if unknown:
        raise ValueError(
            f"{str(root)!r} has folders that are not in class_names: "
            f"{', '.join(map(repr, unknown[:10]))}"
        )
    return [number_of[folder] for folder in folders]


def _masks_of(
    parts: Sequence[Sequence[str]], folder: pathlib.Path
) -> list[str]:
    """Paths of masks that have the images' names, all of which exist."""
    if not folder.is_dir():
        raise ValueError(f"There is no folder of masks {str(folder)!r}.")
    masks = [folder.joinpath(*part).with_suffix(".png") for part in parts]
    missing = [mask for mask in masks if not mask.exists()]
    if missing:
        raise ValueError(
            f"{len(missing)} of {len(masks)} images have no mask of the same "
            f"name. There is no {str(missing[0])!r}."
        )
    return [str(mask) for mask in masks]
