"""The VICRegL objective in PyTorch, as its definition reads.

What the library is measured against: full covariance matrices with a boolean
mask for their off-diagonal part, every ordered pair of views, both directions
and both criteria on their own, one covariance matrix a slot. Written plainly,
with PyTorch's own batched operations, from the paper's equations.
"""

import torch
from torch.nn import functional

INVARIANCE, VARIANCE, COVARIANCE = 25.0, 25.0, 1.0
EPSILON = 1e-4


def off_diagonal(matrix):
    """The entries of (..., C, C) outside the diagonal, (..., C * (C - 1))."""
    mask = ~torch.eye(matrix.shape[-1], dtype=torch.bool)
    return matrix[..., mask]


def variance_loss(x):
    """Hinge on the standard deviation over the batch, of x (B, ..., C)."""
    deviation = torch.sqrt(x.var(dim=0) + EPSILON)
    return functional.relu(1.0 - deviation).mean()


def covariance_loss(x):
    """Off-diagonal covariances squared, of x (B, D)."""
    batch, dimensions = x.shape
    x = x - x.mean(dim=0)
    covariance = x.T @ x / (batch - 1)
    return off_diagonal(covariance).pow(2).sum() / dimensions


def covariance_loss_per_slot(x):
    """The same of x (B, K, C), a matrix for each of the K slots, and a mean."""
    batch, _, channels = x.shape
    x = x - x.mean(dim=0)
    covariance = torch.einsum("bkc,bkd->kcd", x, x) / (batch - 1)
    per_slot = off_diagonal(covariance).pow(2).sum(dim=-1) / channels
    return per_slot.mean()


def ordered_pairs(views):
    """(i, j) with i one of the two large views and j any other view."""
    return [(i, j) for i in (0, 1) for j in range(len(views)) if i != j]


def global_loss(embeddings):
    """Equation 1, averaged over pairs and views of (B, D) embeddings."""
    pairs = ordered_pairs(embeddings)
    invariance = sum(
        functional.mse_loss(embeddings[i], embeddings[j]) for i, j in pairs
    )
    variance = sum(variance_loss(z) for z in embeddings)
    covariance = sum(covariance_loss(z) for z in embeddings)
    views = len(embeddings)
    return (
        INVARIANCE * invariance / len(pairs)
        + VARIANCE * variance / views
        + COVARIANCE * covariance / views
    )


@torch.no_grad()
def match(distances, count):
    """Queries (B, K) in raster order and their nearest neighbours."""
    nearest = distances.min(dim=-1)
    queries = distances.shape[1]
    if count is None or count > queries:
        count = queries
    chosen = nearest.values.argsort(dim=-1, stable=True)[:, :count]
    chosen = chosen.sort(dim=-1).values
    return chosen, nearest.indices.gather(1, chosen)


def gather(maps, slots):
    """(B, K, C) of maps (B, S, C) at slots (B, K)."""
    slots = slots.unsqueeze(-1).expand(-1, -1, maps.shape[-1])
    return maps.gather(1, slots)


def matched_loss(queries, candidates, distances, count):
    """The VICReg criterion on the matches in one direction."""
    chosen, neighbors = match(distances, count)
    x, y = gather(queries, chosen), gather(candidates, neighbors)
    variance = variance_loss(x) + variance_loss(y)
    covariance = covariance_loss_per_slot(x) + covariance_loss_per_slot(y)
    return (
        INVARIANCE * functional.mse_loss(x, y)
        + VARIANCE * variance / 2
        + COVARIANCE * covariance / 2
    )


@torch.no_grad()
def location_distances(p, q):
    """(B, S, T) between positions (B, S, 2) and (B, T, 2)."""
    return (p[:, :, None] - q[:, None]).pow(2).sum(dim=-1)


@torch.no_grad()
def feature_distances(a, b):
    """(B, S, T) between local embeddings (B, S, C) and (B, T, C)."""
    return torch.cdist(a, b)


def local_loss(maps, positions, num_matches=(20, 4)):
    """Equations 2 to 4 on maps (B, S_v, C) and positions (B, S_v, 2)."""
    pairs = ordered_pairs(maps)
    loss = 0.0
    for i, j in pairs:
        a, b = maps[i], maps[j]
        p, q = positions[i], positions[j]
        loss = loss + 0.5 * (
            matched_loss(a, b, feature_distances(a, b), None)
            + matched_loss(b, a, feature_distances(b, a), None)
            + matched_loss(a, b, location_distances(p, q), num_matches[0])
            + matched_loss(b, a, location_distances(q, p), num_matches[1])
        )
    return loss / len(pairs)


def vicregl_loss(embeddings, maps, positions, alpha=0.75):
    """Equation 5; a criterion of weight zero is not computed."""
    loss = 0.0
    if alpha > 0:
        loss = loss + alpha * global_loss(embeddings)
    if alpha < 1:
        loss = loss + (1 - alpha) * local_loss(maps, positions)
    return loss
