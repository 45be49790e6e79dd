"""Clusters by k-means over unit vectors (FAISS)."""

from __future__ import annotations

import faiss
import numpy as np

from fxengine.neighbours.exact import in_blocks
from fxengine.neighbours.metric import prepare

_TRAINED_ON = 256  # rows a cluster, at most; more change the centres little
_STARTS, _TRIED = 8, 4  # as many are begun, of which the best after so many iterations goes on
_ITERATIONS = 25
_SEEDED_FROM = 32  # rows a cluster that the first centres are drawn from, at most


def kmeans(vectors: np.ndarray, k: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return the cluster of every row, int64 [n], numbered from the largest, and its cosine to the cluster's centre.

    The centre is the mean direction of a cluster's rows, so that the row with the highest cosine to it is the medoid:
    the one with the least mean cosine distance to the others.

    Args:
        vectors: [n, dim] raw vectors.
        k: clusters, at most n.
        seed: of the first centres.
    """
    chosen = np.random.default_rng(seed).permutation(len(vectors))[: _TRAINED_ON * k]
    index = _trained(prepare(vectors[np.sort(chosen)], "cosine"), k, seed)
    blocks = (prepare(block, "cosine") for block in in_blocks(vectors))
    assigned = np.concatenate([index.search(block, 1)[1][:, 0] for block in blocks])
    order = np.argsort(-np.bincount(assigned, minlength=k), kind="stable")
    assigned = np.argsort(order)[assigned]
    centres = np.zeros((k, vectors.shape[1]))
    start = 0
    for block in in_blocks(vectors):
        np.add.at(centres, assigned[start : start + len(block)], prepare(block, "cosine"))
        start += len(block)
    centres = prepare(centres, "cosine")
    near = np.empty(len(vectors), np.float32)
    start = 0
    for block in in_blocks(vectors):
        stop = start + len(block)
        near[start:stop] = np.einsum("ij,ij->i", prepare(block, "cosine"), centres[assigned[start:stop]])
        start = stop
    return assigned, near


def _trained(unit: np.ndarray, k: int, seed: int) -> faiss.Index:
    """Return the centres, [k, dim], that unit vectors, [n, dim], gather around, as an index."""
    begun = []
    for start in range(_STARTS):
        rng = np.random.default_rng([seed, start])
        drawn = unit[rng.permutation(len(unit))[: max(_SEEDED_FROM * k, 10 * _TRAINED_ON)]]
        begun.append(_iterated(unit, _first_centres(drawn, k, rng), _TRIED))
    best = max(begun, key=lambda model: model.obj[-1])  # the sum of the cosines
    return _iterated(unit, best.centroids, _ITERATIONS).index


def _iterated(unit: np.ndarray, centres: np.ndarray, iterations: int) -> faiss.Kmeans:
    model = faiss.Kmeans(unit.shape[1], len(centres), niter=iterations, spherical=True, min_points_per_centroid=1)
    model.train(unit, init_centroids=centres)
    return model


def _first_centres(unit: np.ndarray, k: int, rng: np.random.Generator) -> np.ndarray:
    """Return k of the unit vectors, drawn by greedy k-means++ (Arthur and Vassilvitskii, 2007).

    Drawn evenly, several would lie in one group and none in another, which no iteration mends. Here each is drawn with
    the chance of its squared distance to those before it, the best of a few. scikit-learn's own takes thirty times as
    long for float32.
    """
    chosen = [int(rng.integers(len(unit)))]
    nearest = np.maximum(0, 2 - 2 * (unit @ unit[chosen[0]]))
    for _ in range(1, k):
        share = np.cumsum(nearest, dtype=np.float64)
        drawn = np.searchsorted(share, rng.random(2 + int(np.log(k))) * share[-1])
        drawn = np.minimum(drawn, len(unit) - 1)
        left = np.minimum(nearest, np.maximum(0, 2 - 2 * (unit[drawn] @ unit.T)))
        best = int(left.sum(axis=1).argmin())
        chosen.append(int(drawn[best]))
        nearest = left[best]
    return unit[chosen]
