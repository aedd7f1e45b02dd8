"""Images that are files, in folders or lists."""

from __future__ import annotations

import glob
import os
import pathlib
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from keras_vicregl._warnings import warn
from keras_vicregl.data._checks import check_labels
from keras_vicregl.data.decoding import raw
from keras_vicregl.data.decoding.formats import named, not_png, undecodable
from keras_vicregl.data.decoding.forms import RGB
from keras_vicregl.data.sources import raw_survey
from keras_vicregl.data.sources.file_list import WAYS, FileList
from keras_vicregl.data.sources.file_source import FileSource, Path
from keras_vicregl.data.sources.folders import (
    Listing,
    list_images,
    split_roots,
    warn_of_looks,
    warn_of_masks,
    within_splits,
)
from keras_vicregl.data.sources.image_source import as_written
from keras_vicregl.data.sources.raw_files import RawFileSource
from keras_vicregl.views.keys import NO_LABEL

if TYPE_CHECKING:
    import numpy as np


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
        **options: Of `FileSource`, and `read`, `pages`, `no_data` and
            `channels` of `load`.

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
    reads_all = options.get("read") is not None
    found = [list_images(root, cache, reads_all) for root in roots]
    paths = [path for each in found for path in each.paths]
    name = str(base / split if split and len(roots) > 1 else roots[0])
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
    files = FileList(name, paths, numbers, mask_paths)
    return _source(
        *files.with_masks(options.get("on_error", "raise") == "raise"),
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
        **options: Of `FileSource`, and `read`, `pages`, `no_data` and
            `channels` of `load`.

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
    *,
    read: Callable[[str], Any] | None = None,
    pages: str | None = None,
    channels: int | None = None,
    no_data: float | None = None,
    **options: Any,
) -> FileSource:
    """A source of the files that can be read; others are told of."""
    of_tiff = {"pages": pages, "no_data": no_data}
    of_tiff = {k: v for k, v in of_tiff.items() if v is not None}
    told = ", ".join(f"{name}={value!r}" for name, value in of_tiff.items())
    files = FileList(name, paths, labels, masks)
    raises = options.get("on_error", "raise") == "raise"
    if read is None:
        files = files.without(
            dict.fromkeys(undecodable(paths)),
            "are not JPEG, PNG, GIF, BMP, WebP, TIFF or .npy",
            raises,
            WAYS,
        )
    if masks is not None:
        files = files.without(
            dict.fromkeys(not_png(files.masks or [])),
            "are not PNG, as masks must be",
            raises,
            of_masks=True,
        )
    if read is not None:
        if of_tiff:
            raise ValueError(
                f"{told}: for TIFF files that are read here, not by read."
            )
        form = raw_survey.tried(
            read,
            files.paths,
            channels,
            raises=raises,
            time_limit=options.get("time_limit"),
        )
        return RawFileSource(*files, form=form, read=read, **options)
    kinds = raw_survey.kinds_of(files.paths)
    if "tiff" in kinds and not raw_survey.has_tifffile():
        missing = {n: None for n, kind in enumerate(kinds) if kind == "tiff"}
        text = raw_survey.needs_tifffile([files.paths[n] for n in missing])
        if raises or len(missing) == len(files.paths):
            raise ModuleNotFoundError(f"{text}.", name="tifffile")
        files = files.without(missing, f"are TIFF ({text})", raises)
        kinds = raw_survey.kinds_of(files.paths)
    if of_tiff and "tiff" not in kinds:
        raise ValueError(f"{told}: for TIFF files, of which {name} has none.")
    if no_data is not None:
        options["no_data"] = no_data
    if set(kinds) == {"picture", "png"}:
        _warn_of_squeezed(name, kinds)
    if "picture" in kinds and not {"tiff", "npy"} & set(kinds):
        if channels not in (None, 1, 3):
            raise ValueError(
                f"channels={channels} of {name}: pictures of 8 bits have 3, or "
                "as grey values 1."
            )
        form = RGB if channels is None else RGB._replace(channels=channels)
        facts: dict[str, Any] = {**options, **form._asdict()}
        return FileSource(*files, **facts)
    return _raw_source(files, kinds, pages, channels, raises, options)


def _raw_source(
    files: FileList,
    kinds: list[str],
    pages: str | None,
    channels: int | None,
    raises: bool,
    options: dict[str, Any],
) -> FileSource:
    """A source of files whose headers were looked at."""
    found = raw_survey.survey(files.paths, kinds, pages, channels)
    if found.bad:
        files = files.without(found.bad, "cannot be read", raises, WAYS)
        kinds = [k for n, k in enumerate(kinds) if n not in found.bad]
        if {"tiff", "npy", "png"} & set(kinds):
            found = raw_survey.survey(files.paths, kinds, pages, channels)
        else:
            options.pop("no_data", None)
            return _source(*files, channels=channels, **options)
    if len(set(found.forms.values())) > 1:
        told = raw_survey.told_forms(found.forms, files.paths)
        if raises:
            raise ValueError(
                "All images must have the same channels and dtype. Of "
                f"{len(found.forms)} files of {files.name} that were looked "
                f"at, {told}"
            )
        form = raw_survey.common_form(found.forms)
        others = {n: str(f) for n, f in found.forms.items() if f != form}
        files = files.without(others, f"are not of {form}, as most are", raises)
        kinds = [k for n, k in enumerate(kinds) if n not in others]
        found = raw_survey.survey(files.paths, kinds, pages, channels)
    form = raw_survey.common_form(found.forms) if found.forms else RGB
    numbers = None
    if pages == raw.EXAMPLES:
        files, numbers = files.by_page(found.examples)
    return RawFileSource(
        *files, form=form, pages=pages, numbers=numbers, **options
    )


def _warn_of_squeezed(name: str, kinds: Sequence[str]) -> None:
    warn(
        f"{kinds.count('png')} of {len(kinds)} files of {name} are PNG of 16 "
        "bits a channel, of which the upper 8 are taken, as the others have "
        "8. Where all have 16 they stay as they are.",
    )


def _folders_and_classes(
    found: Sequence[Listing], class_names: Sequence[str] | None
) -> tuple[list[str | None], list[str]]:
    """Of each image its folder, None if it is in none; and those of classes."""
    folders, names = [], set()
    for each in found:
        parts: Sequence[Any] = each.parts()
        classes: list[str] | None = each.classes
        if class_names is None or not set(map(as_written, classes or ())) & set(
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
    number_of: dict[str | None, int] = {None: NO_LABEL}
    number_of |= {name: number for number, name in enumerate(names)}
    unknown = sorted(
        {f for f in folders if f is not None and f not in number_of}
    )
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
    """Paths of masks that have the images' names."""
    if not folder.is_dir():
        raise ValueError(f"There is no folder of masks {str(folder)!r}.")
    return [str(folder.joinpath(*part).with_suffix(".png")) for part in parts]
