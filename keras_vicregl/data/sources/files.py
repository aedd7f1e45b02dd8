"""Images that are files, in folders or lists."""

from __future__ import annotations

import glob
import os
import pathlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from keras_vicregl.data._checks import check_labels
from keras_vicregl.data.decoding.formats import (
    named,
    not_png,
    readable,
    undecodable,
)
from keras_vicregl.data.sources.folders import (
    Listing,
    list_images,
    split_roots,
    warn_of_looks,
    warn_of_masks,
    within_splits,
)
from keras_vicregl.data.sources.image_source import ImageSource, as_written
from keras_vicregl.views.keys import IMAGES, LABELS, MASKS, NO_LABEL

if TYPE_CHECKING:
    import numpy as np
    import tensorflow as tf

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

    _is_decoded = False
    _looked_at = 256

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
        from keras_vicregl._tensorflow import tf

        if self._cache is not None:
            self._cache.table()
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
        from keras_vicregl._tensorflow import tf

        if self._cache is None:
            return tf.io.read_file(path)
        return self._cache.read(path, number)

    def example(self, index: int) -> dict[str, np.ndarray]:
        """See `ImageSource.example`."""
        return self._decoded(index, with_mask=True)

    def _for_views(self, index: int) -> dict[str, np.ndarray]:
        return self._decoded(index, with_mask=False)

    def _decoded(self, index: int, with_mask: bool) -> dict[str, np.ndarray]:
        from keras_vicregl.data.decoding import pillow

        example = {IMAGES: self._contents(self._paths[index], index)}
        if self._labels is not None:
            example[LABELS] = self._labels[index]
        if with_mask and self._masks is not None:
            number = index + len(self)
            example[MASKS] = self._contents(self._masks[index], number)
        return pillow.decode_example(
            example,
            self.mask_labels,
            lambda largest: self._dark.tell(index, {}, largest),
        )

    def _contents(self, path: str, number: int) -> bytes:
        if self._cache is not None:
            return self._cache.contents(path, number)
        with open(path, "rb") as file:
            return file.read()

    def _size_of(self, index: int) -> tuple[int, int] | None:
        from keras_vicregl.data.decoding import pillow

        path = self._paths[index]
        if self._cache is not None:
            path = self._cache.kept(index) or path
        return pillow.size_of(path)

    def _all_labels(self) -> np.ndarray:
        return self._labels

    def _renumbered(
        self, table: np.ndarray, class_names: Sequence[str]
    ) -> FileSource:
        other = self._with_class_names(class_names)
        other._labels = table[self._labels]
        return other

    def _name_of(self, index: int, element: Mapping[str, Any]) -> str:
        return readable(self._paths[index])


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
        split: Name of a folder in it, to take instead, or of several, joined by
            "+".
        labels: Whether the names of the folders in it are classes, where it has
            two or more. Those of splits are not: classes are the folders in
            them.
        masks: Folder of masks: as the images' one, with PNG files. Of several
            splits it has their folders.
        class_names: Names of the classes, in order. Default: all, sorted.
        **options: Of `FileSource`.

    Raises:
        ValueError: If something is not there, or cannot be decoded.
    """
    base = pathlib.Path(folder).expanduser()
    roots = [base] if split is None else split_roots(base, split)
    if not roots[0].is_dir():
        raise ValueError(_no_folder(roots[0]))
    if class_names is not None:
        class_names = [as_written(name) for name in class_names]
    cache = options.get("cache", False)
    found = [list_images(root, cache) for root in roots]
    paths = [path for each in found for path in each.paths]
    name = str(roots[0] if len(roots) == 1 else base / split)
    numbers = num_classes = None
    folders, names = _folders_and_classes(found, class_names)
    if class_names is None:
        inner = sorted(set().union(*(each.inner_folders() for each in found)))
        warn_of_looks(name, folders, names, inner, labels)
    warn_of_masks(name, paths)
    if labels and (class_names is not None or _are_classes(folders, names)):
        if class_names is not None and not any(folders):
            raise _no_folders(name)
        numbers, num_classes = _labels(folders, class_names or names, name)
        class_names = class_names or names
    elif class_names is not None:
        raise _no_folders(name)
    mask_paths = None
    if masks is not None:
        top = base if len(roots) > 1 else roots[0]
        parts = [os.path.relpath(path, top).split(os.sep) for path in paths]
        mask_paths = _masks_of(parts, pathlib.Path(masks))
    return _source(
        name,
        paths,
        numbers,
        mask_paths,
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
        labels: Integers, one an image, -1 for none; or None.
        masks: Paths of masks, one an image, or None.
        class_names: Names of the classes, or None.
        **options: Of `FileSource`.

    Raises:
        ValueError: If there are none, lists differ in length, or a file cannot
            be decoded.
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
    return _source(
        f"{len(paths)} files",
        [os.fspath(path) for path in paths],
        labels,
        None if masks is None else [os.fspath(path) for path in masks],
        num_classes=num_classes,
        class_names=class_names,
        **options,
    )


def _source(
    name: str,
    paths: list[str],
    labels: np.ndarray | None,
    masks: list[str] | None,
    **options: Any,
) -> FileSource:
    """A source of the files that can be decoded; others are told of."""
    bad = undecodable(paths)
    wrong = [paths[number] for number in bad]
    kinds = "JPEG, PNG, GIF, BMP or WebP"
    if masks is not None and not bad:
        bad, kinds = not_png(masks), "PNG, as masks must be"
        wrong = [masks[number] for number in bad]
    if bad:
        text = f"{len(bad)} of {len(paths)} files of {name} are not {kinds}"
        if options.get("on_error", "raise") == "raise" or len(bad) == len(
            paths
        ):
            raise ValueError(
                f"{text}, and cannot be read: {named(wrong)}. Convert or remove"
                " them, or leave them out by on_error='skip'."
            )
        warnings.warn(
            f"{text}, and are left out: {named(wrong)}.", stacklevel=2
        )
        keep = sorted(set(range(len(paths))) - set(bad))
        paths = [paths[number] for number in keep]
        masks = masks and [masks[number] for number in keep]
        labels = None if labels is None else labels[keep]
        return _source(name, paths, labels, masks, **options)
    return FileSource(name, paths, labels, masks, **options)


def _folders_and_classes(
    found: Sequence[Listing], class_names: Sequence[str] | None
) -> tuple[list[str | None], list[str]]:
    """Of each image its folder, None if it is in none; and those of classes."""
    folders, names = [], set()
    for each in found:
        parts, classes = each.parts(), each.classes
        if class_names is None or not set(map(as_written, classes)) & set(
            class_names
        ):
            parts, classes = within_splits(each)
        if classes is None:
            return [None for each in found for _ in each.paths], []
        folders += [
            as_written(part[0]) if len(part) > 1 else None for part in parts
        ]
        names |= set(map(as_written, classes))
    return folders, sorted(names)


def _are_classes(folders: Sequence[str | None], names: Sequence[str]) -> bool:
    """Whether most images are in one of two folders or more."""
    # One folder for all is no class.
    if len(names) < 2:
        return False
    outside = folders.count(None)
    if 2 * outside <= len(folders):
        return True
    warnings.warn(
        f"{outside} of {len(folders)} images are in none of the folders "
        f"{named(list(names))}, which are not taken for classes. Pass "
        "class_names if they are, or labels=False.",
        stacklevel=2,
    )
    return False


def _labels(
    folders: Sequence[str | None], names: Sequence[str], root: str
) -> tuple[np.ndarray, int]:
    """Labels by folder, -1 for images in none, of which is told."""
    number_of = {None: NO_LABEL}
    number_of |= {name: number for number, name in enumerate(names)}
    unknown = sorted(set(folders) - number_of.keys())
    if unknown:
        raise ValueError(
            f"{root!r} has folders that are not in class_names: "
            f"{', '.join(map(repr, unknown[:10]))}"
        )
    outside = folders.count(None)
    if outside:
        warnings.warn(
            f"{outside} of {len(folders)} images of {root!r} are in no folder "
            f"of a class: they have no label ({NO_LABEL}).",
            stacklevel=2,
        )
    numbers = [number_of[folder] for folder in folders]
    return check_labels(numbers, len(folders), names)


def _no_folder(path: pathlib.Path) -> str:
    if path.is_file():
        return (
            f"{str(path)!r} is a file, not a folder. Pass the folder of the "
            "images, or a list of files; unpack what is an archive."
        )
    text = f"There is no folder {str(path)!r}."
    if glob.has_magic(str(path)):
        text += f" Pass the files as a list: sorted(glob.glob({str(path)!r}))."
    return text


def _no_folders(name: str) -> ValueError:
    return ValueError(
        f"class_names were given, but {name!r} has no folder for each class "
        "(or labels=False was given)."
    )


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
