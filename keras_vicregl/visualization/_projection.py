"""Principal components, with signs that do not depend on the machine."""

import numpy as np


def principal_axes(
    rows: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """The directions in which centred rows vary most.

    Args:
        rows: `(N, F)` float64 array with mean 0.
        count: how many, at most F.

    Returns:
        `(F, count)` unit vectors, the largest weight of each positive, and the
        share `(count,)` of the variance that each explains.
    """
    if count <= len(rows) < rows.shape[1]:
        _, roots, transposed = np.linalg.svd(rows, full_matrices=False)
        values, vectors = roots**2, transposed.T
    else:
        values, vectors = np.linalg.eigh(rows.T @ rows)
        values, vectors = values[::-1], vectors[:, ::-1]
    vectors = vectors[:, :count]
    # A principal axis has no sign: the largest weight is taken to be positive.
    largest = np.abs(vectors).argmax(axis=0)
    vectors = vectors * np.sign(vectors[largest, range(count)])
    shares = np.maximum(values[:count], 0) / max(np.square(rows).sum(), 1e-300)
    return vectors, shares
