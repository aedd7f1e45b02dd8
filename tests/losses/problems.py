"""Random inputs of the objective on which its discrete choices are exact.

Local embeddings are multiples of 1/8 and positions whole pixels, both small:
float32 squares, products and sums of them carry no rounding, however they are
ordered, so equal distances are equal on every backend and in the reference, and
a choice that differs is an error rather than a rounding.
"""

import dataclasses

import numpy as np
from hypothesis import strategies as st


@dataclasses.dataclass(frozen=True)
class Problem:
    embeddings: list  # of (B, D) float32
    maps: list  # of (B, S_v, C) float32
    positions: list  # of (B, S_v, 2) float32

    @property
    def arrays(self):
        return [*self.embeddings, *self.maps, *self.positions]


def grid_positions(rng, batch, height, width):
    """Positions of the cells of random crops, flipped or not, whole pixels."""
    left, top = rng.integers(0, 48, size=(2, batch, 1, 1))
    half_x, half_y = rng.integers(1, 8, size=(2, batch, 1, 1))
    column = np.broadcast_to(np.arange(width), (batch, height, width))
    row = np.arange(height)[:, None]
    flipped = rng.random((batch, 1, 1)) < 0.5
    column = np.where(flipped, width - 1 - column, column)
    x = left + half_x * (2 * column + 1)
    y = top + half_y * (2 * row + 1)
    x, y = np.broadcast_arrays(x, y)
    return np.stack([x, y], axis=-1).reshape(batch, -1, 2).astype(np.float32)


def make(seed, grids, batch, channels=3, dimensions=5):
    """A problem with one map size `(height, width)` a view."""
    rng = np.random.default_rng(seed)
    # Views are noisy copies of one another, of a spread below and above the
    # hinge, so that every term and both sides of the hinge are at work.
    shared = rng.normal(size=(batch, 1, channels))
    scale = rng.uniform(0.3, 1.5, size=channels)
    common = rng.normal(size=(batch, dimensions))
    maps = [
        np.round(
            8 * scale * (shared + rng.normal(size=(batch, h * w, channels)))
        )
        / 8
        for h, w in grids
    ]
    embeddings = [
        common + 0.5 * rng.normal(size=(batch, dimensions)) for _ in grids
    ]
    return Problem(
        [z.astype(np.float32) for z in embeddings],
        [m.astype(np.float32) for m in maps],
        [grid_positions(rng, batch, h, w) for h, w in grids],
    )


# Few sizes, since every new shape is traced and compiled anew.
_GRIDS = ((3, 3), (2, 4), (1, 1), (4, 3))
_BATCHES = (2, 5, 32)


@st.composite
def problems(draw):
    """Two to eight views of any sizes."""
    views = draw(st.integers(2, 8))
    sizes = st.lists(st.sampled_from(_GRIDS), min_size=views, max_size=views)
    return make(
        seed=draw(st.integers(0, 2**32 - 1)),
        grids=draw(sizes),
        batch=draw(st.sampled_from(_BATCHES)),
        # More dimensions than samples, and fewer.
        channels=draw(st.sampled_from((1, 3, 8))),
        dimensions=draw(st.sampled_from((2, 7))),
    )


_COUNT = st.none() | st.integers(1, 20)
_COUNTS = _COUNT | st.tuples(_COUNT, _COUNT)


@st.composite
def local_options(draw, batch):
    """Keyword arguments of the local criterion for a batch of this size."""
    distance = st.sampled_from((0.5, 3.0, 6.0, 12.5, 1e4))
    distances = st.lists(distance, min_size=batch, max_size=batch).map(
        lambda values: np.array(values, np.float32)
    )
    criteria = st.sampled_from(
        (
            (),
            ("location",),
            ("feature",),
            ("location", "feature"),
            ("feature", "location"),
        )
    )
    return {
        "num_matches": draw(_COUNTS),
        "match_counts": draw(st.sampled_from(("by_pair", "by_view"))),
        "feature_matches": draw(_COUNTS),
        "local_criteria": draw(criteria),
        "max_distance": draw(st.none() | distance | distances),
        "regularize": draw(st.sampled_from(("matches", "maps"))),
    }
