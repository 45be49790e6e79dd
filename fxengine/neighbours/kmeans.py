"""Clusters by k-means over unit vectors (FAISS)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import faiss
import numpy as np
from scipy import sparse

from fxengine.features.blocks import Say, counted
from fxengine.neighbours.exact import in_blocks
from fxengine.neighbours.metric import prepare

_TRAINED_ON = 256  # rows a cluster, at most; more change the centres little
_BYTES = 2**29  # of float32 vectors to train on, where that leaves as many rows a cluster as FAISS asks for
_LEAST = 39  # rows a cluster
_STARTS, _TRIED = 8, 4  # as many are begun, of which the best after so many iterations goes on
_ALL_STARTS = 800  # clusters of all starts together; with many, one start is as good as another
_ITERATIONS = 25
_SEEDED_FROM = 32  # rows a cluster that the first centres are drawn from, at most


def training_rows(rows: int, dim: int, k: int) -> int:
    """Return how many rows the centres are learnt from."""
    return min(rows, _TRAINED_ON * k, max(_BYTES // (4 * dim), _LEAST * k, 10 * _TRAINED_ON))


def kmeans(vectors: np.ndarray, k: int, seed: int = 0, progress: Say | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return the cluster of every row, int64 [n], numbered from the largest, and its cosine to the cluster's centre.

    The centre is the mean direction of a cluster's rows, so that the row with the highest cosine to it is the medoid:
    the one with the least mean cosine distance to the others.

    Args:
        vectors: [n, dim] raw vectors.
        k: clusters, at most n.
        seed: of the first centres.
        progress: told every few seconds how far it is.
    """
    n, dim = vectors.shape
    chosen = np.sort(np.random.default_rng(seed).permutation(n)[: training_rows(n, dim, k)])
    some = np.empty((len(chosen), dim), np.float32)
    for start, block in _starting(in_blocks(vectors, chosen)):
        prepare(block, "cosine", some[start : start + len(block)])
    index = _trained(some, k, seed, progress)
    del some
    assigned, step = np.empty(n, np.int64), counted("rows assigned to clusters", n, progress)
    centres = np.zeros((k, dim))
    for start, block in _starting(in_blocks(vectors)):
        unit = prepare(block, "cosine")
        mine = index.search(unit, 1)[1][:, 0]
        assigned[start : start + len(block)] = mine
        centres += _members(mine, k) @ unit
        step(start + len(block))
    centres, near = prepare(centres, "cosine"), np.empty(n, np.float32)
    for start, block in _starting(in_blocks(vectors)):
        stop = start + len(block)
        near[start:stop] = np.einsum("ij,ij->i", prepare(block, "cosine"), centres[assigned[start:stop]])
    order = np.argsort(-np.bincount(assigned, minlength=k), kind="stable")
    return np.argsort(order)[assigned], near


def _members(assigned: np.ndarray, k: int) -> sparse.csr_array:
    """Return which rows are in which cluster, float32 [k, n]."""
    ones = np.ones(len(assigned), np.float32)
    return sparse.csr_array((ones, (assigned, np.arange(len(assigned)))), shape=(k, len(assigned)))


def _starting(blocks: Iterable[np.ndarray]) -> Iterator[tuple[int, np.ndarray]]:
    """Yield blocks of rows, each with how many rows came before it."""
    start = 0
    for block in blocks:
        yield start, block
        start += len(block)


def _trained(unit: np.ndarray, k: int, seed: int, progress: Say | None) -> faiss.Index:
    """Return the centres, [k, dim], that unit vectors, [n, dim], gather around, as an index."""
    starts = max(1, min(_STARTS, _ALL_STARTS // k))
    tried = _TRIED if starts > 1 else 0
    step = counted("iterations of k-means", starts * tried + _ITERATIONS, progress)
    begun = []
    for start in range(starts):
        rng = np.random.default_rng([seed, start])
        drawn = unit[rng.permutation(len(unit))[: max(_SEEDED_FROM * k, 10 * _TRAINED_ON)]]
        begun.append(_iterated(unit, _first_centres(drawn, k, rng, progress), tried, step, start * tried))
    best = max(begun, key=lambda each: each.near)
    return _iterated(unit, best.centres, _ITERATIONS, step, starts * tried).nearest


class _Model(NamedTuple):
    """Centres, [k, dim], as an index, too, and the sum of the cosines of the rows with those before."""

    centres: np.ndarray
    nearest: faiss.Index | None
    near: float


def _iterated(
    unit: np.ndarray, centres: np.ndarray, iterations: int, step: Callable[[int], object], before: int
) -> _Model:
    made = _Model(centres, None, 0.0)
    for done in range(1, iterations + 1):  # one by one, so that it can be told how far it is
        model = faiss.Kmeans(
            unit.shape[1], len(centres), niter=1, spherical=True, min_points_per_centroid=1,
            max_points_per_centroid=len(unit),
        )  # fmt: skip
        model.train(unit, init_centroids=made.centres)
        made = _Model(model.centroids, model.index, float(model.obj[-1]))
        step(before + done)
    return made


def _first_centres(unit: np.ndarray, k: int, rng: np.random.Generator, progress: Say | None) -> np.ndarray:
    """Return k of the unit vectors, drawn by greedy k-means++ (Arthur and Vassilvitskii, 2007).

    Drawn evenly, several would lie in one group and none in another, which no iteration mends. Here each is drawn with
    the chance of its squared distance to those before it, the best of a few. scikit-learn's own takes thirty times as
    long for float32.
    """
    chosen = [int(rng.integers(len(unit)))]
    nearest = np.maximum(0, 2 - 2 * (unit @ unit[chosen[0]]))
    step = counted("first centres of clusters", k, progress)
    for done in range(1, k):
        step(done)
        share = np.cumsum(nearest, dtype=np.float64)
        drawn = np.searchsorted(share, rng.random(2 + int(np.log(k))) * share[-1])
        drawn = np.minimum(drawn, len(unit) - 1)
        left = np.minimum(nearest, np.maximum(0, 2 - 2 * (unit[drawn] @ unit.T)))
        best = int(left.sum(axis=1).argmin())
        chosen.append(int(drawn[best]))
        nearest = left[best]
    return unit[chosen]
