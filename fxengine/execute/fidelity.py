"""How well a faster way of computing keeps the features."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

NEIGHBOURS = 10
SLACK = 0.005  # a neighbour whose similarity is this near to the 10th's is as good as it
LEAST_MEAN_COSINE = 0.999
LEAST_KEPT = 0.95


@dataclass(frozen=True)
class Fidelity:
    """Features computed in another way against those of fp32.

    Attributes:
        mean_cosine: of a picture's two vectors.
        worst_cosine: the least of them.
        kept_neighbours: share of the other way's 10 nearest neighbours that are neighbours in fp32, too: whose fp32
            similarity is within 0.005 of the 10th's.
    """

    mean_cosine: float
    worst_cosine: float
    kept_neighbours: float

    @property
    def keeps_features(self) -> bool:
        """Whether the other way may stand in for fp32."""
        return self.mean_cosine >= LEAST_MEAN_COSINE and self.kept_neighbours >= LEAST_KEPT


def compare(reference: np.ndarray, other: np.ndarray) -> Fidelity:
    """Return how well `other` keeps `reference`, both float32 [n, dim], one row a picture, n at least 2."""
    a, b = _unit(reference), _unit(other)
    cosine = (a * b).sum(axis=1)
    k = min(NEIGHBOURS, len(a) - 1)
    similar, similar_other = a @ a.T, b @ b.T
    np.fill_diagonal(similar, -np.inf)
    np.fill_diagonal(similar_other, -np.inf)
    least = np.partition(similar, -k, axis=1)[:, -k] - SLACK
    found = np.argpartition(-similar_other, k - 1, axis=1)[:, :k]
    kept = np.take_along_axis(similar, found, axis=1) >= least[:, None]
    return Fidelity(float(cosine.mean()), float(cosine.min()), float(kept.mean()))


def _unit(vectors: np.ndarray) -> np.ndarray:
    x = vectors.astype(np.float64)
    return np.asarray(x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12))
