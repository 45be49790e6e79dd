"""The nearest of every row of a store that has too many to compare each with each."""

from __future__ import annotations

import numpy as np

from fxengine.features.blocks import Say, counted
from fxengine.neighbours.exact import exact_search, in_blocks
from fxengine.neighbours.lists import nearest_by_lists, put_into_lists
from fxengine.neighbours.metric import prepare

_ASKED = 300  # rows that say how many lists must be visited
_RECALL = 0.95  # of the exact neighbours, as an index is asked for
_MOST_LISTS = 32  # visited by each row at most: beyond, time would be that of all pairs
_SPARE = 40  # more are found than are asked for, and ranked again: of long vectors lists hold 256 numbers
_BLOCK = 512  # rows


def nearest_of_all(vectors: np.ndarray, k: int, progress: Say | None = None) -> tuple[np.ndarray, np.ndarray, float]:
    """Return the k nearest of every row by cosine but itself, as far as lists find them, and what share they find.

    Lists are visited until 95% of the exact neighbours of some rows are found, at most 32 of them by each row.

    Args:
        vectors: [n, dim] raw vectors.
        k: neighbours, less than n.
        progress: told every few seconds how far it is, and what share is found.

    Returns:
        Positions, int64 [n, k], and cosines, float32 [n, k], the nearest first; and the share, of 300 rows.

    Raises:
        StoreError: neither the cache nor the memory has room for the lists.
    """
    n = len(vectors)
    lists = put_into_lists(vectors, _MOST_LISTS, progress)
    asked = np.sort(np.random.default_rng(0).permutation(n)[:_ASKED])
    truth, _ = _without(*exact_search(in_blocks(vectors), vectors[asked], k + 1, "cosine"), asked, k)
    share = 0.0

    def enough(found: np.ndarray) -> bool:
        nonlocal share
        tried, _ = _ranked(vectors, asked, found[asked], k)
        share = float(np.mean([len(np.intersect1d(a, b)) for a, b in zip(truth, tried, strict=True)]) / k)
        return share >= _RECALL

    found, visited = nearest_by_lists(lists, min(k + _SPARE, n - 1), enough, progress)
    if progress is not None:
        progress(f"neighbours by {visited} of {lists.count} lists: {share:.1%} of the exact ones")
    near, cosines = np.empty((n, k), np.int64), np.empty((n, k), np.float32)
    step = counted("neighbours ranked", n, progress)
    order = np.argsort(lists.visited[:, 0], kind="stable")  # rows of a list have neighbours in common
    for start in range(0, n, _BLOCK):
        rows = order[start : start + _BLOCK]
        near[rows], cosines[rows] = _ranked(vectors, rows, found[rows], k)
        step(start + len(rows))
    return near, cosines, share


def _ranked(vectors: np.ndarray, rows: np.ndarray, found: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the k nearest of what was found of rows, int [rows, wide], by exact cosine; of all where that is less."""
    short = np.flatnonzero((found >= 0).sum(axis=1) < k)
    if len(short):
        found = found.astype(np.int64)
        exact = exact_search(in_blocks(vectors), vectors[rows[short]], found.shape[1] + 1, "cosine")
        found[short] = _without(*exact, rows[short], found.shape[1])[0]
    some, places = np.unique(np.maximum(found, 0), return_inverse=True)
    unit, others = prepare(vectors[rows], "cosine"), prepare(vectors[some], "cosine")
    cosines = np.empty(found.shape, np.float32)
    for i, mine in enumerate(places.reshape(found.shape)):  # a row's neighbours fit a core's cache
        cosines[i] = others[mine] @ unit[i]
    cosines[found < 0] = -np.inf
    order = np.lexsort((found, -cosines), axis=-1)[:, :k]
    return np.take_along_axis(found, order, 1), np.take_along_axis(cosines, order, 1)


def _without(found: np.ndarray, cosines: np.ndarray, rows: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the first k of what was found of each row but the row itself."""
    order = np.argsort(found == rows[:, None], axis=1, kind="stable")[:, :k]  # itself comes last
    return np.take_along_axis(found, order, 1), np.take_along_axis(cosines, order, 1)
