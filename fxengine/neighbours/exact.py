"""Exact search by a blocked matrix product: the judge of every other index."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from fxengine.neighbours.metric import prepare

_BLOCK_BYTES = 2**24  # of float32 vectors at a time
_QUERIES = 1024  # whose scores are held at a time
_SOME = 512  # rows of the first block that a floor is taken from


def exact_search(
    blocks: Iterable[np.ndarray], queries: np.ndarray, k: int, metric: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return the k nearest of all rows to every query.

    Memory is that of one block, of its scores for 1024 queries, and of the answers.

    Args:
        blocks: the rows, [n, dim] raw vectors at a time.
        queries: [q, dim] raw vectors.
        k: neighbours; fewer come back where there are fewer rows.
        metric: "cosine", "ip" or "l2".

    Returns:
        Positions, int64 [q, k], counted over all blocks, and scores, float32 [q, k]; the nearest first, and
        in their own order where two are as near.
    """
    wanted = prepare(queries, metric)
    slabs = [wanted[i : i + _QUERIES] for i in range(0, max(1, len(wanted)), _QUERIES)]
    nearest = [(np.empty((len(slab), 0), np.int64), np.empty((len(slab), 0), np.float32)) for slab in slabs]
    start = 0
    # Kept from block to block: where memory is touched for the first time costs as much as a third of the product.
    room, scores = np.empty((0, wanted.shape[1]), np.float32), np.empty((0, 0), np.float32)
    for block in blocks:
        if len(room) < len(block):
            room = np.empty((len(block), wanted.shape[1]), np.float32)
            scores = np.empty((len(slabs[0]), len(block)), np.float32)
        rows = prepare(block, metric, room[: len(block)])
        # Ranks as minus the distance does: |q - r|^2 = |q|^2 - 2 (q r - |r|^2 / 2)
        offset = np.einsum("ij,ij->i", rows, rows) / 2 if metric == "l2" else None
        for i, slab in enumerate(slabs):
            near = np.matmul(slab, rows.T, out=scores[: len(slab), : len(block)])
            if offset is not None:
                near -= offset
            nearest[i] = _merged(*nearest[i], near, start, k)
        start += len(block)
    found, best = (np.concatenate(parts) for parts in zip(*nearest, strict=True))
    if metric == "l2":
        squares = np.einsum("ij,ij->i", wanted, wanted)[:, None] - 2 * best
        return found, -np.sqrt(np.maximum(squares, 0))
    return found, best


def _merged(
    found: np.ndarray, best: np.ndarray, scores: np.ndarray, start: int, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the k best after the rows from `start` on, with their scores [q, rows], came to those found so far.

    Nearly every score is below the k-th best so far: one comparison drops it, which is far cheaper than a heap.
    """
    queries, known = best.shape
    if known == k:
        floor = best[:, -1:]
    elif scores.shape[1] > k:
        # The k-th best of some of them is a floor, too, and sooner found.
        some = scores[:, : max(4 * k, _SOME)]
        floor = np.partition(some, -k, axis=1)[:, -k][:, None]
    else:
        floor = np.full((queries, 1), -np.inf, np.float32)
    query, at = np.divmod(np.flatnonzero(scores >= floor), scores.shape[1])
    query = np.concatenate([np.repeat(np.arange(queries), known), query])
    all_found = np.concatenate([found.ravel(), at + start])
    all_best = np.concatenate([best.ravel(), scores[query[queries * known :], at]])
    order = np.lexsort((all_found, -all_best, query))
    counts = np.bincount(query, minlength=queries)
    first = np.cumsum(counts) - counts
    kept = min(k, known + scores.shape[1])
    chosen = order[first[:, None] + np.arange(kept)]
    return all_found[chosen], all_best[chosen]


def in_blocks(matrix: np.ndarray, rows: np.ndarray | None = None) -> Iterator[np.ndarray]:
    """Yield a matrix [n, dim], or only its `rows`, int [rows], in blocks that fit the cache of a search."""
    size = max(256, _BLOCK_BYTES // (4 * matrix.shape[1]))
    for start in range(0, len(matrix) if rows is None else len(rows), size):
        yield matrix[start : start + size] if rows is None else matrix[rows[start : start + size]]
