"""The nearest of every row of a store that has too many to compare each with each."""

from __future__ import annotations

import faiss
import numpy as np

from fxengine.features.blocks import Say, counted
from fxengine.features.float16 import widen
from fxengine.neighbours.exact import exact_search, in_blocks
from fxengine.neighbours.metric import prepare
from fxengine.neighbours.pairs import inverted_file

_ASKED = 300  # rows that say how many lists must be visited
_RECALL = 0.95  # of the exact neighbours, as an index is asked for
_MOST_LISTS = 32  # visited for each row at most: beyond, time would be that of all pairs
_SPARE = 40  # more are found than are asked for, and ranked again: lists hold a byte a number, and not all numbers
_BLOCK = 512  # rows
_LEAST = 1e-24  # squared length below which a vector counts as one of zeros, near nothing


def nearest_of_all(vectors: np.ndarray, k: int, progress: Say | None = None) -> tuple[np.ndarray, np.ndarray, float]:
    """Return the k nearest of every row by cosine but itself, as far as lists find them, and what share they find.

    Lists are visited until 95% of the exact neighbours of some rows are found, at most 32 of them for each row.

    Args:
        vectors: [n, dim] raw vectors.
        k: neighbours, less than n.
        progress: told every few seconds how far it is, and what share is found.

    Returns:
        Positions, int64 [n, k], and cosines, float32 [n, k], the nearest first; and the share, of 300 rows.
    """
    n = len(vectors)
    index = inverted_file(vectors, progress)
    visited = faiss.extract_index_ivf(index)
    asked = np.sort(np.random.default_rng(0).permutation(n)[:_ASKED])
    truth, _ = _without(*exact_search(in_blocks(vectors), vectors[asked], k + 1, "cosine"), asked, k)
    while True:
        found, _ = _found(index, vectors, asked, k)
        share = float(np.mean([len(np.intersect1d(a, b)) for a, b in zip(truth, found, strict=True)]) / k)
        if share >= _RECALL or visited.nprobe >= min(_MOST_LISTS, visited.nlist):
            break
        visited.nprobe = min(2 * visited.nprobe, _MOST_LISTS, visited.nlist)
    if progress is not None:
        progress(f"neighbours by {visited.nprobe} of {visited.nlist} lists: {share:.1%} of the exact ones")
    near, cosines = np.empty((n, k), np.int64), np.empty((n, k), np.float32)
    step = counted("neighbours found", n, progress)
    for start in range(0, n, _BLOCK):
        rows = np.arange(start, min(start + _BLOCK, n))
        near[rows], cosines[rows] = _found(index, vectors, rows, k)
        step(int(rows[-1]) + 1)
    return near, cosines, share


def _found(index: faiss.Index, vectors: np.ndarray, rows: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the k nearest of some rows but themselves, of those that the lists find, by their exact cosines."""
    unit = prepare(vectors[rows], "cosine")
    wide = min(index.ntotal, k + _SPARE)
    found = index.search(unit, wide)[1]
    short = (found >= 0).sum(axis=1) <= k  # the lists that were visited hold too few
    if short.any():
        found[short] = exact_search(in_blocks(vectors), vectors[rows[short]], wide, "cosine")[0]
    others = widen(vectors[np.maximum(found, 0).ravel()]).reshape(*found.shape, -1)
    products, squares = (others @ unit[:, :, None])[:, :, 0], np.einsum("ikj,ikj->ik", others, others)
    cosines = np.where(found < 0, -np.inf, products / np.sqrt(np.maximum(squares, _LEAST))).astype(np.float32)
    order = np.lexsort((found, -cosines), axis=-1)
    return _without(np.take_along_axis(found, order, 1), np.take_along_axis(cosines, order, 1), rows, k)


def _without(found: np.ndarray, cosines: np.ndarray, rows: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the first k of what was found of each row but the row itself."""
    order = np.argsort(found == rows[:, None], axis=1, kind="stable")[:, :k]  # itself comes last
    return np.take_along_axis(found, order, 1), np.take_along_axis(cosines, order, 1)
