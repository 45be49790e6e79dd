"""The nearest of all rows among each other, list by list of an inverted file, so that all work is products of matrices.

An index that answers rows one after another reads the same list again for each row that visits it; here a list meets
all of them at once: 60,000 rows of 1280 took 44 s of processors, from lists to ranks, and 75 s by an index.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

import faiss
import numpy as np
from threadpoolctl import threadpool_limits

from fxengine.collect.memory import demand
from fxengine.features.blocks import Say, counted, counted_blocks
from fxengine.features.mapped import let_go, scratch
from fxengine.neighbours.choose import cells
from fxengine.neighbours.exact import in_blocks
from fxengine.neighbours.metric import prepare

_TRAINED_ON = 32  # rows a list, at most
_BYTES = 2**31  # of float32 vectors that are compared as they are, and of those that lists are learnt from a quarter
_SHORT = 256  # numbers that a PCA leaves of those that would take more
_IN_MEMORY = 2**28  # bytes; what takes more lies in a file without a name
_SCORES = 2**22  # that are held at a time by a thread


@dataclass(frozen=True)
class Lists:
    """Rows in lists.

    Attributes:
        vectors: float32 [n, short], as they are compared: of length 1, or 256 of their principal components.
        halves: float32 [n], half their squares, where vectors are near by their distance; None: by their product.
        visited: int32 [n, most], the lists that are nearest to each row, the nearest first: the one that it is in.
        count: lists.
    """

    vectors: np.ndarray
    halves: np.ndarray | None
    visited: np.ndarray
    count: int


def put_into_lists(vectors: np.ndarray, most: int, progress: Say | None = None) -> Lists:
    """Return vectors, [n, dim] raw, in 4 * sqrt(n) lists by cosine, of which each row may visit `most`.

    Args:
        vectors: raw vectors.
        most: lists; fewer where there are fewer.
        progress: told every few seconds how far it is.

    Raises:
        StoreError: neither the cache nor the memory has room for them.
    """
    n, dim = vectors.shape
    count = cells(n)
    turned = dim > _SHORT and 4 * n * dim > _BYTES  # a PCA moves the origin, which keeps distances alone
    kind = faiss.METRIC_L2 if turned else faiss.METRIC_INNER_PRODUCT
    index = faiss.index_factory(dim, f"PCA{_SHORT},IVF{count},Flat" if turned else f"IVF{count},Flat", kind)
    inverted = faiss.extract_index_ivf(index)
    inverted.cp.min_points_per_centroid = 1  # of fewer than it likes it says so on stderr
    chosen = np.random.default_rng(0).permutation(n)[: min(_TRAINED_ON * count, max(count, _BYTES // (16 * dim)))]
    index.train(prepare(vectors[np.sort(chosen)], "cosine"))
    pca = faiss.downcast_VectorTransform(index.chain.at(0)) if turned else None
    room, halves = make_room((n, _SHORT if turned else dim), "float32"), np.empty(n, np.float32) if turned else None
    visited, start = np.empty((n, min(most, count)), np.int32), 0
    for block in counted_blocks(in_blocks(vectors), "vectors put into lists", n, progress):
        short = prepare(block, "cosine")
        short, rows = short if pca is None else pca.apply(short), slice(start, start + len(block))
        room[rows], visited[rows] = short, inverted.quantizer.search(short, visited.shape[1])[1]
        if halves is not None:
            halves[rows] = np.einsum("ij,ij->i", short, short) / 2
        start += len(block)
        let_go(room)
    return Lists(room, halves, visited, count)


def nearest_by_lists(
    lists: Lists, k: int, enough: Callable[[np.ndarray], bool] | None = None, progress: Say | None = None
) -> tuple[np.ndarray, int]:
    """Return the k nearest rows of each row but itself, of those in the lists that it visits, and how many it visited.

    Args:
        lists: the rows.
        k: neighbours.
        enough: asked after 1, 2, 4 lists and so on of what was found so far; all are visited unless it says so.
        progress: told every few seconds how far it is.

    Returns:
        int32 [n, k], in no order, -1 where there are fewer; and lists.
    """
    n, most = lists.visited.shape
    found, best = np.full((n, k), -1, np.int32), np.full((n, k), -np.inf, np.float32)
    members = _grouped(lists.visited[:, 0], lists.count)
    for turn in range(most):
        _visit(lists, turn, members, found, best, counted(f"rows compared with list {turn + 1} of {most}", n, progress))
        if enough is not None and turn & (turn + 1) == 0 and enough(found):
            return found, turn + 1
    return found, most


def _visit(
    lists: Lists,
    turn: int,
    members: Sequence[np.ndarray],
    found: np.ndarray,
    best: np.ndarray,
    step: Callable[[int], None],
) -> None:
    """Compare each row with those of the list that it visits in a turn."""

    def meet(queries: np.ndarray, rows: np.ndarray) -> int:
        size = max(1, _SCORES // max(1, len(rows)))
        for start in range(0, len(queries) if len(rows) else 0, size):
            _take(lists, queries[start : start + size], rows, found, best, own=turn == 0)
        return len(queries)

    done = 0
    # Products as small as these gain little from a second thread; two of them do, and what lies between them.
    with threadpool_limits(1), ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        for asked in pool.map(meet, _grouped(lists.visited[:, turn], lists.count), members):
            done += asked
            step(done)


def _grouped(numbers: np.ndarray, count: int) -> list[np.ndarray]:
    """Return the places of every number below `count`, in order."""
    order = np.argsort(numbers, kind="stable")
    return np.split(order, np.searchsorted(numbers[order], np.arange(1, count)))


def _take(
    lists: Lists, queries: np.ndarray, rows: np.ndarray, found: np.ndarray, best: np.ndarray, *, own: bool
) -> None:
    """Compare queries with the rows of a list, and put those that are nearer into what was found.

    No two threads have the same query: in one turn a row visits one list.
    """
    k = best.shape[1]
    scores = lists.vectors[queries] @ lists.vectors[rows].T
    if lists.halves is not None:
        scores -= lists.halves[rows]  # ranks as minus the distance: |q - r|^2 = |q|^2 - 2 (q r - |r|^2 / 2)
    if own:
        scores[queries[:, None] == rows] = -np.inf
    nearer = np.flatnonzero(scores.max(axis=1) > best[queries].min(axis=1))
    if not len(nearer):
        return
    queries = queries[nearer]
    names = np.broadcast_to(rows.astype(np.int32), (len(queries), len(rows)))
    joined, names = np.hstack([best[queries], scores[nearer]]), np.hstack([found[queries], names])
    kept = np.argpartition(joined, -k, axis=1)[:, -k:]
    best[queries] = np.take_along_axis(joined, kept, 1)
    found[queries] = np.where(best[queries] > -np.inf, np.take_along_axis(names, kept, 1), -1)


def make_room(shape: tuple[int, int], dtype: str) -> np.ndarray:
    """Return a matrix to write to, mapped from a file without a name where it is large.

    Raises:
        StoreError: neither the cache nor the memory has room for it.
    """
    size = shape[0] * shape[1] * np.dtype(dtype).itemsize
    if size > _IN_MEMORY:
        with suppress(OSError):
            return scratch(shape, dtype)
        where = "Free memory, or set FXENGINE_CACHE to a folder on a disk with as much room."
        demand(size, "Comparing so many vectors", where)
    return np.empty(shape, dtype)
