"""Features of a frozen backbone, computed once for all evaluations."""

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np

from keras_vicregl._warnings import warn
from keras_vicregl.data.sources.classes import match_classes
from keras_vicregl.data.sources.image_source import ImageSource
from keras_vicregl.evaluation.checks import (
    check_backbone,
    check_batch_size,
    warn_if_constant,
)
from keras_vicregl.evaluation.features.batches import (
    Data,
    batches,
    check_key,
    select,
)
from keras_vicregl.evaluation.features.given import as_batches
from keras_vicregl.evaluation.features.image_batches import image_count
from keras_vicregl.evaluation.progress import counted
from keras_vicregl.models.backbones.normalization import (
    channels_taken,
    resolved,
    takes_integers,
    warn_of_difference,
    warn_of_own_layers,
    whole_normalization_of,
)
from keras_vicregl.models.plumbing import check_image_shape
from keras_vicregl.views.keys import LABELS, NO_LABEL
from keras_vicregl.views.normalization import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Normalization,
)
from keras_vicregl.views.values import (
    MOST_BEYOND,
    ValueRange,
    beyond,
    told_beyond,
)

Preprocess = Callable[[np.ndarray], np.ndarray] | None


def normalize_images(
    images: np.ndarray,
    mean: tuple[float, ...] = IMAGENET_MEAN,
    std: tuple[float, ...] = IMAGENET_STD,
    value_range: ValueRange | None = None,
) -> np.ndarray:
    """Scales images of 0 to 255 and normalises their channels.

    Args:
        images: Shape (..., C), values in 0 to 255, or of any with their range.
        mean: Of the channels, on a scale of [0, 1]. Default: ImageNet's.
        std: Their standard deviations.
        value_range: Pair of values that become 0 and 1, or one a channel, as
            `MultiView` has it: what is beyond becomes 0 or 1 too. Default: 0
            and 255, and nothing is clipped.

    Returns:
        float32, same shape: (images / 255 - mean) / std.

    Raises:
        ValueError: If images have another number of channels than `mean`, or
            are of 16 bits and there is no `value_range`.

    Example:

    >>> normalize_images(np.array([[0.485, 0.456, 0.406]]) * 255).round(6)
    array([[0., 0., 0.]], dtype=float32)
    """
    shape, dtype = np.shape(images), getattr(images, "dtype", None)
    if not shape or shape[-1] != len(mean):
        raise ValueError(
            f"images must be (..., {len(mean)}), as mean and std have so many "
            f"channels; received shape {shape}. A backbone of this package "
            "knows those of its images: backbone.normalization(images)."
        )
    if value_range is None and dtype == np.uint16:
        raise ValueError(
            "images of uint16 need a value_range, the values that become 0 and "
            "1. A backbone of this package knows that of its images: "
            "backbone.normalization(images)."
        )
    return Normalization(mean, std, value_range)(images)


def preprocess_for(backbone: Any, preprocess: Preprocess) -> Preprocess:
    """What evaluations apply to the images of a backbone.

    Args:
        backbone: Any model.
        preprocess: What the caller wants.

    Returns:
        `preprocess`; of the default, `normalize_images`, one with the mean and
        deviation of the backbone, or None where the backbone takes integers,
        and so normalises images by itself. A warning says where it normalises
        otherwise, and where layers of a backbone that takes numbers do so.

    Raises:
        ValueError: If they are no model and no function.
    """
    check_backbone(backbone)
    if not (preprocess is None or callable(preprocess)):
        raise ValueError(
            "preprocess must be a function of a batch of images, or None. "
            f"Received: {preprocess!r}"
        )
    if preprocess is normalize_images:
        if takes_integers(backbone):
            return None
        warn_of_own_layers(backbone)
        return _Normalization(resolved(backbone))
    known = whole_normalization_of(backbone)
    if preprocess is not None and known is not None:
        _compare(backbone, preprocess, known)
    return preprocess


class _Normalization:
    """`normalize_images`, which says once where values are others."""

    def __init__(self, normalization: Normalization) -> None:
        self._normalization = normalization
        self._is_said = False
        self.channels = normalization.channels

    def __call__(self, images: np.ndarray) -> np.ndarray:
        images = np.asarray(images)
        _check_images(images, self._normalization)
        if not self._is_said and images.size:
            self._is_said = _warn_of_range(
                images, self._normalization.value_range
            )
        return self._normalization(images)


def _is_of_grey(backbone: Any, preprocess: Preprocess) -> bool:
    """Whether a backbone takes one channel, into which pictures can be made."""
    if isinstance(preprocess, _Normalization):
        return preprocess.channels == 1
    return channels_taken(backbone) == 1


def _check_images(images: np.ndarray, normalization: Normalization) -> None:
    """Raises a ValueError for images that cannot be normalised so."""
    if images.shape[-1] != normalization.channels:
        raise ValueError(
            f"The backbone takes images of {normalization.channels} channels, "
            f"last. Received: images of shape {images.shape}"
        )
    if images.dtype.kind == "f" and not np.isfinite(images).all():
        raise ValueError(
            "images must be finite. Received NaN or infinite values: replace "
            "them, as np.nan_to_num does, or leave these images out."
        )


def _warn_of_range(images: np.ndarray, value_range: ValueRange | None) -> bool:
    """Whether images are hardly such as have the range; warns of it."""
    if value_range is not None:
        share, low, high = beyond(images, value_range)
        if share <= MOST_BEYOND:
            return False
        warn(told_beyond(share, low, high, value_range))
        return True
    low, high = float(images.min()), float(images.max())
    # One of 0 alone is black. Resizing may go a little beyond.
    usual = low > -0.5 and not 0 < high <= 1 and high < 256
    # Those of 16 bits are so by chance, where they are dark.
    if usual and images.dtype != np.uint16:
        return False
    warn(
        f"Images have values of {low:.3g} to {high:.3g}, and are normalised "
        "as if they had those of 0 to 255. Multiply those of 0 to 1 by 255; "
        "pass preprocess=None for such as are what the backbone takes."
    )
    return True


def _compare(backbone: Any, preprocess: Any, known: Any) -> None:
    """Warns where black and white become something else than they should."""
    probe = np.zeros((2, 8, 8, known.channels), np.float32)
    probe[:] = np.reshape(
        np.transpose(
            (0, 255) if known.value_range is None else known.value_range
        ),
        (2, 1, 1, -1),
    )
    expected = normalize_images(probe, *known)
    try:
        found = np.asarray(preprocess(probe.copy()), np.float32)
    except Exception:  # it takes other images; it will say so of those
        return
    if found.shape == probe.shape and not np.allclose(
        found, expected, atol=1e-4
    ):
        warn_of_difference(backbone, f"`preprocess`, {preprocess!r}")


def extract_features(
    backbone: keras.Model,
    data: Data | ImageSource,
    *,
    size: int | None = None,
    resize: int | None = None,
    pooled: bool = False,
    batch_size: int = 256,
    preprocess: Preprocess = normalize_images,
) -> dict[str, np.ndarray]:
    """Runs a frozen backbone, in inference mode, over a data set.

    The result can take the place of the data in `evaluate_knn`,
    `evaluate_linear` and `evaluate_segmentation`, so that several evaluations
    share one pass over the images. The first two accept pooled features or
    maps, the last needs maps.

    Args:
        backbone: Maps (B, H, W, C) to one feature map (B, h, w, F).
        data: What `keras_vicregl.data.load` returns; a dictionary of arrays,
            `"images"` (N, H, W, C) with any of `"labels"` (N,) and
            `"segmentation_masks"` (N, H', W') or (N, H', W', 1); or an iterable
            (such as a batched `tf.data.Dataset`) over dictionaries of that
            kind.
        size: Side of the square in pixels that is cut out of the middle of each
            image of a source, or of arrays, see `image_batches`. None: images
            stay as they are, and must be of one size.
        resize: Their shorter side before that. Default: 8/7 of `size`.
        pooled: Whether to return the spatial means instead of the maps.
        batch_size: Images per call of the backbone. Iterables come in batches
            already.
        preprocess: Applied to each batch of images, a NumPy array; its result
            goes to the backbone. The default takes images of 0 to 255, or of
            the range of its views, and normalises them as those were that the
            backbone was trained on, where it knows that, and by ImageNet's
            mean and deviation otherwise.
            None leaves the images as they are.

    Returns:
        `data` as NumPy arrays with `"features"` in the place of `"images"`:
        (N, h, w, F) float32, or (N, F) if `pooled`.

    Raises:
        ValueError: If there are no images, lengths differ, the backbone's
            output is not a finite 4-D map, the images differ in size so that
            maps cannot be stacked, or there is a size for an iterable.

    Example:

    >>> import keras
    >>> backbone = keras.Sequential(
    ...     [keras.Input((None, None, 3)), keras.layers.Conv2D(5, 4, 4)]
    ... )
    >>> images = np.zeros((6, 32, 32, 3), "uint8")
    >>> extract_features(backbone, {"images": images})["features"].shape
    (6, 8, 8, 5)
    """
    check_batch_size(batch_size)
    preprocess = preprocess_for(backbone, preprocess)
    if isinstance(data, ImageSource) and _is_of_grey(backbone, preprocess):
        data = data._of_channels(1)
    data = as_batches(
        data, "data", size=size, resize=resize, batch_size=batch_size
    )
    collected: dict[str, list[np.ndarray]] = {}
    rows = 0  # of the largest batch so far
    first, differ = None, False
    made = batches(data, batch_size)
    for batch in counted(
        made, "features", "images", image_count(data), _rows_of
    ):
        images = batch.pop("images")
        rows = max(rows, len(images))
        first = images[:1] if first is None else first
        differ = differ or not _all_are(images, first[0])
        batch["features"] = _features(backbone, images, preprocess, rows)
        if pooled:
            batch["features"] = pooled_features(batch["features"])
        if collected and batch.keys() != collected.keys():
            raise ValueError(
                "All batches must have the same keys. Received: "
                f"{sorted(collected)} and then {sorted(batch)}"
            )
        for key, value in batch.items():
            collected.setdefault(key, []).append(value)
    if not collected:
        raise ValueError("The data is empty: it has no images.")
    data = {key: _concatenate(key, value) for key, value in collected.items()}
    if differ:
        means = pooled_features(data["features"])
        warn_if_constant(means, f"The features of {len(means)} images")
    return data


def train_and_test(
    backbone: keras.Model | None,
    train: Data | ImageSource,
    test: Data | ImageSource,
    target: str,
    *,
    size: int | None = None,
    resize: int | None = None,
    pooled: bool,
    batch_size: int,
    preprocess: Preprocess,
) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Features and targets of both sets, extracted unless they have features.

    Args:
        backbone: As for `extract_features`, or None if the data have features.
        train: As `data` of `extract_features`, as returned by it, or an
            iterable over batches (images, targets).
        test: As `train`.
        target: Key of the targets.
        size: As for `extract_features`.
        resize: As for `extract_features`.
        pooled: As for `extract_features`.
        batch_size: As for `extract_features`.
        preprocess: As for `extract_features`.

    Returns:
        float32 features and integer targets of `train`, and those of `test`,
        of the examples that have a label. Classes of two sources are matched
        by name.

    Raises:
        ValueError: As for `extract_features`, or if targets are missing, not
            integers or not as many as features.
    """
    check_batch_size(batch_size)
    if isinstance(train, ImageSource) and isinstance(test, ImageSource):
        train, test = match_classes(train, test)
    pairs = tuple(
        _labelled_features(
            backbone,
            as_batches(
                data,
                name,
                target=target,
                size=size,
                resize=resize,
                batch_size=batch_size,
            ),
            target,
            name=name,
            pooled=pooled,
            batch_size=batch_size,
            preprocess=preprocess,
        )
        for name, data in (("train", train), ("test", test))
    )
    sizes = [features.shape[-1] for features, _ in pairs]
    if sizes[0] != sizes[1]:
        raise ValueError(
            "train and test must have the same number of features. Received: "
            f"{sizes[0]} and {sizes[1]}"
        )
    return pairs[0], pairs[1]


def _labelled_features(
    backbone: keras.Model | None,
    data: Data,
    target: str,
    *,
    name: str,
    pooled: bool,
    batch_size: int,
    preprocess: Preprocess,
) -> tuple[np.ndarray, np.ndarray]:
    """Features and targets of the set called `name`."""
    if isinstance(data, Mapping) and "features" in data:
        features = np.asarray(data["features"], np.float32)
        if pooled:
            features = pooled_features(features)
        data = {**data, "features": features}
        _check_features(features, pooled=pooled)
        warn_if_constant(features, f"The features of {name}")
    elif backbone is None:
        raise ValueError(
            f"backbone=None needs {name} to be a dictionary with 'features', "
            "as extract_features returns it."
        )
    else:
        data = extract_features(
            backbone,
            select(data, target, name),
            pooled=pooled,
            batch_size=batch_size,
            preprocess=preprocess,
        )
    check_key(data, target, name)
    features, targets = data["features"], np.asarray(data[target])
    if not targets.ndim or (target == LABELS and targets.ndim != 1):
        wanted = "(N,)" if target == LABELS else "(N, H, W, 1)"
        raise ValueError(
            f"{target} of {name} must have the shape {wanted}. Received: "
            f"{targets.dtype} of shape {targets.shape}"
        )
    if len(features) != len(targets):
        raise ValueError(
            f"{name} has {len(features)} features but {len(targets)} {target}."
        )
    if not np.issubdtype(targets.dtype, np.integer):
        raise ValueError(
            f"{target} of {name} must be integers. Received: {targets.dtype}"
        )
    if target == LABELS and (targets == NO_LABEL).any():
        has_label = targets != NO_LABEL
        if not has_label.any():
            raise ValueError(
                f"{name} has no labels: all {len(targets)} are {NO_LABEL}."
            )
        return features[has_label], targets[has_label]
    return features, targets


def pooled_features(features: np.ndarray) -> np.ndarray:
    """Spatial means (N, F) of feature maps (N, h, w, F), or what is pooled."""
    if features.ndim != 4:
        return features
    return features.mean(axis=(1, 2), dtype=np.float32)


def _features(
    backbone: keras.Model, images: np.ndarray, preprocess: Preprocess, rows: int
) -> np.ndarray:
    """Feature maps of a batch, which is padded to `rows`.

    A constant batch shape has the backbone traced and compiled only once.
    """
    count = len(images)
    if preprocess is not None:
        images = preprocess(images)
    images = np.asarray(images, np.float32)
    missing = np.zeros((rows - count, *images.shape[1:]), np.float32)
    check_image_shape(backbone, images.shape[1:], "images")
    maps = backbone.predict_on_batch(np.concatenate([images, missing]))
    if isinstance(maps, list | tuple | dict):
        raise ValueError(
            "The backbone must return one feature map. Received: a "
            f"{type(maps).__name__} of {len(maps)}"
        )
    # Under a TensorFlow distribution strategy, each replica has computed all.
    maps = np.asarray(maps, np.float32)[:count]
    _check_features(maps, pooled=False)
    return maps


def _rows_of(batch: Mapping[str, np.ndarray]) -> int:
    return len(next(iter(batch.values())))


def _all_are(images: np.ndarray, first: np.ndarray) -> bool:
    return images.shape[1:] == first.shape and bool((images == first).all())


def _check_features(features: np.ndarray, *, pooled: bool) -> None:
    rank, shape = (2, "(N, F)") if pooled else (4, "(N, h, w, F)")
    if features.ndim != rank:
        raise ValueError(
            f"Features must have the shape {shape}. Received: "
            f"shape {features.shape}"
        )
    if not features.size:
        raise ValueError(
            f"The data is empty: features of shape {features.shape}."
        )
    if not np.isfinite(features).all():
        raise ValueError(
            "Features must be finite. The backbone gave infinite or NaN "
            "values: has its training diverged?"
        )


def _concatenate(key: str, values: list[np.ndarray]) -> np.ndarray:
    shapes = {value.shape[1:] for value in values}
    if len(shapes) > 1:
        raise ValueError(
            f"All examples must have {key} of one shape. Received: "
            f"{' and '.join(map(str, sorted(shapes)))}. Resize the images."
        )
    return np.concatenate(values)
