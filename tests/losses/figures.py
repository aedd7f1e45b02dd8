"""Reference figures of the authors' release for the objective.

Inputs with the float64 losses, gradients and matches that the release gives
on them; see `tests/goldens/README.md`.
"""

import dataclasses
import functools
import json
import pathlib

import numpy as np

DIRECTORY = pathlib.Path(__file__).parents[1] / "goldens"
CASES = (
    "a_2v_alpha1",
    "a_2v_default",
    "b_2p6_default",
    "c_B_gt_D",
    "c_B_lt_D",
    "d_2v_l2topk_20_4",
    "e_fast_2v",
    "f_flip",
    "g_constant_emb_alpha1",
)
_TERMS = {
    "inv": "inv",
    "var": "var",
    "cov": "cov",
    "maps_inv": "local_inv",
    "maps_var": "local_var",
    "maps_cov": "local_cov",
}


@dataclasses.dataclass(frozen=True)
class Figures:
    """One case: inputs, options and what comes out."""

    embeddings: list  # of (B, D) float32
    maps: list  # of (B, S, C) float32
    positions: list  # of (B, S, 2) float32, (x, y) in source pixels
    options: dict  # keyword arguments of the objective
    terms: dict  # of floats, "loss" the total
    embedding_gradients: list | None
    map_gradients: list | None
    matches: list  # of (queries, neighbors), (B, K) each


@functools.cache
def load(case):
    with np.load(DIRECTORY / f"{case}.npz") as arrays:
        arrays = dict(arrays)
    given = json.loads(str(arrays["opts"]))
    views = range(given["views"])
    fast = bool(given["fast_vc_reg"])
    counts = tuple(given["num_matches"])

    def stack(prefix):
        key = f"{prefix}_0"
        if key not in arrays:
            return None
        return [arrays[f"{prefix}_{view}"] for view in views]

    terms = {
        ours: arrays[f"f64_{theirs}"].item()
        for theirs, ours in _TERMS.items()
        if f"f64_{theirs}" in arrays and arrays[f"f64_{theirs}"].ndim == 0
    }
    # The release's own covariance over whole maps is broken: the corrected
    # values stand beside it. Its gradients of the embeddings are left out.
    terms["loss"] = arrays["fixed_total" if fast else "f64_total"].item()
    if fast:
        terms["local_cov"] = arrays["fixed_maps_cov"].item()

    searches = sum(name.startswith("sel_") for name in arrays)
    return Figures(
        embeddings=stack("emb"),
        maps=stack("maps"),
        positions=[
            location.reshape(len(location), -1, 2)[..., ::-1].copy()
            for location in stack("loc")
        ],
        options={
            "alpha": given["alpha"],
            "num_matches": counts,
            "feature_matches": None if given["l2_all_matches"] else counts,
            "regularize": "maps" if fast else "matches",
            "invariance_coefficient": given["inv_coeff"],
            "variance_coefficient": given["var_coeff"],
            "covariance_coefficient": given["cov_coeff"],
        },
        terms=terms,
        embedding_gradients=None if fast else stack("gemb"),
        map_gradients=stack("gfixed_maps" if fast else "gmaps"),
        matches=[
            (arrays[f"sel_{n}"].astype(int), arrays[f"nn_{n}"].astype(int))
            for n in range(searches)
        ],
    )
