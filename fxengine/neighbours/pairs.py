"""Pairs of rows that may be near, through an inverted file: for more rows than can all be compared with each other."""

from __future__ import annotations

from collections.abc import Iterator

import faiss
import numpy as np

from fxengine.features.blocks import Say, counted_blocks
from fxengine.neighbours.choose import cells
from fxengine.neighbours.exact import in_blocks
from fxengine.neighbours.lists import nearest_by_lists, put_into_lists
from fxengine.neighbours.metric import prepare

_NEIGHBOURS = 16  # of each row; copies of one picture that are more are linked through each other
_LISTS = 16  # visited for each row: a copy is in the same list or in one of the next
_BLOCK = 4096  # rows
_TRAINED_ON = 32  # rows a list, at most
_BYTES = 2**29  # of vectors in the index, at a byte a number, and of float32 vectors to train it on
_SHORT = 256  # numbers that a PCA leaves of those that would take more


def neighbour_pairs(vectors: np.ndarray, progress: Say | None = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield rows (a, b) with b among the neighbours of a by cosine, block by block.

    Time is rows * sqrt(rows), not rows squared. Some neighbours are missed; docs/search.md says how many copies are.

    Args:
        vectors: [n, dim] raw vectors.
        progress: told every few seconds how far it is.
    """
    lists = put_into_lists(vectors, _LISTS, progress)
    near, _ = nearest_by_lists(lists, min(_NEIGHBOURS, len(vectors) - 1), progress=progress)
    for start in range(0, len(near), _BLOCK):
        a, at = np.nonzero(near[start : start + _BLOCK] >= 0)
        yield a + start, near[a + start, at].astype(np.int64)


def inverted_file(vectors: np.ndarray, progress: Say | None = None) -> faiss.Index:
    """Return an index of the vectors, [n, dim], by cosine; of very many it holds 256 principal components alone."""
    n, dim = vectors.shape
    lists = cells(n)
    if dim > _SHORT and n * dim > _BYTES:  # a PCA moves the origin, which keeps distances of unit vectors alone
        index = faiss.index_factory(dim, f"PCA{_SHORT},IVF{lists},SQ8", faiss.METRIC_L2)
    else:
        index = faiss.index_factory(dim, f"IVF{lists},SQ8", faiss.METRIC_INNER_PRODUCT)
    visited = faiss.extract_index_ivf(index)
    visited.cp.min_points_per_centroid = 1  # of fewer than it likes it says so on stderr
    chosen = np.random.default_rng(0).permutation(n)[: min(_TRAINED_ON * lists, max(lists, _BYTES // (4 * dim)))]
    index.train(prepare(vectors[np.sort(chosen)], "cosine"))
    for block in counted_blocks(in_blocks(vectors), "vectors put into lists", n, progress):
        index.add(prepare(block, "cosine"))
    visited.nprobe = min(_LISTS, lists)
    return index


def neighbours_in(
    index: faiss.Index, queries: np.ndarray, progress: Say | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield queries a of [m, dim], the rows b among their neighbours, and the cosines of both, block by block."""
    start = 0
    for block in counted_blocks(in_blocks(queries), "rows compared by their vectors", len(queries), progress):
        scores, found = index.search(prepare(block, "cosine"), min(_NEIGHBOURS, index.ntotal))
        if index.metric_type == faiss.METRIC_L2:
            scores = 1 - scores / 2
        a, at = np.nonzero(found >= 0)
        yield a + start, found[a, at], scores[a, at]
        start += len(block)
