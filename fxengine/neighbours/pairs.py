"""Pairs of rows that may be near, through an inverted file: for more rows than can all be compared with each other."""

from __future__ import annotations

from collections.abc import Iterator

import faiss
import numpy as np

from fxengine.neighbours.choose import cells
from fxengine.neighbours.exact import in_blocks
from fxengine.neighbours.metric import prepare

_NEIGHBOURS = 16  # of each row; copies of one picture that are more are linked through each other
_LISTS = 16  # visited for each row: a copy is in the same list or in one of the next
_TRAINED_ON = 32  # rows a list, at most


def neighbour_pairs(vectors: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield rows (a, b) with b among the neighbours of a by cosine, block by block.

    Time is rows * sqrt(rows), not rows squared. Some neighbours are missed; docs/search.md says how many copies are.

    Args:
        vectors: [n, dim] raw vectors.
    """
    for a, b, _ in neighbours_in(inverted_file(vectors), vectors):
        yield a[a != b], b[a != b]


def inverted_file(vectors: np.ndarray) -> faiss.Index:
    """Return an index of the cosines with the vectors, [n, dim]."""
    lists = cells(len(vectors))
    index = faiss.index_factory(vectors.shape[1], f"IVF{lists},SQ8", faiss.METRIC_INNER_PRODUCT)
    faiss.extract_index_ivf(index).cp.min_points_per_centroid = 1  # of fewer than it likes it says so on stderr
    chosen = np.random.default_rng(0).permutation(len(vectors))[: _TRAINED_ON * lists]
    index.train(prepare(vectors[np.sort(chosen)], "cosine"))
    for block in in_blocks(vectors):
        index.add(prepare(block, "cosine"))
    index.nprobe = min(_LISTS, lists)
    return index


def neighbours_in(index: faiss.Index, queries: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield queries a of [m, dim], the rows b among their neighbours, and the cosines of both, block by block."""
    start = 0
    for block in in_blocks(queries):
        scores, found = index.search(prepare(block, "cosine"), min(_NEIGHBOURS, index.ntotal))
        a, at = np.nonzero(found >= 0)
        yield a + start, found[a, at], scores[a, at]
        start += len(block)
