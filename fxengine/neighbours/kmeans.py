"""Clusters by k-means over unit vectors (FAISS)."""

from __future__ import annotations

import faiss
import numpy as np

from fxengine.neighbours.exact import in_blocks
from fxengine.neighbours.metric import prepare

_TRAINED_ON = 256  # rows a cluster, at most; more change the centres little
_ITERATIONS = 25
_STARTS = 5  # the best of so many is taken


def kmeans(vectors: np.ndarray, k: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return the cluster of every row, int64 [n], numbered from the largest, and its cosine to the cluster's centre.

    The centre is the mean direction of a cluster's rows, so that the row with the highest cosine to it is the medoid:
    the one with the least mean cosine distance to the others.

    Args:
        vectors: [n, dim] raw vectors.
        k: clusters, at most n.
        seed: of the first centres.
    """
    dim = vectors.shape[1]
    model = faiss.Kmeans(
        dim, k, niter=_ITERATIONS, nredo=_STARTS, seed=seed % (1 << 31), spherical=True, min_points_per_centroid=1
    )
    chosen = np.random.default_rng(seed).permutation(len(vectors))[: _TRAINED_ON * k]
    model.train(prepare(vectors[np.sort(chosen)], "cosine"))
    blocks = (prepare(block, "cosine") for block in in_blocks(vectors))
    assigned = np.concatenate([model.index.search(block, 1)[1][:, 0] for block in blocks])
    order = np.argsort(-np.bincount(assigned, minlength=k), kind="stable")
    assigned = np.argsort(order)[assigned]
    centres = np.zeros((k, dim))
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
