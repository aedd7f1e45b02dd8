"""Matches between two views, and where in the source image they lie."""

import dataclasses
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from keras import ops

from keras_vicregl.losses.matching import (
    feature_distances,
    location_distances,
    match,
)
from keras_vicregl.models.plumbing import checked_batch, with_views
from keras_vicregl.views.geometry import positions

if TYPE_CHECKING:
    from keras_vicregl.models import VICRegL


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Positions of a first view, each with its match in a second.

    Attributes:
        queries: `(N, K)` int array, positions of the first map, raster order.
        neighbours: `(N, K)` int array, their matches in the second.
        distances: `(N, K)` float32 array, how far apart both are in the source
            image, in its pixels.
    """

    queries: np.ndarray
    neighbours: np.ndarray
    distances: np.ndarray


@dataclasses.dataclass(frozen=True)
class Matches:
    """Two views of N images and their matches by both criteria.

    Attributes:
        views: two arrays `(N, H, W, 3)`, as the network got them.
        map_shapes: `(height, width)` of either view's feature map.
        positions: two float32 arrays `(N, S, 2)`, where the positions of the
            maps are in the source image, in pixels (x, y).
        pairs: `"location"` and `"feature"` to the `Pairs` of the criterion.
    """

    views: tuple[np.ndarray, np.ndarray]
    map_shapes: tuple[tuple[int, int], tuple[int, int]]
    positions: tuple[np.ndarray, np.ndarray]
    pairs: dict[str, Pairs]

    def all_distances(self) -> np.ndarray:
        """Source distances `(N, S, T)` of all pairs, matched or not.

        A pair drawn at random has each of them with the same probability.
        """
        return _source_distances(*self.positions)


def find_matches(
    model: "VICRegL",
    batch: dict[str, Any],
    *,
    views: tuple[int, int] = (0, 1),
    num_matches: int | None = 20,
    features: str = "auto",
) -> Matches:
    """Matches of two views by location and by feature (section 3.2).

    By location: each position of the first view with the nearest one of the
    second in the source image. By feature: with the one whose local embedding
    is nearest. Both are what the local criterion compares, except that the
    networks are in inference mode here.

    Args:
        model: a `VICRegL`.
        batch: what it is trained on, see `VICRegL`, with `"view_to_source"`.
        views: the view whose positions look for matches, and the other.
        num_matches: how many are kept of an image by each criterion, those
            with the smallest distances that it knows. `None` keeps all.
        features: `"embeddings"`, of the local expander, as in the criterion;
            `"backbone"`, what the backbone gives, as another model has it that
            was trained without the local criterion; `"auto"`: the first where
            there is a local expander.

    Returns:
        Arrays of NumPy.

    Raises:
        ValueError: if the batch has no such views or no geometry, an argument
            is none of these, or the model has no local expander.

    Example:

    ```python
    inputs, *_ = views.to_fit(views({"images": images}))
    matches = find_matches(model, inputs)
    save(plot_match_criteria(matches), "matches.png")
    ```
    """
    if num_matches is not None and num_matches < 1:
        raise ValueError(
            f"`num_matches` must be positive, or None; received {num_matches}."
        )
    all_views, to_source = checked_batch(with_views(batch, model.views))
    if to_source is None:
        raise ValueError(
            "'view_to_source' is missing from the batch: without it no one "
            "knows where matches are in the source image."
        )
    if len(set(views)) != 2 or not set(views) <= set(range(len(all_views))):
        raise ValueError(
            f"`views` must be two of 0 to {len(all_views) - 1}, the views in "
            f"the batch; received {views}."
        )
    expander = _expander(model, features)
    images = [all_views[view] for view in views]
    maps = [model.backbone(x, training=False) for x in images]
    shapes: Any = tuple(tuple(int(n) for n in m.shape[1:3]) for m in maps)
    vectors = [_vectors(m, expander) for m in maps]
    where = [
        positions(to_source[view], *shape)
        for view, shape in zip(views, shapes, strict=True)
    ]
    sources = tuple(ops.convert_to_numpy(p) for p in where)
    distances = {
        "location": location_distances(*where),
        "feature": feature_distances(*vectors),
    }
    return Matches(
        views=tuple(ops.convert_to_numpy(x) for x in images),
        map_shapes=shapes,
        positions=sources,
        pairs={
            name: _pairs(values, num_matches, sources)
            for name, values in distances.items()
        },
    )


def _expander(model: "VICRegL", features: str) -> keras.Model | None:
    """What local embeddings are made with, `None` for the backbone's."""
    if features not in ("auto", "embeddings", "backbone"):
        raise ValueError(
            "`features` must be 'auto', 'embeddings' or 'backbone'; received "
            f"{features!r}."
        )
    if features == "embeddings" and model.local_expander is None:
        raise ValueError(
            "`features='embeddings'` are those of the local expander, which a "
            f"model with alpha={model.alpha} has not. Use 'backbone'."
        )
    return None if features == "backbone" else model.local_expander


def _vectors(maps: Any, expander: keras.Model | None) -> Any:
    """Vectors `(B, h * w, C)` of maps `(B, h, w, F)`."""
    _, height, width, channels = maps.shape
    if expander is not None:
        maps = expander(ops.reshape(maps, (-1, channels)), training=False)
    return ops.reshape(maps, (-1, height * width, maps.shape[-1]))


def _pairs(
    distances: Any, count: int | None, sources: tuple[np.ndarray, np.ndarray]
) -> Pairs:
    queries, neighbours = (
        ops.convert_to_numpy(indices) for indices in match(distances, count)[:2]
    )
    ends = [
        np.take_along_axis(source, indices[..., None], axis=1)
        for source, indices in zip(sources, (queries, neighbours), strict=True)
    ]
    return Pairs(
        queries, neighbours, np.linalg.norm(ends[0] - ends[1], axis=-1)
    )


def _source_distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    difference = first[:, :, None] - second[:, None]
    return np.linalg.norm(difference, axis=-1)
