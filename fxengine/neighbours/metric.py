"""What near means. Every score here is higher where two vectors are nearer."""

from __future__ import annotations

import faiss
import numpy as np

from fxengine.errors import InputError, one_of
from fxengine.features.float16 import widen

LARGEST = 1e15
_LEAST_SQUARE = 1e-26  # of a vector's length: below, squares of single numbers may vanish in float32
# Name -> what a score is.
METRICS = {
    "cosine": "cosine, between -1 and 1",
    "ip": "inner product",
    "l2": "minus the Euclidean distance",
}


def check(metric: str) -> None:
    """Raise InputError where there is no such metric."""
    one_of("metric", metric, METRICS)


def prepare(vectors: np.ndarray, metric: str, out: np.ndarray | None = None) -> np.ndarray:
    """Return a copy of vectors [n, dim], in `out` if given, as C-ordered float32; of length 1 for cosine."""
    if metric == "cosine" and vectors.dtype == np.float64:
        vectors = vectors / np.maximum(np.abs(vectors).max(axis=-1, keepdims=True), np.finfo(np.float64).tiny)
    copied = widen(vectors, out)
    if metric == "cosine":
        if vectors.dtype == np.float32:
            _rescale(copied)
        faiss.normalize_L2(copied)
    return copied


def _rescale(vectors: np.ndarray) -> None:
    """Divide vectors by their largest number where squares of it would leave float32; float16 has none such."""
    squares = np.einsum("ij,ij->i", vectors, vectors)
    odd = np.flatnonzero(~((squares >= _LEAST_SQUARE) & (squares <= LARGEST**2)))
    if len(odd):
        largest = np.abs(vectors[odd]).max(axis=1)
        odd, largest = odd[largest > 0], largest[largest > 0]
        vectors[odd] /= largest[:, None]


def check_queries(vectors: np.ndarray, metric: str) -> None:
    """Raise InputError where a query, a row of [q, dim] raw vectors, has no neighbours by the metric."""
    largest = np.abs(vectors).max(axis=1, initial=0).astype(np.float64)
    bad = np.flatnonzero(~np.isfinite(largest))
    if len(bad):
        raise InputError(f"Query {bad[0]} has a value that is not a finite number.")
    zero = np.flatnonzero(largest == 0)
    if metric == "cosine" and len(zero):
        raise InputError(
            f"Query {zero[0]} is a vector of zeros: by cosine nothing is near it. The metric l2 has an answer."
        )
    if metric != "cosine" and (largest > LARGEST).any():
        raise InputError(
            f"A query has numbers over {LARGEST:.0e}, too large to compare by {metric}; cosine has no limit."
        )


def findable(vectors: np.ndarray, metric: str) -> np.ndarray:
    """Return which vectors an index can find, bool [n]: by cosine, a zero vector is near nothing."""
    found: np.ndarray = np.any(vectors, axis=1) if metric == "cosine" else np.ones(len(vectors), bool)
    return found


def faiss_metric(metric: str) -> int:
    """Return what an index compares prepared vectors by.

    Cosine is the Euclidean distance of unit vectors there: a PCA inside an index moves the origin, which keeps
    distances and changes inner products.
    """
    return int(faiss.METRIC_INNER_PRODUCT if metric == "ip" else faiss.METRIC_L2)


def scores(distances: np.ndarray, metric: str) -> np.ndarray:
    """Return scores from an index's distances [q, k] (squared ones, but for the inner product)."""
    if metric == "ip":
        return distances
    near: np.ndarray = -np.sqrt(np.maximum(distances, 0)) if metric == "l2" else 1 - distances / 2
    return near
