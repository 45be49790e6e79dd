"""Exact search by a blocked matrix product: the judge of every other index."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from fxengine.features.float16 import widen
from fxengine.neighbours.metric import prepare

_BLOCK_BYTES = 2**24  # of float32 vectors at a time
_CACHED_BYTES = 5 * 2**18  # the same for a single query, which a core's own cache must hold: see `_step`
_PAIR_BYTES = 2**19  # of float64 vectors that are compared pair by pair at a time
_QUERIES = 1024  # whose scores are held at a time
_SOME = 512  # rows of the first block that a centre is taken from
_FLOOR = 2048  # and a floor: of fewer, many more scores pass it and are sorted
_CLOSE = 2e-6  # scores that differ by less may change places where they are taken again


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
    centre: np.ndarray | None = None  # of some rows: what all have in common makes large squares of small differences
    slabs = [wanted[i : i + _QUERIES] for i in range(0, max(1, len(wanted)), _QUERIES)]  # views of it
    nearest = [(np.empty((len(slab), 0), np.int64), np.empty((len(slab), 0), np.float32)) for slab in slabs]
    start = 0
    # Kept from block to block: where memory is touched for the first time costs as much as a third of the product.
    room, scores = np.empty((0, wanted.shape[1]), np.float32), np.empty((0, 0), np.float32)
    for block in blocks:
        step = _step(len(block), wanted)
        if len(room) < step:
            room = np.empty((step, wanted.shape[1]), np.float32)
        if scores.shape[1] < len(block):
            scores = np.empty((len(slabs[0]), len(block)), np.float32)
        if metric == "l2" and centre is None:
            centre = _common(prepare(block[:_SOME], metric))
            wanted -= centre
        for begin in range(0, len(block), step):
            rows, offset = _prepared(block[begin : begin + step], metric, room, centre)
            for i, slab in enumerate(slabs):
                near = np.matmul(slab, rows.T, out=scores[: len(slab), begin : begin + len(rows)])
                if offset is not None:
                    near -= offset
                if begin + step >= len(block):
                    nearest[i] = _merged(*nearest[i], scores[: len(slab), : len(block)], start, k)
        start += len(block)
    found, best = (np.concatenate(parts) for parts in zip(*nearest, strict=True))
    if metric == "l2":
        squares = np.einsum("ij,ij->i", wanted, wanted)[:, None] - 2 * best
        return found, -np.sqrt(np.maximum(squares, 0))
    return found, best


def _prepared(
    block: np.ndarray, metric: str, room: np.ndarray, centre: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return rows as they are multiplied, in `room`, and what is taken from their scores, for l2 alone.

    These rank as minus the distance does: |q - r|^2 = |q|^2 - 2 (q r - |r|^2 / 2).
    """
    rows = prepare(block, metric, room[: len(block)])
    if centre is None:
        return rows, None
    if centre.any():
        rows -= centre
    return rows, np.einsum("ij,ij->i", rows, rows) / 2


def _step(rows: int, queries: np.ndarray) -> int:
    """Return how many of a block's rows are looked at together.

    For one query most of the time is moving rows, so that they are widened, scaled and multiplied while a core's own
    cache holds them. Many more at once are too many for it, and BLAS shares such a product out among threads, which
    wait for each other; many less are cast by NumPy (see `widen`).
    """
    pieces = rows * queries.shape[1] * 4 // _CACHED_BYTES if len(queries) == 1 else 1
    return max(1, -(-rows // max(1, pieces)))


def _common(rows: np.ndarray) -> np.ndarray:
    """Return the mean of some rows, [n, dim], where nine tenths of their squares are in it; else zeros."""
    mean = rows.mean(axis=0)
    most = 10 * float(mean @ mean) >= 9 * float(np.einsum("ij,ij->", rows, rows)) / max(1, len(rows))
    return mean if most else np.zeros_like(mean)


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
        some = scores[:, : max(4 * k, _FLOOR)]
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


def ranked_again(
    matrix: np.ndarray, found: np.ndarray, scores: np.ndarray, queries: np.ndarray, metric: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return the answers of `exact_search` in the order of scores that are taken pair by pair, in float64.

    A product of matrices gives one pair other last digits in another place or batch, and squares that are taken apart
    lose a small distance between long vectors. So all answers by l2 are scored again, and those where two are as near
    as float32 tells.

    Args:
        matrix: the rows, [n, dim] raw vectors.
        found: positions in it, int64 [q, k].
        scores: float32 [q, k].
        queries: [q, dim] raw vectors.
        metric: "cosine", "ip" or "l2".
    """
    taken = np.ones(scores.shape, bool)
    group = np.zeros(scores.shape, np.int64)
    if metric != "l2":
        parted = np.diff(scores, axis=1) < -_CLOSE * np.maximum(1, np.abs(scores[:, :1]))
        group[:, 1:] = parted.cumsum(axis=1)
        taken[:, 0], taken[:, 1:] = False, ~parted
        taken[:, :-1] |= ~parted
    query, place = np.nonzero(taken)
    made = scores.astype(np.float64)
    step = max(1, _PAIR_BYTES // (8 * matrix.shape[1]))
    for start in range(0, len(query), step):
        mine, at = query[start : start + step], place[start : start + step]
        made[mine, at] = pair_scores(queries[mine], widen(matrix[found[mine, at]]), metric)
    order = np.lexsort((found, -made, group), axis=-1)
    return np.take_along_axis(found, order, axis=1), np.take_along_axis(made, order, axis=1).astype(np.float32)


def pair_scores(queries: np.ndarray, rows: np.ndarray, metric: str) -> np.ndarray:
    """Return the scores, float64 [...], of queries and rows, raw vectors [..., dim], pair by pair."""
    a, b = np.asarray(queries, np.float64), np.asarray(rows, np.float64)
    if metric == "l2":
        distances: np.ndarray = np.sqrt(np.square(a - b).sum(axis=-1))
        return -distances
    products: np.ndarray = (a * b).sum(axis=-1)
    if metric == "cosine":
        lengths = np.sqrt(np.square(a).sum(axis=-1)) * np.sqrt(np.square(b).sum(axis=-1))
        np.divide(products, lengths, out=products, where=lengths > 0)
    return products


def in_blocks(matrix: np.ndarray, rows: np.ndarray | None = None) -> Iterator[np.ndarray]:
    """Yield a matrix [n, dim], or only its `rows`, int [rows], in blocks that fit the cache of a search."""
    size = max(256, _BLOCK_BYTES // (4 * matrix.shape[1]))
    for start in range(0, len(matrix) if rows is None else len(rows), size):
        yield matrix[start : start + size] if rows is None else matrix[rows[start : start + size]]
